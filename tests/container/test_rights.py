"""What an image says and what its user can write never runs as root: with a planted fault of each kind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.container.conftest import lacking
from tests.container.slimming import Derive, slim

pytestmark = pytest.mark.usefixtures("nothing_left")

# Says who runs it, wherever it is loaded: it can be preloaded, audit a loader, and convert characters.
EVIL = r"""
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void go(void) {
    fprintf(stderr, "EVIL runs as %d\n", (int)getuid());
}
unsigned la_version(unsigned version) { return version; }
int gconv_init(void *step) { return 0; }
void gconv_end(void *step) {}
int gconv(void) { return 0; }
"""
MODULES = """
module ISO-8859-15// INTERNAL /home/evil 1
module INTERNAL ISO-8859-15// /home/evil 1
alias ISO8859-15// ISO-8859-15//
"""


def compiled(tmp_path: Path, source: str) -> bytes:
    """A shared library."""
    compiler = shutil.which("cc") or lacking("no C compiler")
    made = tmp_path / "made.so"
    command = [str(compiler), "-shared", "-fPIC", "-x", "c", "-", "-o", str(made)]
    subprocess.run(command, input=source.encode(), check=True)
    return made.read_bytes()


def locale_archive(tmp_path: Path) -> Path:
    """A locale with a character set that the C library has to load a module for."""
    program = shutil.which("localedef") or lacking("no localedef")
    made = tmp_path / "xx_XX"
    source = "/usr/share/i18n/locales/en_US"
    if not os.path.exists(source):
        lacking("there are no sources of locales")
    subprocess.run([str(program), "-i", source, "-f", "ISO-8859-15", str(made)], check=False, capture_output=True)
    assert (made / "LC_CTYPE").exists()
    return made


@pytest.mark.parametrize(
    "variables",
    [
        {"LD_PRELOAD": "/home/evil.so"},
        {"LD_AUDIT": "/home/evil.so"},
        {"GCONV_PATH": "/home", "LOCPATH": "/home", "LC_ALL": "xx_XX"},
    ],
    ids=lambda variables: next(iter(variables)),
)
@pytest.mark.parametrize("given", ["by the image", "with --env", "with --run-option"])
def test_no_variable_makes_the_agent_load_anything(
    derive: Derive, tag: str, tmp_path: Path, variables: dict[str, str], given: str
) -> None:
    """I3: the agent is root and starts with the container's variables; what they name may be anybody's.

    The image's own programs are told all of them.
    """
    files: dict[str, str | bytes] = {"evil.so": compiled(tmp_path, EVIL), "gconv-modules": MODULES}
    lines = "USER 0\nCOPY evil.so gconv-modules /home/\n"
    if "LC_ALL" in variables:
        files["LC_CTYPE"] = (locale_archive(tmp_path) / "LC_CTYPE").read_bytes()
        lines += "COPY LC_CTYPE /home/xx_XX/\n"
    lines += "RUN busybox chown -R 1000 /home\nUSER somebody\n"
    words = [f"{name}={value}" for name, value in variables.items()]
    options = {"by the image": [], "with --env": [part for word in words for part in ("-e", word)]}
    options["with --run-option"] = [f"--run-option=--env={word}" for word in words]
    if given == "by the image":
        lines += "".join(f"ENV {word}\n" for word in words)
    told = " && ".join(f'test "${name}" = {value}' for name, value in variables.items())
    image = derive(lines, files)
    ended = slim(image, tag, tmp_path / "out", *options[given], "--no-start", "--", "/bin/sh", "-c", told)
    assert ended.returncode == 0, ended.stderr
    assert "EVIL runs as" not in ended.stderr


def test_what_an_image_preloads_into_every_program_is_not_for_the_agent(
    derive: Derive, tag: str, tmp_path: Path
) -> None:
    """I3: /etc/ld.so.preload is of the image's C library, and what it lists may be anybody's."""
    files: dict[str, str | bytes] = {"evil.so": compiled(tmp_path, EVIL), "ld.so.preload": "/home/evil.so\n"}
    lines = "USER 0\nCOPY evil.so /home/\nCOPY ld.so.preload /etc/\nUSER somebody\n"
    ended = slim(derive(lines, files), tag, tmp_path / "out", "--no-start", "--", "/bin/true")
    assert ended.returncode == 0, ended.stderr
    assert "EVIL runs as" not in ended.stderr


# Opens the memory of every process in sight but its own family's.
OPEN_MEMORY = """
for each in /proc/[0-9]*; do
    test $each = /proc/$$ && continue
    case $(/bin/busybox tr '\\000' ' ' < $each/cmdline 2> /dev/null) in
        */.slimagent/*) if (exec 3<> $each/mem) 2> /dev/null; then echo "OPENED $each"; else echo "refused $each"; fi ;;
    esac
done
"""


def test_a_step_that_runs_as_root_cannot_write_to_the_agent(small: str, tag: str, tmp_path: Path) -> None:
    """I7: nor to the process that stands in for it, where no Yama forbids it either. Their results would be its own."""
    out = tmp_path / "out"
    ended = slim(small, tag, out, "--user", "root", "--no-start", "--", "/bin/sh", "-c", OPEN_MEMORY)
    assert ended.returncode == 0, ended.stderr
    for which in ("full", "slim"):
        said = (out / f"logs/{which}-command.log").read_text()
        assert "OPENED" not in said
        assert len(said.splitlines()) == 2, said  # the agent, and its guardian


def test_an_image_that_starts_as_root_cannot_write_to_its_watcher(derive: Derive, tag: str, tmp_path: Path) -> None:
    """I7: the agent goes on beside the image's own process, as another one of root's."""
    script = f"#!/bin/sh\n{OPEN_MEMORY}\nexec sleep 60\n"
    image = derive('USER 0\nHEALTHCHECK NONE\nCOPY go /go\nENTRYPOINT ["/go"]\nCMD []\n', {"go": script})
    out = tmp_path / "out"
    ended = slim(image, tag, out, "--start-until", "time", "--start-settle", "2", "--", "/bin/true")
    assert ended.returncode == 0, ended.stderr
    for which in ("full", "slim"):
        said = (out / f"logs/{which}-start.log").read_text()
        assert "OPENED" not in said
        assert "refused" in said, said
