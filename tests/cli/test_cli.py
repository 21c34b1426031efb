"""Bad input gets one clear line and a hint, nothing is lost or half-written; a bug still shows its traceback."""

from __future__ import annotations

import ast
import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from command_line import SLIMAGENT, assert_error, environment, slimagent

from slimagent.cli.commands import SECTIONS, import_all
from slimagent.cli.main import group
from slimagent.linux import kernel
from slimagent.trace.fanotify.backend import Fanotify

IS_ROOT = os.geteuid() == 0
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def scope(tmp_path: Path) -> Path:
    """A small image: one file that the command reads, one that it does not."""
    folder = tmp_path.resolve() / "scope"
    folder.mkdir()
    (folder / "read").write_bytes(b"r" * 100_000)
    (folder / "unread").write_text("u")
    return folder


@pytest.fixture
def trace(scope: Path, tmp_path: Path) -> Path:
    """A trace of that image."""
    path = tmp_path / "trace.json"
    done = slimagent("trace", "--quiet", "--scope", scope, "-o", path, "--", "cat", scope / "read")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def plan(trace: Path, tmp_path: Path) -> Path:
    """A plan from that trace."""
    path = tmp_path / "plan.json"
    done = slimagent("plan", "--quiet", trace, "-o", path)
    assert done.returncode == 0, done.stderr
    return path


# Commands that fail


def test_every_failed_step_is_named_also_beside_a_failed_command(scope: Path) -> None:
    """The status is the command's own, and each step that failed is said in a line of its own."""
    step = ("--also", "false", "--", "sh", "-c", "exit 5")
    done = slimagent("trace", "--quiet", "--scope", scope, "-o", scope.parent / "t.json", *step)
    assert done.returncode == 5
    assert "slimagent: false failed: exit status 1\n" in done.stderr
    assert "slimagent: command failed: exit status 5: " in done.stderr


# Commands that cannot be run


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("no-such-command", "No such file or directory"),
        ("./unread", "Permission denied"),
        ("./absent", "No such file or directory"),
        (".", "Permission denied"),
    ],
)
@pytest.mark.parametrize("verb", [("trace", "-o", "../t.json"), ("run", "--out", "../out")])
def test_a_command_that_cannot_be_run(scope: Path, verb: tuple[str, ...], command: str, problem: str) -> None:
    """Absent and not executable commands are named with the system's reason; no document is left."""
    done = slimagent(*verb, "--quiet", "--scope", scope, "--", command, cwd=scope)
    assert_error(done, 2, f"cannot run {command}: {problem}")
    assert {path.name for path in scope.parent.rglob("*.json")} <= {"summary.json"}  # it says what failed


def test_nothing_to_run(scope: Path) -> None:
    """A profile without checks and no command: there is nothing to trace."""
    assert_error(slimagent("trace", "--quiet", "--profile", "base", cwd=scope), 2, "nothing to run", "-- COMMAND")


def test_a_step_that_fails_on_the_full_image(scope: Path, tmp_path: Path) -> None:
    """A smoke test that fails before anything was dropped proves nothing: status 1, the trace is kept."""
    options = ("--quiet", "--scope", scope, "--out", tmp_path / "out", "--junit", tmp_path / "junit.xml")
    done = slimagent("run", *options, "--", "sh", "-c", "exit 3\n:")
    assert_error(done, 1, "failed on the full image: command", "exit status 3")
    assert '<testsuite name="command (full image)" tests="1" failures="1"' in (tmp_path / "junit.xml").read_text()
    assert sorted(os.listdir(tmp_path / "out")) == ["summary.json", "trace.json"]


# Documents


def damage(trace: Path, how: str) -> None:
    data = trace.read_bytes()
    document = json.loads(data)
    damaged = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "not JSON": b"\x7fELF\0\0",
        "a list": b"[1, 2]",
        "foreign": b'{"schema": "https://example.org/x", "version": 1}',
        "newer": json.dumps({**document, "version": 99}).encode(),
        "another": json.dumps({**document, "schema": "slimagent/receipt"}).encode(),
        "edited": json.dumps({**document, "accesses": [["relative", ["opened"], [0], True]]}).encode(),
    }
    trace.write_bytes(damaged[how])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "not a whole JSON document"),
        ("empty", "not a whole JSON document"),
        ("not JSON", "not a whole JSON document"),
        ("a list", "not a document of slimagent"),
        ("foreign", "not a document of slimagent"),
        ("newer", "version 99"),
        ("another", "this is a slimagent/receipt"),
        ("edited", "accesses[0]"),
    ],
)
def test_a_trace_that_is_none(trace: Path, how: str, words: str) -> None:
    """Truncated, foreign, newer and edited documents are named with what is wrong; no plan is written."""
    damage(trace, how)
    assert_error(slimagent("plan", trace, "-o", trace.parent / "plan.json"), 2, str(trace), words)
    assert not (trace.parent / "plan.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [("apply", "FILE", "--tar", "x.tar"), ("explain", "FILE", "/x"), ("verify", "FILE", "FILE", "--", "true")],
)
@pytest.mark.parametrize("what", ["absent", "truncated", "a folder", "a trace"])
def test_a_plan_that_is_none(trace: Path, arguments: tuple[str, ...], what: str) -> None:
    """Every command that reads a plan says what is wrong with it, and writes nothing."""
    file = trace.parent / "file"
    if what == "a folder":
        file.mkdir()
    elif what != "absent":
        data = trace.read_bytes()
        file.write_bytes(data if what == "a trace" else data[:100])
    before = sorted(trace.parent.iterdir())
    done = slimagent(*(str(file) if each == "FILE" else each for each in arguments), cwd=trace.parent)
    assert_error(done, 2, str(file))
    assert sorted(trace.parent.iterdir()) == before


@pytest.mark.skipif(IS_ROOT, reason="root can read everything")
def test_a_document_that_may_not_be_read(trace: Path) -> None:
    """The system's reason is in the message."""
    trace.chmod(0)
    assert_error(slimagent("plan", trace), 2, "Permission denied")


def test_an_old_document_stays_when_a_new_one_cannot_be_made(trace: Path) -> None:
    """A plan that is refused does not harm the plan of before."""
    old = trace.parent / "plan.json"
    precious = '{"schema": "slimagent/plan", "precious": 1}'
    old.write_text(precious)
    damage(trace, "truncated")
    assert slimagent("plan", trace, "-o", old).returncode == 2
    assert old.read_text() == precious


# Another image, and targets


def test_a_trace_of_another_image(trace: Path, scope: Path) -> None:
    """The image changed since it was traced: status 3."""
    (scope / "new").write_text("x")
    done = slimagent("plan", "--quiet", trace, "-o", trace.parent / "plan.json")
    assert_error(done, 3, "not the image that the trace was made for")


@pytest.mark.parametrize("target", [("--tar", "x.tar"), ("--to", "x"), ("--in-place",)])
def test_a_plan_for_another_image(plan: Path, scope: Path, target: tuple[str, ...]) -> None:
    """The image changed since the plan was made: status 3, whatever the target; nothing is written or removed."""
    (scope / "new").write_text("x")
    before = sorted(plan.parent.rglob("*"))
    done = slimagent("apply", "--quiet", plan, *target, "--force", cwd=plan.parent)
    assert_error(done, 3, "not the image that the plan was made for")
    assert sorted(plan.parent.rglob("*")) == before


def test_a_target_folder_that_is_not_empty(plan: Path) -> None:
    """Status 3; what was there stays as it is."""
    target = plan.parent / "target"
    target.mkdir()
    (target / "file").write_text("precious")
    assert_error(slimagent("apply", "--quiet", plan, "--to", target), 3, "is not empty")
    assert (target / "file").read_text() == "precious"
    assert [each.name for each in target.iterdir()] == ["file"]


@pytest.mark.parametrize("option", ["--tar", "--to", "-o"])
def test_a_target_in_a_folder_that_is_not_there(plan: Path, option: str) -> None:
    """Status 4 and the folder's name; it is not made."""
    more = () if option != "-o" else ("--to", "target")
    done = slimagent("apply", "--quiet", plan, option, "no/such", *more, cwd=plan.parent)
    assert_error(done, 4, f"{plan.parent}/no does not exist", f"mkdir -p {plan.parent}/no")
    assert not (plan.parent / "no").exists()
    assert not (plan.parent / "target").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("trace", "--scope", "scope", "-o", "scope", "--", "touch", "ran"),
        ("trace", "--scope", "scope", "-o", "no/trace.json", "--", "touch", "ran"),
    ],
)
def test_a_document_that_cannot_be_written_is_known_before_the_run(scope: Path, arguments: tuple[str, ...]) -> None:
    """Not after an hour of tracing: the command is not started."""
    assert_error(slimagent(*arguments, cwd=scope.parent), 4, "cannot write")
    assert not (scope.parent / "ran").exists()


def test_exactly_one_target(plan: Path) -> None:
    """None and two are wrong usage."""
    assert_error(slimagent("apply", plan), 2, "exactly one of --tar, --oci, --to and --in-place")
    assert_error(slimagent("apply", plan, "--tar", "x", "--to", "y"), 2, "exactly one of")
    assert_error(slimagent("apply", plan, "--tar", "x", "--oci", "y"), 2, "exactly one of")


@pytest.mark.parametrize("option", [("--tag", "x"), ("--compression", "none")])
def test_options_of_a_layout_want_one(plan: Path, option: tuple[str, str]) -> None:
    """What would say nothing is wrong usage."""
    assert_error(slimagent("apply", plan, "--tar", "x", *option), 2, f"{option[0]} needs --oci")


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds 48 kB."""
    point = tmp_path / "small"
    point.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(point)], capture_output=True)
    if made.returncode:
        pytest.skip(f"cannot mount here: {made.stderr.decode(errors='replace').strip()}")
    yield point
    subprocess.run(["umount", str(point)], check=True)


@pytest.mark.parametrize(("option", "name"), [("--tar", "x.tar"), ("--to", "x")])
def test_a_disk_that_is_full_while_exporting(plan: Path, small_disk: Path, option: str, name: str) -> None:
    """Status 4, and nothing half-written is left on it."""
    done = slimagent("apply", "--quiet", plan, option, small_disk / name)
    assert_error(done, 4, "No space left on device", "free some space")
    assert list(small_disk.iterdir()) == []


def test_a_whole_run_on_a_disk_that_gets_full(scope: Path, small_disk: Path) -> None:
    """The documents that were whole before stay, the tar does not appear."""
    done = slimagent("run", "--quiet", "--scope", scope, "--out", small_disk / "out", "--", "cat", scope / "read")
    assert_error(done, 4, "No space left on device")
    assert sorted(os.listdir(small_disk / "out")) == ["plan.json", "summary.json", "trace.json"]


# A kernel that does not let us watch


def _forbid_seccomp(number: int) -> Callable[[], None]:
    """For a child: from now on seccomp(2) fails with this error (<linux/filter.h>, <linux/seccomp.h>)."""

    class Instruction(ctypes.Structure):
        _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction)))

    machine = kernel.machine()
    assert machine is not None
    instructions = (Instruction * 4)(
        Instruction(0x20, 0, 0, 0),  # BPF_LD | BPF_W | BPF_ABS: the number of the call
        Instruction(0x15, 0, 1, machine.seccomp),  # BPF_JMP | BPF_JEQ | BPF_K
        Instruction(0x06, 0, 0, 0x00050000 | number),  # BPF_RET: SECCOMP_RET_ERRNO
        Instruction(0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    )
    program = Program(4, instructions)
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        if libc.prctl(38, ctypes.c_ulong(1), 0, 0, 0) or libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(program), 0, 0):
            os._exit(99)  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP with SECCOMP_MODE_FILTER

    return enter


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EINVAL])
@pytest.mark.parametrize("verb", [("trace", "-o", "t.json"), ("run", "--out", "out")])
def test_a_kernel_without_seccomp(scope: Path, verb: tuple[str, ...], number: int) -> None:
    """Status 4 with the reason and what is needed; the command is not started, no document is written."""
    arguments = (*verb, "--quiet", "--backend", "seccomp", "--scope", scope, "--", "touch", scope / "ran")
    done = slimagent(*arguments, cwd=scope.parent, preexec_fn=_forbid_seccomp(number))
    reason = {errno.ENOSYS: "no seccomp filters", errno.EPERM: "seccomp profile", errno.EINVAL: "user notification"}
    assert_error(done, 4, "nothing can be traced here; seccomp: ", reason[number], "Linux 5.5")
    assert not (scope / "ran").exists()
    assert {path.name for path in scope.parent.rglob("*.json")} <= {"summary.json"}  # it says what failed


@pytest.mark.skipif(Fanotify.unavailable() is not None, reason="no fanotify here")
def test_without_seccomp_the_next_best_is_taken_and_the_trace_says_why(scope: Path) -> None:
    """`auto` goes on to fanotify; a run that must make files look gone cannot, and says so before it starts."""
    line = ("--quiet", "--scope", scope)
    forbidden = {"cwd": scope.parent, "preexec_fn": _forbid_seccomp(errno.ENOSYS)}
    done = slimagent("trace", *line, "-o", scope.parent / "t.json", "--", "cat", scope / "read", **forbidden)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads((scope.parent / "t.json").read_bytes())["runs"]
    assert run["backend"] == "fanotify"
    assert [each["backend"] for each in run["passed_over"]] == ["seccomp", "inotify"]
    assert "no seccomp filters" in run["passed_over"][0]["why"]
    done = slimagent("run", *line, "--", "touch", scope / "ran", **forbidden)
    assert_error(done, 4, "nothing can be traced here", "fanotify: it cannot make files look gone")
    assert not (scope / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("trace", "--until-signal"), ("--until-signal needs --attach", "--attach")),
        (("trace", "--attach", "--backend", "seccomp", "--", "true"), ("cannot attach", "--backend fanotify")),
        (("run", "--backend", "inotify", "--", "true"), ("cannot make files look gone", "--verify in-place")),
    ],
    ids=lambda value: "-".join(value[:2]),
)
def test_a_backend_that_cannot_do_what_is_asked_for(
    scope: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """Known before anything is run, with what to do instead."""
    verb, *rest = arguments
    assert_error(slimagent(verb, "--quiet", "--scope", scope, *rest, cwd=scope.parent), 2, *words)


# Options


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--user", "no-such-user", "no such user here: 'no-such-user'"),
        ("--user", "²", "no such user here"),
        ("--user", "4294967294123", "no such user here"),
        ("--profile", "no-such-profile", "no such profile: 'no-such-profile'"),
        ("--profile", "./absent.toml", "absent.toml"),
        ("--scope", "absent", "absent is not a directory"),
        ("--scope", "read", "read is not a directory"),
        ("--scope", "a\nb\x1b[31m", r"a\x0ab\x1b[31m is not a directory"),
    ],
)
def test_an_option_that_names_nothing(scope: Path, option: str, value: str, words: str) -> None:
    """Unknown users, profiles and folders are named as they were given, whatever characters they have."""
    done = slimagent("trace", "--quiet", option, value, "-o", "../t.json", "--", "true", cwd=scope)
    assert_error(done, 2, words)
    assert not (scope.parent / "t.json").exists()


@pytest.mark.parametrize("pattern", ["relative/x", "*.so", "/bad\\escape", ""])
def test_a_keep_pattern_that_is_none(trace: Path, pattern: str) -> None:
    """Patterns are absolute, and escapes are those that we write."""
    assert_error(slimagent("plan", trace, "--keep", pattern), 2, f"--keep {pattern}")


def test_a_scope_that_leads_out_of_the_root(trace: Path, scope: Path) -> None:
    """With --root, a scope is a folder of that image."""
    (scope / "out").symlink_to("/etc")
    assert_error(slimagent("plan", trace, "--root", scope, "--scope", "/out"), 2, "leads out of the image's root")


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("plan",), ("trace", "--level"), ("run", "--level", "huge")])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    """Status 2 with the usage, and no traceback."""
    done = slimagent(*arguments)
    assert done.returncode == 2
    assert "Usage" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version() -> None:
    """Each command has its help; status 0."""
    assert slimagent("--version").stdout.startswith("slimagent")
    for command in ("run", "trace", "plan", "explain", "apply", "verify", "check", "profiles", "detect"):
        done = slimagent(command, "-h")
        assert (done.returncode, done.stderr) == (0, "")


def test_the_rules_of_a_trace_s_profile_hold_for_its_plan(scope: Path, tmp_path: Path) -> None:
    """What the profile keeps stays without naming it again; one that is gone is an error, another can be named."""
    profile, trace, plan = tmp_path / "mine.toml", tmp_path / "t.json", tmp_path / "p.json"
    profile.write_text(f'variant = "full"\n[[keep]]\npath = "{scope}/unread"\nwhy = "mine"\n')
    made = slimagent(
        "trace", "--quiet", "--profile", profile, "--scope", scope, "-o", trace, "--", "cat", scope / "read"
    )
    assert made.returncode == 0, made.stderr
    assert slimagent("plan", "--quiet", trace, "-o", plan).returncode == 0
    found = json.loads(plan.read_text())
    assert found["level"] == "cruft"
    assert "by rule: mine" in slimagent("explain", plan, scope / "unread").stdout
    profile.unlink()
    assert_error(slimagent("plan", "--quiet", trace, "-o", plan), 2, "was made with profile", "--profile")
    assert slimagent("plan", "--quiet", "--profile", "base", trace, "-o", plan).returncode == 0


# Rights


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach and write."""
    folder = Path(tempfile.mkdtemp(prefix="open-", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


# The interpreter of these tests may lie where other users cannot go: become one when everything is imported. So may
# slimagent, which reads its profiles later: it is a copy.
_AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv.pop(1))
import difflib, orjson, slimagent.cli.main, slimagent.trace.seccomp, rich.console
from slimagent.cli.commands import import_all
import_all()
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.argv = ["slimagent", *sys.argv[1:]]
slimagent.cli.main.main()
"""


def as_ordinary_user(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    copy = cwd / "agent"
    for name in ("slimagent", "profiles"):
        if not (copy / name).exists():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, copy, *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env=environment(), timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("unreadable", ["file", "folder"])
def test_an_image_that_cannot_be_read_whole_is_known_before_the_run(open_folder: Path, unreadable: str) -> None:
    """`run` as a user who cannot read everything ends with 4, and the command was never started."""
    image = open_folder / "image"
    image.mkdir()
    if unreadable == "file":
        (image / "secret").write_text("x")
        (image / "secret").chmod(0)
    else:
        (image / "secret").mkdir(mode=0)
    arguments = ("run", "--quiet", "--scope", image, "--out", open_folder / "out", "--", "touch", open_folder / "ran")
    done = as_ordinary_user(*arguments, cwd=open_folder)
    assert_error(done, 4, "cannot run: 1 file or directory of the image cannot be read", "secret", "run as root")
    assert not (open_folder / "ran").exists()
    (image / "secret").chmod(0o700)


def test_apply_says_what_it_cannot_read(open_folder: Path) -> None:
    """A plan made by who can read all is refused by who cannot, with status 4, and nothing is written."""
    image = open_folder / "image"
    image.mkdir()
    (image / "secret").write_text("x")
    documents = open_folder / "trace.json", open_folder / "plan.json"
    assert slimagent("trace", "--quiet", "--scope", image, "-o", documents[0], "--", "true").returncode == 0
    assert slimagent("plan", "--quiet", documents[0], "-o", documents[1]).returncode == 0
    (image / "secret").chmod(0)
    done = as_ordinary_user("apply", "--quiet", documents[1], "--tar", "x.tar", cwd=open_folder)
    assert_error(done, 4, "cannot apply", "secret")
    assert not (open_folder / "x.tar").exists()
    (image / "secret").chmod(0o700)


def test_another_user_needs_root(open_folder: Path) -> None:
    """Who is not root cannot become somebody else: status 4."""
    arguments = ("trace", "--user", "root", "-o", "t.json", "--", "true")
    assert_error(as_ordinary_user(*arguments, cwd=open_folder), 4, "cannot become root", "run slimagent as root")


def test_a_check_for_another_user_is_skipped(open_folder: Path) -> None:
    """Only root can run it, so it says nothing about the image; the other checks are run."""
    (open_folder / "mine.toml").write_text(
        '[[check]]\nkind = "command"\nname = "a"\nshell = "id -un"\nuser = "root"\n'
        '[[check]]\nkind = "command"\nname = "b"\nshell = "true"\n'
    )
    done = as_ordinary_user("check", "--profile", "./mine.toml", cwd=open_folder)
    assert done.returncode == 0, done.stderr
    first, second, _ = done.stdout.splitlines()
    assert "skipped: cannot become root" in first
    assert second.startswith("✓ b")


# Outside a container

# A root of its own, in which nothing says that this is a container: an empty tmpfs with our folders mounted into it.
_OUTSIDE = """
set -e
root=$1; shift
mount -t tmpfs tmpfs "$root"
for each in /*; do
    test "$each" = /run && continue
    if test -L "$each"; then cp -a "$each" "$root$each"
    elif test -d "$each"; then mkdir "$root$each"; mount --rbind "$each" "$root$each"
    fi
done
exec chroot "$root" "$@"
"""


def outside_a_container(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as on a machine; skips where that cannot be had."""
    root = folder / "root"
    root.mkdir()
    env = {name: value for name, value in environment().items() if name != "container"}
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", _OUTSIDE, "sh", root, *SLIMAGENT, *arguments],
        capture_output=True, text=True, env=env, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("apply", "plan.json", "--in-place"), ("outside a container", "--root")),
        (("run", "--verify", "in-place", "--", "touch", "/tmp/ran"), ("not a container", "slimagent image")),
        (("run", "--scope", "/", "--", "touch", "/tmp/ran"), ("not a container", "--scope")),
        (("run", "--profile", "no-such", "--out", "/tmp/ran", "--", "true"), ("not a container",)),
    ],
)
def test_the_machine_itself_is_not_meant(tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    """On / outside a container: status 3 before anything is read, run, written or removed."""
    may = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True)
    if may.returncode:
        pytest.skip(f"cannot make a mount namespace: {may.stderr.decode(errors='replace').strip()}")
    done = outside_a_container(tmp_path, *arguments)
    assert_error(done, 3, "--force", *words)
    assert not Path("/tmp/ran").exists()


# Bugs


def test_a_bug_shows_its_traceback(trace: Path) -> None:
    """What is no error of ours is not dressed up as one."""
    code = (
        "import slimagent.workflows.pipeline as pipeline\n"
        "pipeline.plan = lambda *arguments, **named: 1 / 0\n"
        "from slimagent.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", trace], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr


# The commands are imported when they are called


def test_the_help_and_the_version_import_no_command() -> None:
    """What is asked at once is answered at once: neither needs orjson, a stage or a command's module."""
    script = (
        "import sys; sys.argv = ['slimagent', sys.argv[1]]\n"
        "from slimagent.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('slimagent.') or name in ('orjson', 'rich')))"
    )
    for option in ("--version", "--help"):
        done = subprocess.run(
            [sys.executable, "-c", script, option],
            capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=60, check=True,
        )  # fmt: skip
        known = {
            *("slimagent.cli", "slimagent.cli.commands", "slimagent.cli.main", "slimagent.cli.terminal"),
            *("slimagent.errors", "slimagent.text", "slimagent.text.escapes"),
        }
        assert set(ast.literal_eval(done.stdout.splitlines()[-1])) == known


def test_the_help_lists_every_command_in_its_section() -> None:
    """Each module's commands stand in the list, each with a summary that is not cut at 80 columns."""
    import_all()
    modules = [sys.modules[f"slimagent.cli.{path.stem}"] for path in (ROOT / "slimagent/cli").glob("*.py")
               if f"slimagent.cli.{path.stem}" in sys.modules]  # fmt: skip
    there = {each.name for module in modules for each in getattr(module, "COMMANDS", ())}
    listed = [name for section in SECTIONS.values() for name, _, _ in section]
    assert sorted(listed) == sorted(filter(None, there))
    shown = slimagent("--help").stdout
    for section in SECTIONS.values():
        for name, _, summary in section:
            assert len(summary) <= 60 and summary.endswith(".")
            assert any(line.split() == [name, *summary.split()] for line in shown.splitlines())


@pytest.mark.parametrize("name", [name for section in SECTIONS.values() for name, _, _ in section])
@pytest.mark.parametrize("columns", ["80", "200"])
def test_each_help_has_an_example_and_fits(name: str, columns: str) -> None:
    """The example can be pasted; options that stand in groups are all there; no line is wider than the terminal."""
    shown = slimagent(name, "--help", env={**environment(), "COLUMNS": columns}).stdout
    example = shown.partition("Example:\n")[2].splitlines()
    assert example and any(f" {name}" in line for line in example)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    words = shown.split()
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert any(option in words or f"{option}," in words for option in parameter.opts), parameter.opts
    assert max(map(len, shown.partition("Example:")[0].splitlines())) <= int(columns)


def test_a_mistyped_command_is_guessed() -> None:
    done = slimagent("iamge")
    assert done.returncode == 2 and "Did you mean image" in done.stderr


def test_a_loss_that_there_is_not_is_known_before_anything_runs(trace: Path) -> None:
    """A typing mistake would be found after an hour of tests."""
    assert_error(
        slimagent("plan", trace, "--accept-loss", "failed-stp"), 2, "no such kind", "did you mean failed-step?"
    )
    assert (
        slimagent("plan", "--quiet", trace, "--accept-loss", "failed-step", "-o", "p.json", cwd=trace.parent).returncode
        == 0
    )
