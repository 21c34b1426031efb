"""A mount for the tests hides the image's own files: those are in the slim image, and what was mounted is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.container.slimming import Derive, bytes_of, contents, differences, slim, started

pytestmark = pytest.mark.usefixtures("nothing_left")

MINE = "file-of-the-test"
READ = "cat /srv/needed /srv/directory/table /srv/temporary/table /srv/bound/table /data/seed /more/seed"
# Where the image's own data are read where the tests have them, elsewhere, or nowhere.
SMOKE = f"""
cat /srv/needed /srv/directory/mine /srv/bound/mine /data/mine /more/seed
ls /srv/temporary
echo {MINE} > /srv/temporary/mine
echo {MINE} > /more/mine
"""
HIDDEN = ("srv/directory/table", "srv/temporary/table", "srv/bound/table", "data/seed")


@pytest.fixture(scope="module")
def image(derive: Derive) -> str:
    """An image with tables in directories and in two declared volumes; its start reads them all."""
    tables = "\n".join(
        f"RUN /bin/busybox mkdir -p {place} && /bin/busybox head -c 100000 /dev/urandom > {place}/{name}"
        for place, name in (
            ("/srv/directory", "table"),
            ("/srv/temporary", "table"),
            ("/srv/bound", "table"),
            ("/usr/share", "table"),
            ("/more", "seed"),
        )
    )
    return derive(f'USER root\n{tables}\nVOLUME /more\nCMD ["{READ} > /tmp/all && echo whole"]')


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A directory with a file to be mounted."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/mine").write_text(f"{MINE}\n")
    return tmp_path / "mine"


def options(mine: Path) -> list[str]:
    """A file and directories over the image's own, one of them a declared volume; /more is left as it is."""
    return [
        f"--volume={mine}/mine:/srv/needed:ro",
        f"--volume={mine}:/srv/directory",
        f"--volume={mine}:/data:ro",
        "--run-option=--tmpfs=/srv/temporary",
        f"--run-option=--mount=type=bind,source={mine},target=/srv/bound,readonly",
    ]


def require_whole(image: str, tag: str) -> None:
    """The slim image starts without any mount, as what is below has the image's bytes; and nothing was mounted."""
    assert (started(image).stdout, started(tag).stdout) == ("whole\n", "whole\n")
    full, made = contents(image), contents(tag)
    assert {"srv/needed", "more/seed", *HIDDEN} <= made.keys()
    assert not {"srv/unneeded", "usr/share/table"} & made.keys()
    assert not [name for name in made if name.endswith("/mine")]
    assert differences(full, made) == []
    assert MINE.encode() not in bytes_of(tag)


def test_what_lies_below_a_mount_is_the_image_s_own(image: str, tag: str, mine: Path, tmp_path: Path) -> None:
    """Files, directories, a tmpfs and declared volumes, with and without something over them; no start shows them."""
    ended = slim(image, tag, tmp_path / "out", *options(mine), "--no-start", "--", "/bin/sh", "-ec", SMOKE)
    assert ended.returncode == 0, ended.stderr
    require_whole(image, tag)
    assert (mine / "mine").read_text() == f"{MINE}\n"


def test_a_start_with_mounts_is_proved_without_them(image: str, tag: str, mine: Path, tmp_path: Path) -> None:
    """The image cannot start with these mounts, since what it reads is hidden; without them its slim image must."""
    ended = slim(image, tag, tmp_path / "out", *options(mine), "--", "true")
    assert ended.returncode == 0, ended.stderr
    require_whole(image, tag)
