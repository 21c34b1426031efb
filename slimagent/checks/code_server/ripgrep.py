"""Where VS Code's server has ripgrep, with which the editor searches.

Until VS Code 1.121 it is node_modules/@vscode/ripgrep/bin/rg, downloaded for one machine. Since 1.122 it is
node_modules/@vscode/ripgrep-universal/bin/SYSTEM-MACHINE/rg, with a directory for each machine (lib/index.js of the npm
package @vscode/ripgrep-universal 1.18). So it is found by a pattern and not by one path.
"""

from __future__ import annotations

import glob
import os
import re

_SHAPE = "node_modules/@vscode/ripgrep*/**/rg"
_FOR_MACHINE = re.compile(r"\b(linux|darwin|win32)-(\w+)\b")
# What Node.js calls a machine (process.arch) where uname(2) has another name for it.
_NODE_NAMES = {"x86_64": "x64", "aarch64": "arm64", "armv7l": "arm", "i686": "ia32", "ppc64le": "ppc64"}


def find(root: str, machine: str) -> str:
    """The ripgrep for `machine` (as in uname) of the editor in the directory `root`; empty if there is none."""
    node = ("linux", _NODE_NAMES.get(machine, machine))
    found = sorted(glob.glob(os.path.join(glob.escape(root), _SHAPE), recursive=True))
    ours = (path for path in found if set(_FOR_MACHINE.findall(path[len(root) :])) <= {node})
    return next(ours, "")
