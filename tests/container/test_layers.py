"""An exported image layout as Docker takes it: loaded from the folder, and run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from layout_images import manifest_of, members, tars

from tests.container.conftest import Image

pytestmark = pytest.mark.container

TAG = "slimagent-test:layers"
TOOLS = [f"/usr/bin/{name}" for name in ("ping", "find", "sort", "od", "grep", "sh")] + ["/usr/sbin/getcap"]
CORNERS = (
    "cd /opt/corners && find . -printf '%p|%y|%m|%u|%g|%s|%n|%T@|%l\\n' | sort | od -c; "
    "find . -samefile data/big | sort; getcap /usr/bin/ping; ping -c 1 127.0.0.1 | grep -c '1 received'"
)
EVERYTHING = "find / -xdev -printf '%p|%y|%m|%u|%g|%s|%T@|%l\\0'"
# What the engine makes or mounts for a container, and the folders that get a new time by that.
ENGINES = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/.dockerenv", "/", "/etc"}
ENGINES |= {"/dev", "/proc", "/sys"}


def configuration(image: str) -> Any:
    done = subprocess.run(["docker", "image", "inspect", image], check=True, capture_output=True)
    return json.loads(done.stdout)[0]


def load(layout: Path) -> None:
    """As the documentation says."""
    with subprocess.Popen(["tar", "-C", layout, "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "load"], stdin=tar.stdout, check=True, capture_output=True)
    assert tar.returncode == 0


@pytest.fixture(scope="module")
def layout(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The layout of a slim image with every corner, which is loaded as TAG."""
    out = tmp_path_factory.mktemp("layers")
    out.chmod(0o777)
    described = subprocess.run(["docker", "image", "inspect", image.name], check=True, capture_output=True).stdout
    (out / "config.json").write_bytes(described)
    keep = [part for path in ("/opt/corners/**", "/usr/lib/python3/**", *TOOLS) for part in ("--keep", path)]
    options = ["--image-config", "/out/config.json", "--oci", "/out/image", "--tag", TAG, "--verify", "none"]
    done = image.agent(out, "run", *keep, *options, "--out", "/out/documents", "--", "true")
    assert done.returncode == 0, done.stdout + done.stderr
    load(out / "image")
    yield out / "image"
    image.remove(TAG)


def test_the_corners_are_equal_in_the_loaded_image(image: Image, layout: Path) -> None:
    """Names, kinds, modes, owners, links and times; hard links are one file; a capability works for a user."""
    full = image.run("-c", CORNERS, entrypoint="sh", user=image.user)
    slim = image.run("-c", CORNERS, entrypoint="sh", user=image.user, image=TAG)
    assert "cap_net_raw" in full.stdout
    assert full.stdout.rstrip().endswith("1")
    assert slim.stdout == full.stdout


def test_every_path_is_as_in_the_original(image: Image, layout: Path) -> None:
    """Also the folders that several layers have: their modes, owners and times are not those of a lower layer."""
    full = dict(paths(image.run("-c", EVERYTHING, entrypoint="sh").stdout))
    slim = dict(paths(image.run("-c", EVERYTHING, entrypoint="sh", image=TAG).stdout))
    different = {path for path, facts in slim.items() if full.get(path) != facts}
    assert len(slim) > 3000
    assert different - ENGINES - edited(slim) == set()


def paths(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each path with what is to be equal; how long a folder is, is its file system's affair."""
    for line in text.split("\0"):
        if line:
            path, kind, mode, user, group, size, time, target = line.split("|")
            yield path, (kind, mode, user, group, "" if kind == "d" else size, time, target)


def edited(slim: dict[str, tuple[str, ...]]) -> set[str]:
    """Package data bases, and the links of alternatives, that speak only of what is there."""
    links = {path for path, facts in slim.items() if facts[-1].startswith("/etc/alternatives/")}
    there = ("/etc/alternatives", "/var/lib/dpkg", "/etc/dpkg/dpkg.cfg.d")
    return {path for path in slim if path.startswith(there)} | links


def test_the_configuration_is_the_originals(image: Image, layout: Path) -> None:
    """What `docker inspect` says of how it starts, and where."""
    original, slim = configuration(image.name), configuration(TAG)
    labels = {name: value for name, value in slim["Config"]["Labels"].items() if not name.startswith("io.slimagent.")}
    slim["Config"]["Labels"] = labels or original["Config"]["Labels"]
    for key in ("Config", "Architecture", "Os", "Author", "Created"):
        assert slim[key] == original[key], key
    assert len(slim["RootFS"]["Layers"]) == len(manifest_of(layout)["layers"])


def test_it_runs_by_its_own_entrypoint(image: Image, layout: Path) -> None:
    """What the configuration starts is there, whatever the traced command was."""
    entrypoint = configuration(image.name)["Config"]["Entrypoint"]
    if not entrypoint:
        pytest.skip("the image has no entrypoint")
    done = subprocess.run(
        ["docker", "run", "--rm", "--network=none", TAG, "getcap", "/usr/bin/ping"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "cap_net_raw" in done.stdout


def test_nothing_of_the_agent_is_in_it(layout: Path) -> None:
    """Neither its folder nor that of its output is in a layer."""
    names = {name.split("/")[0] for tar in tars(layout) for name in members(tar)}
    assert "usr" in names
    assert not names & {"agent", "out", ".dockerenv"}
