"""Kind `permissions`: what a snapshot holds, what became of it, and where the user can write."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checks_context import IS_ROOT, NOBODY, Place, item, place
from permissions_helpers import as_user, required

from slimagent import checks
from slimagent.checks.permissions.walk import LeftOut, look, usually_left_out
from slimagent.errors import UsageError
from slimagent.linux.command import Command
from slimagent.linux.family import spawn
from slimagent.linux.posix_acl import Identity
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.user import User

__all__ = ["place"]  # a fixture
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give files away and become another user")
SOMEBODY = NOBODY if IS_ROOT else None
ME = Identity(os.geteuid(), frozenset((os.getegid(), *os.getgroups())))
PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
ASPECTS = ("owner", "group", "mode", "capabilities", "ACLs")


class Image:
    """A small image that an ordinary user can reach: a home and site-packages are his, a program is not."""

    def __init__(self, root: Path, place: Place) -> None:
        self.root, self.place = root, place
        for directory in ("home", "venv", "venv/lib", "venv/lib/site-packages"):
            self.directory(directory, 0o755, mine=True)
        self.directory("usr", 0o555)
        program = root / "program"
        program.write_bytes(b"")
        program.chmod(0o4755)

    def directory(self, name: str | bytes, mode: int, *, mine: bool = False) -> Path:
        """A directory, of the user's if it is `mine`."""
        path = self.root / os.fsdecode(name)
        path.mkdir(parents=True)
        path.chmod(mode)
        if mine and IS_ROOT:
            os.chown(path, NOBODY.uid, NOBODY.gid)
        return path

    def check(
        self,
        before: CheckResult | None = None,
        *,
        user: User | None = SOMEBODY,
        spawn: checks.Spawn = spawn,
        env: Mapping[str, str] | None = None,
        seconds: float = 30,
        **parameters: Parameter,
    ) -> CheckResult:
        """Run the check as an ordinary user, with his home and this image for all there is."""
        given = {"folders": (str(self.root),), **parameters}
        spec = CheckSpec(kind="permissions", name="it", seconds=seconds, parameters=given)
        context = self.place.context(user, **{"HOME": f"{self.root}/home", **(env or {})})
        self.root.chmod(0o555)  # it is his own, if we have not become another user
        try:
            result = checks.run(spec, replace(context, spawn=spawn, before=before))
        finally:
            self.root.chmod(0o755)
        left = [name for _, _, names in os.walk(self.root) for name in names if name.startswith(".slimagent-")]
        assert left == []
        return result

    def writable(self, path: str) -> str:
        """The name of the item that says that a directory can be written."""
        return f"writable {self.root}/{path}"


@pytest.fixture
def image(place: Place) -> Iterator[Image]:
    """An image below a directory that everybody may search, which pytest's own are not."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/tmp")) as directory:
        os.chmod(directory, 0o755)
        yield Image(Path(directory), place)
        subprocess.run(["chmod", "-R", "u+rwx", directory], check=True)


def outcomes(result: CheckResult) -> dict[str, Outcome]:
    """How each item ended."""
    return {each.name: each.outcome for each in result.items}


def failures(result: CheckResult) -> dict[str, str]:
    """Why the items failed that did."""
    return {each.name: each.detail for each in result.items if each.outcome is FAILED}


def test_a_first_run_passes_and_keeps_a_snapshot(image: Image) -> None:
    """The first run passes with an item for each aspect, each directory found writable, and the rest."""
    result = image.check()
    assert result.outcome is PASSED, failures(result)
    assert list(outcomes(result)) == [
        *ASPECTS,
        image.writable("home"),
        image.writable("venv"),
        image.writable("venv/lib/site-packages"),
        "still writable",
        "nowhere else",
    ]
    assert item(result, "owner").detail == "snapshot of 7 paths"
    assert result.detail.endswith("; 7 paths")
    assert result.snapshot.startswith("1:")


def test_a_second_run_has_the_same_items_and_no_snapshot(image: Image) -> None:
    """Where nothing changed all pass again, under the same names: that is what results are compared by."""
    first = image.check()
    second = image.check(first)
    assert second.outcome is PASSED, failures(second)
    assert outcomes(second) == outcomes(first)
    assert second.snapshot == ""
    assert item(second, "mode").detail == "as it was, of 7 paths"


def test_a_lost_setuid_bit_is_named(image: Image) -> None:
    """A mode that changed is told with what it was and is."""
    first = image.check()
    (image.root / "program").chmod(0o755)
    assert failures(image.check(first)) == {"mode": f"1 path differs: {image.root}/program: mode 4755 -> 0755"}


def test_a_directories_mode_and_another_kind_are_named(image: Image) -> None:
    """A directory's mode counts, and a file that became something else."""
    first = image.check()
    (image.root / "usr").chmod(0o500)
    (image.root / "program").unlink()
    (image.root / "program").symlink_to("usr")
    detail = failures(image.check(first))["mode"]
    assert f"{image.root}/usr: mode 0555 -> 0500" in detail
    assert f"{image.root}/program: file, mode 4755 -> link, mode 0777" in detail


def test_what_went_and_what_is_new_is_no_difference(image: Image) -> None:
    """Slimming takes files away, runs make new ones: neither is a change of rights."""
    first = image.check()
    (image.root / "program").unlink()
    (image.root / "usr").rmdir()
    (image.root / "new").write_bytes(b"")
    assert image.check(first).outcome is PASSED


@needs_root
def test_an_owner_and_a_group_that_changed_are_named(image: Image) -> None:
    """A file's owner, and a link's own."""
    (image.root / "link").symlink_to("nowhere")
    first = image.check()
    os.chown(image.root / "program", 7, 0)
    os.lchown(image.root / "link", 0, 8)
    found = failures(image.check(first))
    assert found["owner"] == f"1 path differs: {image.root}/program: owner 0 -> 7"
    assert found["group"] == f"1 path differs: {image.root}/link: group 0 -> 8"


@needs_root
def test_a_lost_capability_is_named(image: Image) -> None:
    """A program that had a capability and has none now."""
    setcap = required("setcap", "libcap2-bin")
    subprocess.run([setcap, "cap_net_raw=ep", str(image.root / "program")], check=True)
    first = image.check()
    subprocess.run([setcap, "-r", str(image.root / "program")], check=True)
    detail = f"1 path differs: {image.root}/program: capabilities cap_net_raw=ep -> none"
    assert failures(image.check(first)) == {"capabilities": detail}


def test_an_access_control_list_that_changed_is_named(image: Image) -> None:
    """A list of a directory's, and the one that new files in it get."""
    setfacl = required("setfacl", "acl")
    first = image.check()
    if subprocess.run([setfacl, "-m", "u:7:r-x,d:u:7:r-x", str(image.root / "usr")], check=False).returncode:
        pytest.skip("this file system has no access control lists")
    assert failures(image.check(first)) == {
        "ACLs": f"1 path differs: {image.root}/usr: "
        "ACL none -> user::r-x,user:7:r-x,group::r-x,mask::r-x,other::r-x, "
        "default ACL none -> user::r-x,user:7:r-x,group::r-x,mask::r-x,other::r-x"
    }


def test_of_many_differences_the_first_are_named(image: Image) -> None:
    """A detail is one line, however much changed."""
    files = [image.root / f"file{number}" for number in range(9)]
    for each in files:
        each.write_bytes(b"")
        each.chmod(0o644)
    first = image.check()
    for each in files:
        each.chmod(0o600)
    detail = failures(image.check(first))["mode"]
    assert detail.startswith("9 paths differ: ")
    assert detail.endswith("file4: mode 0644 -> 0600; and 4 more")


def test_names_of_any_bytes_are_compared_and_shown(image: Image) -> None:
    """A name with a newline, and one that is no UTF-8, also as directories that have an item of their own."""
    directory = image.directory(b"new\nline \xe9", 0o755, mine=True)
    (directory / os.fsdecode(b"\xff\n")).write_bytes(b"")
    first = image.check()
    name = image.writable("new\\x0aline \\xe9")
    assert item(first, name).outcome is PASSED
    (directory / os.fsdecode(b"\xff\n")).chmod(0o611)
    second = image.check(first)
    assert item(second, name).outcome is PASSED
    assert "new\\x0aline \\xe9/\\xff\\x0a: mode" in failures(second)["mode"]


# Where the user can write


def test_site_packages_that_can_no_longer_be_written(image: Image) -> None:
    """The directory's own item fails with the kernel's word and what stands in the way, and so does the general one."""
    first = image.check()
    (image.root / "venv/lib/site-packages").chmod(0o555)
    found = failures(image.check(first))
    assert set(found) == {"mode", image.writable("venv/lib/site-packages"), "still writable"}
    assert found[image.writable("venv/lib/site-packages")].startswith("Permission denied; it has mode 0555, owner ")
    assert found["still writable"].startswith(f"{image.root}/venv/lib/site-packages: it has mode 0555")


@needs_root
def test_a_directory_on_the_way_that_was_closed(image: Image) -> None:
    """The obstacle that is named is the directory on the way."""
    first = image.check()
    (image.root / "venv/lib").chmod(0o700)
    os.chown(image.root / "venv/lib", 0, 0)
    detail = failures(image.check(first))[image.writable("venv/lib/site-packages")]
    assert detail == f"no such directory; {image.root}/venv/lib has mode 0700, owner 0, group 0"


@needs_root
def test_a_directory_that_became_writable(image: Image) -> None:
    """What was closed to the user and is open now is named, with its rights; new directories are not meant."""
    first = image.check()
    (image.root / "usr").chmod(0o777)
    image.directory("new", 0o777)
    found = failures(image.check(first))
    assert found["nowhere else"] == f"{image.root}/usr: can be written now, it has mode 0777, owner 0, group 0"
    assert set(found) == {"mode", "nowhere else"}


def test_a_writable_directory_that_is_gone(image: Image) -> None:
    """What is gone is no difference, but where the user could make files he still can."""
    first = image.check()
    shutil.rmtree(image.root / "venv")
    assert failures(image.check(first)) == {
        image.writable("venv"): "no such directory",
        image.writable("venv/lib/site-packages"): "no such directory",
    }


@pytest.mark.parametrize(
    ("home", "why"), [("nowhere", "no such directory"), ("usr", "Permission denied"), ("program", "no such")]
)
def test_a_home_that_cannot_be_written_fails_the_first_run(image: Image, home: str, why: str) -> None:
    """A home must be there and be the user's, unless the profile says that it is closed."""
    env = {"HOME": f"{image.root}/{home}"}
    assert why in failures(image.check(env=env))[image.writable(home)]
    closed = image.check(env=env, not_writable=("~",))
    assert closed.outcome is PASSED, failures(closed)
    assert item(closed, f"not writable {image.root}/{home}").outcome is PASSED
    assert image.writable(home) not in outcomes(closed)


def test_directories_are_named_by_variables_of_the_images_environment(image: Image) -> None:
    """`~`, `$NAME`, `${NAME}`; a variable alone can be a list; one that is not set leaves nothing to exercise."""
    env = {"LIBS": f"{image.root}/venv/lib:{image.root}/usr", "VENV": f"{image.root}/venv", "REL": "here"}
    result = image.check(env=env, writable=("~/", "${LIBS}", "$VENV/lib/site-packages", "$UNSET/x", "$REL", "a\0b"))
    assert (
        outcomes(result).items()
        >= {
            image.writable("home"): PASSED,
            image.writable("venv/lib"): PASSED,
            image.writable("usr"): FAILED,
            image.writable("venv/lib/site-packages"): PASSED,
            "writable $UNSET/x": SKIPPED,
            "writable here": FAILED,
            "writable a\\x00b": FAILED,
        }.items()
    )
    assert item(result, "writable $UNSET/x").detail == "UNSET is not set"
    assert item(result, "writable here").detail == "it is not an absolute path"


def test_a_directory_that_must_be_closed_and_is_open(image: Image) -> None:
    """The kernel is asked; what it let us make there is removed again (see Image.check)."""
    result = image.check(not_writable=(f"{image.root}/venv", f"{image.root}/usr"))
    assert failures(result) == {f"not writable {image.root}/venv": "a file can be made there"}
    assert item(result, f"not writable {image.root}/usr").detail.startswith("Permission denied; it has mode 0555")


def test_what_the_kernel_refuses_though_the_modes_allow_it(image: Image) -> None:
    """The kernel's answer counts: here the name of a file would be too long for it."""
    directory = os.fsencode(image.root)
    while len(directory) < 4070:
        directory += b"/" + b"x" * min(200, 4072 - len(directory))
        image.directory(os.fsdecode(directory), 0o755, mine=True)
    name = os.fsdecode(directory)
    result = image.check(writable=(name,))
    assert failures(result) == {f"writable {name}": "File name too long; by owner and mode it could be written"}


def test_many_writable_directories_are_compared_as_one(image: Image) -> None:
    """Fifty have an item each; the others are not forgotten."""
    closed = image.directory("closed", 0o755)
    for number in range(60):
        image.directory(f"closed/{number:02}", 0o755, mine=True)
    closed.chmod(0o555)
    first = image.check()
    assert 40 < sum(name.startswith("writable ") for name in outcomes(first)) <= 51
    (image.root / "closed/59").chmod(0o555)
    assert failures(image.check(first))["still writable"].startswith(f"{image.root}/closed/59: it has mode 0555")


def test_a_shell_that_hangs(image: Image) -> None:
    """What gives no answer has failed, and nothing of it is left (see `place`); a stand-in for the shell sleeps."""

    def hanging(command: Command) -> subprocess.Popen[bytes]:
        argv = command.argv
        return spawn(replace(command, argv=("/bin/sh", "-c", f"{argv[2]}\nsleep 1000", *argv[3:-1])))

    result = image.check(spawn=hanging, seconds=1)
    why = "no answer from the shell that tried it: it did not end in time"
    assert failures(result) == {image.writable("venv/lib/site-packages"): why}


def test_an_image_without_a_shell(image: Image) -> None:
    """Owner and mode are all there is then, and the detail says so; a stand-in for Spawn finds no shell."""

    def none(command: Command) -> subprocess.Popen[bytes]:
        raise FileNotFoundError(2, "No such file or directory", command.argv[0])

    result = image.check(spawn=none, writable=(f"{image.root}/usr",))
    assert set(failures(result)) == {image.writable("usr")}
    why = "by owner and mode it can be written; not tried: /bin/sh: No such file or directory"
    assert item(result, image.writable("home")).detail == why


def test_only_the_shell_is_started(image: Image) -> None:
    """Only what a process of the image does is evidence: the walk is ours, and starts none."""
    started: list[str] = []

    def noting(command: Command) -> subprocess.Popen[bytes]:
        started.append(command.argv[0])
        return spawn(command)

    image.check(spawn=noting)
    assert started == ["/bin/sh"]


# Another user, and a snapshot that is none


@needs_root
def test_root_writes_everywhere(image: Image) -> None:
    """Of root nothing is asked but what the profile names."""
    result = image.check(user=None, writable=(f"{image.root}/usr",), not_writable=(f"{image.root}/venv",))
    assert outcomes(result) == {
        **dict.fromkeys(ASPECTS, PASSED),
        image.writable("usr"): PASSED,
        f"not writable {image.root}/venv": SKIPPED,
        "still writable": SKIPPED,
        "nowhere else": SKIPPED,
    }


@needs_root
@pytest.mark.parametrize("users", [(NOBODY, None), (None, NOBODY), (NOBODY, replace(NOBODY, uid=7, groups=(7,)))])
def test_another_user_than_before_raises_no_alarm(image: Image, users: tuple[User | None, User | None]) -> None:
    """Nothing that passed fails because another user looks; what the first could write is judged for him."""
    (image.root / "home").chmod(0o777)
    closed = (f"{image.root}/usr",)
    first = image.check(user=users[0], not_writable=closed)
    second = outcomes(image.check(first, user=users[1], not_writable=closed))
    passed = {name for name, outcome in outcomes(first).items() if outcome is PASSED}
    assert {name for name in passed if second.get(name) is not PASSED} == set()


@needs_root
def test_snapshots_of_root_and_of_the_user_fit_each_other(image: Image) -> None:
    """Whether we are root and become the user, or are the user: only what both saw is compared."""
    secret = image.directory("secret", 0o700)
    (secret / "in it").write_bytes(b"")
    before = image.check()
    left_out = LeftOut(paths=frozenset())
    far = time.monotonic() + 30
    root, user = os.fsencode(image.root), Identity(NOBODY.uid, frozenset({NOBODY.gid}))
    mine = look([root], user, left_out, far)
    his = as_user(NOBODY, lambda: look([root], user, left_out, far))
    assert his.unreadable == [os.fsencode(secret)]
    assert mine.count() == his.count() + 1
    (secret / "in it").chmod(0o600)
    assert "secret/in it: mode" in failures(image.check(before))["mode"]


@pytest.mark.parametrize("snapshot", ["1:", "2:AAAA", "1:AAAA", "no", "1:é"])
def test_a_snapshot_that_cannot_be_read_fails_what_it_is_for(image: Image, snapshot: str) -> None:
    """The comparison fails with the reason; the directories are tried all the same, by the names of before."""
    first = image.check()
    odd = Item(name="writable /no\\xpath", outcome=PASSED)
    result = image.check(replace(first, snapshot=snapshot, items=(*first.items, odd)))
    assert set(failures(result)) == {*ASPECTS, "still writable", "nowhere else"}
    assert failures(result)["owner"].startswith("the snapshot of the earlier run cannot be read: ")
    assert outcomes(result).keys() == outcomes(first).keys()


# What is looked at


def test_what_is_left_out_is_not_compared(image: Image) -> None:
    """Directories filled at run time; files that programs make again; hidden directories of homes; patterns."""
    root = image.root
    for name in ("tmp/a", "cache/sub/a", "home/.state/sub/a", "home/seen", "gone/a", "kept/a"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    here = os.fsencode(root)
    left_out = LeftOut(
        paths=frozenset({here + b"/gone"}),
        homes=frozenset({here + b"/home"}),
        fits=lambda path: 0 if path.endswith(b"/kept/a") else None,
        transient=frozenset({here + b"/tmp"}),
        written=frozenset({here + b"/cache"}),
    )
    seen = look([here], ME, left_out, time.monotonic() + 30)
    names = {directory[len(here) :]: list(listing) for directory, listing in seen.listings.items() if directory}
    assert names[b""] == [b"cache", b"home", b"kept", b"program", b"tmp", b"usr", b"venv"]
    assert (names[b"/tmp"], names[b"/cache"], names[b"/cache/sub"]) == ([], [b"sub"], [])
    assert (names[b"/home"], names[b"/home/.state"], names[b"/kept"]) == ([b".state", b"seen"], [b"sub"], [])


def test_a_profile_can_leave_paths_out(image: Image) -> None:
    """`leave_out` has patterns of paths."""
    leave_out = (f"{image.root}/prog*",)
    first = image.check(leave_out=leave_out)
    (image.root / "program").chmod(0o600)
    assert image.check(first, leave_out=leave_out).outcome is PASSED


def test_other_file_systems_and_the_agent_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mounted is no part of the image, nor is the agent's directory."""
    monkeypatch.setenv("SLIMAGENT_HOME", str(tmp_path / "." / "agent"))
    left_out = usually_left_out(["/", "/home/x", "a\0b"])
    assert left_out.paths >= {b"/proc", os.fsencode(tmp_path.resolve() / "agent"), b"/.dockerenv"}
    assert b"/" not in left_out.paths
    assert left_out.homes == {b"/home/x"}


def test_a_path_that_is_too_long_is_counted(image: Image) -> None:
    """What is too deep for a path is told as not looked at, and ends nothing."""
    depth, fd = 0, os.open(image.root, os.O_RDONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: os.close(fd))
        while depth < 25:
            os.mkdir("d" * 200, dir_fd=fd)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd, depth = below, depth + 1
    first = image.check()
    assert first.outcome is PASSED, failures(first)
    assert first.detail.endswith("1 unreadable")
    assert image.check(first).outcome is PASSED
    shutil.rmtree(image.root / ("d" * 200))


def test_a_walk_ends_at_its_limit(image: Image) -> None:
    """A check that has no time left says how far it came."""
    result = image.check(seconds=1e-9)
    assert (result.outcome, result.items) == (FAILED, ())
    assert result.detail == "no end after 1e-09 s: 0 paths read"


def test_a_directory_that_is_not_there_fails(image: Image) -> None:
    """To look at nothing would prove nothing."""
    result = image.check(folders=("/nowhere",))
    assert (result.outcome, result.detail) == (FAILED, "/nowhere: No such file or directory")


def test_a_directory_inside_another_is_looked_at_once(image: Image) -> None:
    """Directories may overlap, and be named by links."""
    (image.root / "link").symlink_to("venv")
    directories = (str(image.root), f"{image.root}/venv/", f"{image.root}/link")
    assert item(image.check(folders=directories), "owner").detail == "snapshot of 8 paths"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"folders": ("here",)}, "folders has 'here'"), ({"leave_out": ("\\x",)}, "leave_out"), ({"x": "y"}, "'x'")],
)
def test_a_wrong_parameter_is_a_usage_error(image: Image, parameters: dict[str, Any], message: str) -> None:
    """What is wrong in the profile is said, and nothing is looked at."""
    with pytest.raises(UsageError) as caught:
        image.check(**parameters)
    assert message in caught.value.message
