"""Touch all Python code that slimagent can reach, under trace, with the interpreter of a bundle that is still whole.

    start.py's interpreter reach_driver.py SITE-PACKAGES [EXCLUDED-MODULE…]

It imports every module of slimagent. It finds in the bytecode (modulefinder) whatever those and their dependencies
import, also in functions that nobody calls today, and reads it. It loads extension modules, so that the trace has the
libraries that they need, and prints those that it cannot load on standard error.
"""

from __future__ import annotations

import grp
import importlib
import modulefinder
import os
import pkgutil
import pwd
import socket
import sys

PACKAGE = "slimagent"
OF_THE_IMAGE = ("_driver", "_marks")  # they run in an interpreter of the image


def main(site: str, excluded: list[str]) -> None:
    """Reach everything."""
    sys.path.insert(0, site)
    package = importlib.import_module(PACKAGE)
    own = [PACKAGE, *(each.name for each in pkgutil.walk_packages(package.__path__, PACKAGE + "."))]
    left_out = ("slimagent.bundle.", importlib.import_module("slimagent.model.agent").OUTSIDE_MODULES)
    own = [name for name in own if not name.startswith(left_out) and not name.endswith(OF_THE_IMAGE)]
    for name in own:
        importlib.import_module(name)
    finder = modulefinder.ModuleFinder(excludes=excluded)
    for name in own:
        finder.import_hook(name)
    for name, module in sorted(finder.modules.items()):
        file = getattr(module, "__file__", None)
        if file and file.endswith(".so"):
            load(name)
        elif file:
            with open(file, "rb") as source:
                source.read()
    use_name_services()


def load(name: str) -> None:
    """Load an extension module. We do not need one that this machine lacks a library for."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        sys.stderr.write(f"{name}: {error}\n")


def use_name_services() -> None:
    """Look up an account and this host: older C libraries load libraries by name for this."""
    account = pwd.getpwuid(os.getuid())
    os.getgrouplist(account.pw_name, account.pw_gid)
    grp.getgrgid(account.pw_gid)
    socket.getaddrinfo("localhost", 80)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
