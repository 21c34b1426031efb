"""Which files of a real tree stay, which go, and what a trace must be like to be believed."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from plan_images import STEP, access, evidence_for, files_kept, link, paths_with, plan_for, reason, with_run, write

from slimagent.errors import RefusedError
from slimagent.model import started
from slimagent.model.profile import KeepRule
from slimagent.model.reason import Verdict
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.trace import FAILED_STEP, Change, ChangeKind, How, Loss
from slimagent.plan.admit import admit, fit, useless
from slimagent.plan.decide import decide


def test_what_was_asked_for_stays_and_the_rest_goes(tmp_path: Path) -> None:
    """Each way of using a file is a reason of its own, with the steps; what nothing asked for is unused."""
    for each in ("run", "read", "seen", "never"):
        write(tmp_path, f"/usr/{each}")
    accesses = [
        access("/usr/run", How.EXECUTED | How.LOOKED_UP, (0,)),
        access("/usr/read", How.OPENED, (0, 2)),
        access("/usr/seen", How.LOOKED_UP, (1,)),
        access("/absent", How.LOOKED_UP, found=False),
    ]
    plan = plan_for(tmp_path, accesses)
    assert [
        (reason(plan, each).kind, reason(plan, each).steps)
        for each in ("/usr/run", "/usr/read", "/usr/seen", "/usr/never")
    ] == [
        ("executed", (0,)),
        ("opened", (0, 2)),
        ("looked-up", (1,)),
        ("unused", ()),
    ]
    assert paths_with(plan, Verdict.DROP) == {b"/usr/never"}


def test_the_strongest_use_is_the_reason(tmp_path: Path) -> None:
    """A file that was looked up by one name and opened by another was opened."""
    write(tmp_path, "/z/file")
    link(tmp_path, "/a", "z/file")
    plan = plan_for(tmp_path, [access("/a", How.LOOKED_UP, (0,)), access("/z/file", How.OPENED, (1,))])
    assert (reason(plan, "/z/file").kind, reason(plan, "/z/file").steps) == ("opened", (1,))


def test_every_hop_of_a_chain_of_links_stays_for_what_led_over_it(tmp_path: Path) -> None:
    """Links to directories and links to links are kept, each with the path that was asked for."""
    write(tmp_path, "/opt/v2/lib/tool")
    link(tmp_path, "/opt/current", "v2")
    link(tmp_path, "/opt/v2/bin", "lib")
    link(tmp_path, "/usr/bin/tool", "../../opt/current/bin/tool")
    link(tmp_path, "/bin", "usr/bin")
    plan = plan_for(tmp_path, ["/bin/tool"])
    for hop in ("/bin", "/usr/bin/tool", "/opt/current", "/opt/v2/bin"):
        assert (reason(plan, hop).kind, reason(plan, hop).detail) == ("link-on-the-way", "/bin/tool")
    assert reason(plan, "/opt/v2/lib/tool").kind == "opened"


def test_dangling_and_looping_links_harm_nothing(tmp_path: Path) -> None:
    """An access that leads nowhere keeps the links on its way."""
    link(tmp_path, "/dangling", "nowhere")
    link(tmp_path, "/one", "two")
    link(tmp_path, "/two", "one")
    write(tmp_path, "/file")
    plan = plan_for(tmp_path, ["/dangling", "/one", "/file/below"])
    assert reason(plan, "/dangling").kind == reason(plan, "/two").kind == "link-on-the-way"
    assert reason(plan, "/file").verdict is Verdict.DROP


def test_what_has_no_bytes_stays(tmp_path: Path) -> None:
    """Directories, links, FIFOs, sockets and empty files stay, each for its own reason."""
    write(tmp_path, "/py.typed", b"")
    (tmp_path / "directory").mkdir()
    link(tmp_path, "/link", "gone")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)  # the name of a socket has at most 107 bytes
        server.bind("socket")
        os.chdir(here)
    plan = plan_for(tmp_path)
    kinds = {each: reason(plan, each).kind for each in ("/py.typed", "/directory", "/link", "/fifo", "/socket", "/")}
    assert kinds == {
        "/py.typed": "empty-file",
        "/directory": "folder",
        "/link": "symbolic-link",
        "/fifo": "special-file",
        "/socket": "special-file",
        "/": "folder",
    }
    assert paths_with(plan, Verdict.DROP) == set()


def test_every_path_has_one_entry_and_directories_no_size(tmp_path: Path) -> None:
    """The plan lists the inventory's paths, in its order, with the bytes of regular files."""
    write(tmp_path, "/a/file", b"12345")
    write(tmp_path, "/a-b/file", b"1")
    link(tmp_path, "/link", "a/file")
    evidence = evidence_for(tmp_path, ["/a/file"])
    plan = decide(evidence, "file")
    assert [entry.path for entry in plan.entries] == evidence.inventory.paths
    assert {entry.path: entry.size for entry in plan.entries} == {
        b"/": 0, b"/a": 0, b"/a/file": 5, b"/a-b": 0, b"/a-b/file": 1, b"/link": 0,
    }  # fmt: skip


def test_what_the_run_created_is_no_part_of_the_image(tmp_path: Path) -> None:
    """A created file goes although it was opened, although a rule names it, and it drags nothing in."""
    write(tmp_path, "/cache/new", "#!/bin/tool\n", 0o755)
    write(tmp_path, "/bin/tool")
    changes = (
        Change(path=b"/cache", kind=ChangeKind.CREATED, mtime_ns=0),
        Change(path=b"/cache/new", kind=ChangeKind.CREATED, mtime_ns=0),
        Change(path=b"/gone-again", kind=ChangeKind.CREATED, mtime_ns=0),
    )
    rules = (KeepRule(pattern="/cache/**", why="of no use here"),)
    plan = plan_for(tmp_path, ["/cache/new"], rules, changes)
    assert [reason(plan, each).kind for each in ("/cache", "/cache/new", "/bin/tool")] == [
        "created", "created", "unused"
    ]  # fmt: skip
    assert plan.changes == changes


def test_a_rule_keeps_and_says_why(tmp_path: Path) -> None:
    """A matched path stays for the rule's `why`, with what it needs; what does not match goes."""
    write(tmp_path, "/etc/passwd")
    write(tmp_path, "/etc/init", "#!/bin/tool\n", 0o755)
    write(tmp_path, "/bin/tool")
    write(tmp_path, "/opt/x")
    plan = plan_for(tmp_path, rules=(KeepRule(pattern="/etc/**", why="configuration"),))
    assert (reason(plan, "/etc/passwd").kind, reason(plan, "/etc/passwd").detail) == ("rule", "configuration")
    assert reason(plan, "/bin/tool").source == b"/etc/init"
    assert reason(plan, "/opt/x").verdict is Verdict.DROP


@pytest.mark.parametrize("follow", [False, True])
def test_a_rule_that_follows_keeps_what_a_link_leads_to(tmp_path: Path, follow: bool) -> None:
    """Without `follow` only the link itself stays."""
    write(tmp_path, "/zone/UTC")
    link(tmp_path, "/etc/time", "other")
    link(tmp_path, "/etc/other", "../zone/UTC")
    plan = plan_for(tmp_path, rules=(KeepRule(pattern="/etc/time", why="time zone", follow=follow),))
    assert reason(plan, "/etc/time").kind == "rule"
    assert reason(plan, "/zone/UTC").kind == ("rule" if follow else "tree-unused")
    assert reason(plan, "/etc/other").kind == ("rule" if follow else "symbolic-link")


@pytest.mark.parametrize("order", [1, -1])
def test_a_rule_that_follows_does_so_beside_one_that_does_not(tmp_path: Path, order: int) -> None:
    """`/etc/**` does not take from `/etc/localtime` that it follows, whichever comes first."""
    write(tmp_path, "/zone/UTC")
    link(tmp_path, "/etc/localtime", "../zone/UTC")
    rules = (
        KeepRule(pattern="/etc/**", why="configuration"),
        KeepRule(pattern="/etc/localtime", why="the time zone", follow=True),
    )
    plan = plan_for(tmp_path, rules=rules[::order])
    assert reason(plan, "/zone/UTC").detail == "the time zone"


def test_a_plan_names_its_evidence(tmp_path: Path) -> None:
    """The trace's digest, both fingerprints, the accepted losses and the steps are in the plan."""
    write(tmp_path, "/file")
    evidence = evidence_for(tmp_path)
    trace = replace(evidence.trace, before="b" * 64)
    plan = decide(replace(evidence, trace=trace, accepted=frozenset({"z", "a"})), "file")
    assert plan.fingerprints == ("b" * 64, evidence.fingerprint)
    assert (plan.traces, plan.accepted, plan.steps, plan.level) == (
        ("0" * 64,),
        ("a", "z"),
        (("smoke", "1" * 64),),
        "file",
    )


def test_odd_names_are_paths_like_others(tmp_path: Path) -> None:
    """Bytes that are not UTF-8, newlines and backslashes in a name change nothing."""
    (tmp_path / "usr").mkdir()
    directory = os.fsencode(tmp_path / "usr")
    for each in (b"latin1-\xe9", b"new\nline", b"back\\slash", b"br{ace}"):
        with open(directory + b"/" + each, "wb") as file:
            file.write(b"x")
    plan = plan_for(tmp_path, [access(b"/usr/latin1-\xe9"), access(b"/usr/new\nline")])
    assert paths_with(plan, Verdict.DROP) == {b"/usr/back\\slash", b"/usr/br{ace}"}


def test_a_file_that_cannot_be_read_is_remembered(tmp_path: Path) -> None:
    """A kept file that vanished after the scan is named: what it needs is not known."""
    write(tmp_path, "/bin/tool", "#!/bin/sh\n", 0o755)
    evidence = evidence_for(tmp_path, ["/bin/tool"])
    (tmp_path / "bin/tool").unlink()
    decide(evidence, "file")
    assert evidence.contents.unreadable == [b"/bin/tool"]  # type: ignore[attr-defined]


# What is admitted


LOSSES = (
    Loss(kind="queue-overflow", count=3, example="/usr"),
    Loss(kind="unreadable-path", count=1, example="open of process 7"),
)


def test_a_loss_is_refused_by_its_name(tmp_path: Path) -> None:
    """The message names each kind that nobody accepted, the hint the option that accepts it; status 3."""
    evidence = evidence_for(tmp_path)
    trace = with_run(evidence.trace, losses=LOSSES)
    with pytest.raises(RefusedError) as refusal:
        decide(replace(evidence, trace=trace, accepted=frozenset({"queue-overflow"})), "file")
    assert refusal.value.exit_status == 3
    assert "unreadable-path (1 time, e.g. open of process 7)" in refusal.value.message
    assert "queue-overflow" not in refusal.value.message
    assert refusal.value.hint.endswith("--accept-loss unreadable-path")
    assert refusal.value.hint.startswith("trace again in a container started with `--cap-add SYS_PTRACE`, or")


def test_only_a_loss_that_more_rights_mend_is_told_so(tmp_path: Path) -> None:
    """CAP_SYS_PTRACE reads unreadable processes; it helps against no other loss."""
    evidence = evidence_for(tmp_path)
    with pytest.raises(RefusedError) as refusal:
        admit(with_run(evidence.trace, losses=LOSSES[:1]), frozenset())
    assert refusal.value.hint == "trace again, or plan anyway with --accept-loss queue-overflow"


def test_accepted_losses_pass_and_are_written_down(tmp_path: Path) -> None:
    """A plan from a lossy trace says which losses were accepted."""
    evidence = evidence_for(tmp_path)
    accepted = frozenset({"queue-overflow", "unreadable-path"})
    plan = decide(replace(evidence, trace=with_run(evidence.trace, losses=LOSSES), accepted=accepted), "file")
    assert plan.accepted == ("queue-overflow", "unreadable-path")


def test_a_failed_step_is_refused_unless_accepted(tmp_path: Path) -> None:
    """A step that failed saw less than it should: its name is in the message, its option in the hint."""
    failed = replace(STEP, name="notebooks", outcome=Outcome.FAILED, status=1)
    trace = with_run(evidence_for(tmp_path).trace, steps=(STEP, failed))
    with pytest.raises(RefusedError, match="notebooks") as refusal:
        admit(trace, frozenset())
    assert refusal.value.hint.endswith(f"--accept-loss {FAILED_STEP}")
    admit(trace, frozenset({FAILED_STEP}))


@pytest.mark.parametrize(
    ("outcome", "items", "expected"),
    [
        (Outcome.PASSED, (), False),
        (Outcome.SKIPPED, (), False),
        (Outcome.FAILED, (), True),
        (Outcome.FAILED, (Outcome.FAILED, Outcome.SKIPPED), True),
        (Outcome.FAILED, (Outcome.FAILED, Outcome.PASSED), False),
    ],
)
def test_a_step_is_useless_if_nothing_of_it_passed(
    outcome: Outcome, items: tuple[Outcome, ...], expected: bool
) -> None:
    """One item that passed means that the step was exercised."""
    step = CheckResult(
        name="imports",
        kind="python-imports",
        outcome=outcome,
        seconds=1,
        items=tuple(Item(name=str(at), outcome=each) for at, each in enumerate(items)),
    )
    assert useless(step) is expected


@pytest.mark.parametrize("outcome", Outcome)
def test_a_start_that_fails_was_exercised_all_the_same(outcome: Outcome) -> None:
    """An image that needs a database beside it cannot start alone: neither that nor its health check is refused."""
    for name in started.STEPS:
        step = CheckResult(name=name, kind=started.KIND, outcome=outcome, seconds=1)
        assert not useless(step)
        assert useless(replace(step, kind="command")) is (outcome is Outcome.FAILED)
    ended = started.outcome(None, started.Until.HEALTHY, 1)
    up = started.Reached(what=started.Until.TIME, seconds=9.0)
    assert not useless(ended)
    assert not useless(started.outcome(up, started.Until.HEALTHY, 0))


def test_another_image_is_refused(tmp_path: Path) -> None:
    """A trace of one tree is no evidence for another; status 3, both fingerprints in the message."""
    write(tmp_path, "/file", "1")
    evidence = evidence_for(tmp_path)
    write(tmp_path, "/other", "1")
    other = evidence_for(tmp_path)
    with pytest.raises(RefusedError) as refusal:
        decide(replace(other, trace=evidence.trace), "file")
    assert refusal.value.exit_status == 3
    assert other.fingerprint[:12] in refusal.value.message
    assert evidence.fingerprint[:12] in refusal.value.message


def test_the_image_of_before_or_after_the_run_fits() -> None:
    """Either fingerprint will do."""
    fit("a", ("a", "b"), "it was made")
    fit("b", ("a", "b"), "it was made")
    with pytest.raises(RefusedError, match="it was made for"):
        fit("c", ("a", "b"), "it was made")


def test_progress_is_told(tmp_path: Path) -> None:
    """A long closure says how far it is."""
    for at in range(1030):
        write(tmp_path, f"/{at}")
    seen: list[int] = []
    decide(evidence_for(tmp_path, [f"/{at}" for at in range(1030)]), "file", seen.append)
    assert seen == [1024]


def test_what_is_kept_in_a_tree(tmp_path: Path) -> None:
    """A directory that was listed keeps what it holds if it is an application's own: a list of models."""
    write(tmp_path, "/a/one")
    write(tmp_path, "/usr/share/two")
    plan = plan_for(tmp_path, [access("/a", How.LISTED), access("/usr/share", How.LISTED)])
    assert [reason(plan, each).kind for each in ("/a", "/usr/share")] == ["listed", "listed"]
    assert files_kept(plan, tmp_path) == {"/a/one"}
