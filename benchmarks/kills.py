"""Kill slimagent at random moments, run the same command again, and see that all ends as in a run that nobody killed.

    python benchmarks/kills.py                                       # `apply` in each form, and `plan --repair`
    python benchmarks/kills.py --kills 20 --image IMAGE --agent build/bundle -- -v /tmp/state:/state --also LINE

Each form of the command runs to its end first; then it is killed (SIGKILL) at a moment between its beginning and its
end that `--seed` chooses, until `--kills` of them have met it at work. After each kill the state has to be the one from
before or the one from after: for an export and a plan the whole file or directory, in place each path of the image.
Then the same command has to end well, with the same result and the same receipt, and with nothing left over in the
directories it writes to. The commands run in children of this process, so that a kill meets their work and not the
start of Python.

With `--image` it is `slimagent image` that is killed, a new process each time, and what has to be the same are the
image's layers and the plan's verdicts; what comes after `--` are more of its arguments. The directory that `--state`
names is emptied before each run.

The table says how many kills there were, how many met the command at work (the others came when it had ended, and
then the same command is a repetition), and how many ends were as they have to be. The exit status is 0 when all were.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from slimagent.apply.export.pax import END, commented
from slimagent.cli.main import main as command_line
from slimagent.documents import decode_plan, encode_plan, encode_verification
from slimagent.inventory.contents import Contents
from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.scan import scan
from slimagent.model.edit import Edit
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Entry, Plan, Strip
from slimagent.model.proof import Missed, Verification
from slimagent.model.reason import Reason, ReasonKind, Verdict

FORMS = ("in-place", "tar", "to", "oci", "repair")
FILES, LIBRARIES = 600, 12
MOMENT = 1_600_000_000_000_000_007  # nanoseconds: the time of every file
LISTED = b'[{"identifier":{"id":"a.one"}},{"identifier":{"id":"b.two"}}]'
KILLED = -signal.SIGKILL
_TRIES = 3  # for each kill that is to meet the command at work: some come when it has ended
State = dict[bytes, tuple[object, ...]]


@dataclass
class Tally:
    """What came of one form's kills. `met`: the command was at work; `wrong`: what was not as it has to be."""

    form: str
    kills: int = 0
    met: int = 0
    right: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


# The image


def build(root: Path) -> Plan:
    """A small image with files that go, hard links, a listing to edit, and libraries to strip where there are tools."""
    chance = random.Random(1)  # noqa: S311  # not a secret
    for number in range(FILES):
        path = root / f"d{number % 20}" / f"{'gone' if number % 3 else 'kept'}-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(1, 60_000)))
    (root / "ext").mkdir()
    (root / "ext/extensions.json").write_bytes(LISTED)
    (root / "ext/.extensions.json.slimagent-partial").write_bytes(b"a file of the image")
    (root / "link").symlink_to("d0")
    os.link(root / "d0/kept-0", root / "d1/kept-0-too")
    compiler = shutil.which("cc")
    if compiler is not None and shutil.which("strip") is not None:
        for number in range(LIBRARIES):
            path = root / "lib" / f"lib{number}.so"
            path.parent.mkdir(exist_ok=True)
            source = "".join(f"int f{each}(int at) {{ return at + {number}; }}\n" for each in range(200))
            command = [compiler, "-g", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
            subprocess.run(command, input=source.encode(), check=True)
        os.link(root / "lib/lib0.so", root / "ext/lib0-too.so")
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(MOMENT, MOMENT), follow_symlinks=False)
    os.utime(root, ns=(MOMENT, MOMENT))
    return plan_of(scan(os.fsencode(root)))


def plan_of(inventory: Inventory) -> Plan:
    """A plan that drops what is called so, edits the listing and strips what can be."""
    contents, strips, seen = Contents(inventory.root), [], set()
    for at, path in enumerate(inventory.paths):
        if path.endswith(b".so") and inventory.inodes[at] not in seen:
            seen.add(inventory.inodes[at])
            contents.needs(path, True)
            found = contents.symbols(path)
            if found is not None and not found.why:
                strips.append(Strip(path, found.saves))
    entries = tuple(
        Entry(
            path,
            int(b"/gone-" in path),
            inventory.sizes[at] if stat.S_ISREG(inventory.modes[at]) else 0,
            inventory.mtimes[at],
        )
        for at, path in enumerate(inventory.paths)
    )
    return Plan(
        tool="kills",
        level="file",
        root=inventory.root,
        scopes=inventory.scopes,
        excluded=(),
        fingerprints=(fingerprint(inventory),),
        traces=(),
        accepted=(),
        steps=(),
        reasons=(
            Reason(kind=ReasonKind.OPENED),
            Reason(verdict=Verdict.DROP, kind=ReasonKind.UNUSED),
        ),
        entries=entries,
        changes=(),
        strips=tuple(strips),
        edits=(Edit(path=b"/ext/extensions.json", kind="vscode-extensions", keys=("a.one",)),),
    )


def state(path: Path) -> State:
    """All that a file or a tree is, path by path; empty if nothing is there, or an empty directory."""
    if not path.is_dir():
        return {b"": described(path)} if path.exists() else {}
    paths = [path, *path.rglob("*")] if any(path.iterdir()) else []
    return {os.fsencode(each)[len(os.fsencode(path)) :]: described(each) for each in paths}


def described(path: Path) -> tuple[object, ...]:
    """Kind, mode, owner, time and contents of a path. What has no time of the image's has that of its making."""
    status = path.lstat()
    contents: object = None
    if stat.S_ISLNK(status.st_mode):
        contents = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        contents = hashlib.sha256(path.read_bytes()).hexdigest()
    dated = (
        status.st_mtime_ns if status.st_mtime_ns == MOMENT else 0
    )  # what is made for itself has the time of its making
    return status.st_mode, status.st_uid, status.st_gid, dated, contents


# Running and killing


def run(arguments: Sequence[str | Path], log: Path, after: float | None = None) -> tuple[int, float]:
    """Run a command in a child, killed after so many seconds if they are given. Returns its status, and seconds."""
    begin = time.monotonic()
    child = os.fork()
    if not child:
        status = 99
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.argv = ["slimagent", *map(str, arguments)]
            command_line()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 98
        finally:
            sys.stdout.flush()
            os._exit(status)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, time.monotonic() - begin


class Form:
    """One form of the command: how it is called, what it makes, and how all is put back as it was before."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.pristine, self.root, self.out = folder / "pristine", folder / "root", folder / "out"
        self.log, self.temporary = folder / "log", folder / "tmp"
        plan = build(self.pristine)
        self.temporary.mkdir()
        (folder / "plan.json").write_bytes(encode_plan(plan))
        self.reset()
        if name == "repair":
            self._prepare_repair()

    def _prepare_repair(self) -> None:
        command = ("--", "cat", self.root / "d0/kept-0")
        done, _ = run(("trace", "--quiet", "--scope", self.root, "-o", self.folder / "trace.json", *command), self.log)
        if done:
            raise SystemExit(f"cannot trace here: {self.log.read_text()}")
        missed = tuple(
            Missed(path=os.fsencode(self.root / f"d1/gone-{number}"), steps=("command",)) for number in (1, 41, 61)
        )
        proof = Verification(
            tool="kills",
            plan="0" * 64,
            how="masked",
            backend="seccomp",
            blind_spots=(),
            passed=False,
            steps=(),
            comparisons=(),
            missed=missed,
            losses=(),
        )
        (self.folder / "verification.json").write_bytes(encode_verification(proof))

    def reset(self) -> None:
        """Everything as it was before the first run."""
        for path in (self.root, self.out):
            shutil.rmtree(path, ignore_errors=True)
        subprocess.run(["cp", "-a", self.pristine, self.root], check=True)
        self.out.mkdir()
        if self.name in ("tar", "repair"):
            before = (self.folder / "plan.json").read_bytes() if self.name == "repair" else commented() + END
            self.target.write_bytes(before)  # a plan takes the place of a plan only, a tar of ours that of one of ours
            os.utime(self.target, ns=(MOMENT, MOMENT))

    @property
    def target(self) -> Path:
        """What is made."""
        if self.name == "in-place":
            return self.root
        return self.out / {"tar": "rootfs.tar", "to": "tree", "oci": "layout", "repair": "plan.json"}[self.name]

    @property
    def receipt(self) -> Path:
        """What is said of it: a plan has nothing beside it."""
        return self.out / ("plan.json" if self.name == "repair" else "receipt.json")

    @property
    def arguments(self) -> list[str | Path]:
        """The command."""
        root: list[str | Path] = ["--root", self.root, "--quiet"]
        if self.name == "repair":
            repair: list[str | Path] = [
                "--repair",
                self.folder / "verification.json",
                "-o",
                self.target,
                "--level",
                "file",
            ]
            return ["plan", self.folder / "trace.json", "--quiet", *repair]
        form: list[str | Path] = [f"--{self.name}", self.target]
        if self.name == "in-place":
            form = ["--in-place", "--journal", self.out / "journal"]
        return ["apply", self.folder / "plan.json", *root, *form, "-o", self.receipt]


def seen(form: Form) -> tuple[State, bytes, list[str]]:
    """All by which the end of a command is judged: what it made, the receipt, and the names where it wrote."""
    names = sorted(os.listdir(form.out)) + sorted(os.listdir(form.temporary))
    return state(form.target), form.receipt.read_bytes(), names


def campaign(form: Form, kills: int, chance: random.Random) -> Tally:
    """Kill it so many times."""
    tally = Tally(form=form.name)
    before = state(form.target)
    status, _ = run(form.arguments, form.log)
    if status:
        raise SystemExit(f"{form.name} does not end well: {form.log.read_text()}")
    expected = seen(form)
    spans = []
    for _ in range(3):
        form.reset()
        spans.append(run(form.arguments, form.log)[1])
    tally.seconds = sorted(spans)[1]
    while tally.met < kills and tally.kills < _TRIES * kills:
        form.reset()
        status, _ = run(form.arguments, form.log, chance.uniform(0, 1.05 * tally.seconds))
        tally.kills += 1
        tally.met += status == KILLED
        problem = broken(form, before, expected[0])
        status, _ = run(form.arguments, form.log)
        if status:
            problem = problem or f"the next run ended with status {status}: {form.log.read_text()[-300:]}"
        else:
            problem = problem or differing(seen(form), expected)
        if problem:
            tally.wrong.append(f"{tally.kills}: {problem}")
        else:
            tally.right += 1
    return tally


def broken(form: Form, before: State, after: State) -> str:
    """What is neither as it was before nor as it is afterwards; empty if nothing is."""
    now = state(form.target)
    if form.name != "in-place":
        return "" if now in (before, after) else "half of it is there"
    for path, found in now.items():
        known = [undated(each[path]) for each in (before, after) if path in each]
        if undated(found) not in known and b"/.slimagent-" not in path:
            return f"{os.fsdecode(path)} is neither what it was nor what it becomes"
    lost = [path for path in after if path not in now]
    return f"{os.fsdecode(lost[0])} is gone" if lost else ""


def undated(found: tuple[object, ...]) -> tuple[object, ...]:
    """What `described` has, without the time of a directory: it changes with each file that goes."""
    return (*found[:3], *found[4:]) if stat.S_ISDIR(int(str(found[0]))) else found


def differing(found: tuple[State, bytes, list[str]], expected: tuple[State, bytes, list[str]]) -> str:
    """In what an end differs from the one it has to be; empty if in nothing."""
    if found[0] != expected[0]:
        paths = [path for path in {**found[0], **expected[0]} if found[0].get(path) != expected[0].get(path)]
        return f"another result: {os.fsdecode(paths[0])}"
    if found[1] != expected[1]:
        return "another receipt"
    return f"left over: {sorted(set(found[2]) - set(expected[2]))}" if found[2] != expected[2] else ""


# `slimagent image`


class Image:
    """`slimagent image` of an image, with all that it makes in one directory."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.out, self.state, self.tag = folder / "out", options.state, f"slimagent-kills:{os.getpid()}"
        words = [
            "image",
            options.image,
            "-t",
            self.tag,
            "--agent",
            options.agent,
            "--out",
            str(self.out),
            "--level",
            "file",
        ]
        self.command = [sys.executable, "-m", "slimagent", *words, *options.more]

    def run(self, after: float | None = None) -> tuple[int, float, str]:
        """Run it, killed after so many seconds if they are given. Its status, seconds, and what it said."""
        if self.state is not None:
            shutil.rmtree(self.state, ignore_errors=True)
            self.state.mkdir(mode=0o777)
            self.state.chmod(0o777)
        begin = time.monotonic()
        with subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                _, said = process.communicate(timeout=after)
            except subprocess.TimeoutExpired:
                process.kill()
                _, said = process.communicate()
        return process.returncode, time.monotonic() - begin, said

    def layers(self) -> str:
        """What the tag names; empty for nothing."""
        command = ["docker", "image", "inspect", "-f", "{{json .RootFS.Layers}}", self.tag]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()

    def entries(self) -> list[tuple[bytes, str]]:
        """What the plan says of each path. The plan names its traces, which have times, so its bytes differ."""
        plan = decode_plan((self.out / "plan.json").read_bytes(), "plan.json")
        return [(each.path, plan.reasons[each.reason].verdict.value) for each in plan.entries]

    def forget(self) -> None:
        """Remove the image and what is in the directory."""
        subprocess.run(["docker", "rmi", "-f", self.tag], check=False, capture_output=True)
        shutil.rmtree(self.out, ignore_errors=True)

    def left(self) -> set[str]:
        """Containers and pending images of runs of slimagent, and hidden names in the directory."""
        commands = (
            ["docker", "ps", "-a", "--filter", "name=slimagent-", "--format", "{{.Names}}"],
            ["docker", "images", "slimagent-pending", "--format", "{{.Repository}}:{{.Tag}}"],
        )
        found = {name for each in commands for name in subprocess.check_output(each, text=True).split()}
        return found | {each.name for each in self.out.glob(".*")}


def image_campaign(options: argparse.Namespace, folder: Path, chance: random.Random) -> Tally:
    """Kill `slimagent image` so many times. What other runs have in the engine meanwhile is theirs."""
    image, tally = Image(options, folder), Tally(form="image")
    try:
        status, tally.seconds, said = image.run()
        if status:
            raise SystemExit(f"image does not end well: {said}")
        layers, entries = image.layers(), image.entries()
        names = sorted(str(path.relative_to(image.out)) for path in image.out.rglob("*"))
        while tally.met < options.kills and tally.kills < _TRIES * options.kills:
            image.forget()
            before = image.left()
            status, _, _ = image.run(chance.uniform(0, tally.seconds))
            tally.kills += 1
            tally.met += status == KILLED
            problem = "" if image.layers() in ("", layers) else "the tag names something else"
            left = image.left() - before
            status, _, said = image.run()
            if status:
                problem = problem or f"the next run ended with status {status}: {said[-300:]}"
            elif image.layers() != layers:
                problem = problem or "another image"
            elif image.entries() != entries:
                problem = problem or "another plan"
            elif left & image.left():
                problem = problem or f"left over: {sorted(left & image.left())}"
            elif names != sorted(str(path.relative_to(image.out)) for path in image.out.rglob("*")):
                problem = problem or "other files in the output directory"
            if problem:
                tally.wrong.append(f"{tally.kills}: {problem}")
            else:
                tally.right += 1
    finally:
        image.forget()
    return tally


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--forms", default=",".join(FORMS), help="which, with commas between")
    parser.add_argument("--kills", type=int, default=100, help="that meet each form at work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--image", help="kill `slimagent image` of this image instead")
    parser.add_argument("--agent", help="with --image: the bundle to use", default="build/bundle")
    parser.add_argument("--state", type=Path, help="with --image: a directory to empty before each run")
    parser.add_argument("--json", type=Path, help="a file for the result")
    parser.add_argument("more", nargs="*", help="with --image: more arguments of `slimagent image`")
    options = parser.parse_args()
    tallies = []
    with tempfile.TemporaryDirectory() as work:
        if options.image:
            tallies.append(image_campaign(options, Path(work).resolve(), random.Random(options.seed)))  # noqa: S311
            show(tallies[-1])
        for name in () if options.image else options.forms.split(","):
            folder = Path(work).resolve() / name
            folder.mkdir()
            os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
            chance = random.Random(f"{name} {options.seed}")  # noqa: S311
            tallies.append(campaign(Form(name, folder), options.kills, chance))
            show(tallies[-1])
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in tallies], indent=2) + "\n")
    return 0 if all(each.right == each.kills for each in tallies) else 1


def show(tally: Tally) -> None:
    """A line of the table, and a line for what was wrong."""
    print(
        f"{tally.form:10} {tally.kills:4} kills, {tally.met:4} at work, {tally.right:4} right, {tally.seconds:6.2f} s"
    )
    for line in tally.wrong:
        print(f"           {line}")


if __name__ == "__main__":
    sys.exit(main())
