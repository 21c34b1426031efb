"""A step that failed is told of programs that could not gain their rights under the tracer."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from plan_images import STEP, access, run_of

from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import Access, How, Trace
from slimagent.workflows.gained_rights import advice, gains_rights, without_rights

FAILED = replace(STEP, name="command", outcome=Outcome.FAILED, status=1)
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep: struct vfs_cap_data, version 2


def trace_of(
    *accesses: Access, steps: tuple[CheckResult, ...] = (STEP, FAILED), no_new_privileges: bool = True
) -> Trace:
    run = run_of(steps, "bb", no_new_privileges=no_new_privileges)
    return Trace(
        before="aa", scopes=(b"/",), excluded=(), architecture="x86_64", runs=(run,), accesses=accesses, changes=()
    )


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """Programs by the bits that they have, and a link to one."""
    made = {}
    for name, mode in {"plain": 0o755, "setuid": 0o4755, "setgid": 0o2755}.items():
        path = tmp_path / name
        path.touch()
        path.chmod(mode)
        made[name] = str(path)
    (tmp_path / "link").symlink_to("setuid")
    return made | {"link": str(tmp_path / "link"), "gone": str(tmp_path / "gone")}


def test_programs_with_bits_gain_rights(programs: dict[str, str]) -> None:
    """The setuid bit, the setgid bit, and both by a link; not a plain program, and none that is gone."""
    found = {name for name, path in programs.items() if gains_rights(os.fsencode(path))}
    assert found == {"setuid", "setgid", "link"}


def test_programs_with_file_capabilities_gain_rights(programs: dict[str, str]) -> None:
    """Capabilities are an extended attribute, which only root may set."""
    try:
        os.setxattr(programs["plain"], "security.capability", CAPABILITY)
    except OSError as error:
        pytest.skip(f"file capabilities cannot be set here: {error.strerror}")
    assert gains_rights(os.fsencode(programs["plain"]))


def test_a_failed_step_is_told_of_what_it_executed(programs: dict[str, str]) -> None:
    """The program is named in one line, and both options that help, by hand and with `image`."""
    trace = trace_of(access(programs["plain"], How.EXECUTED, (1,)), access(programs["setuid"], How.EXECUTED, (0, 1)))
    said = advice(trace, [FAILED])
    assert "\n" not in said
    assert f"executed {programs['setuid']};" in said
    assert "`--cap-add SYS_ADMIN --cap-add SYS_PTRACE`" in said
    assert "`--run-option=--cap-add=SYS_ADMIN --run-option=--cap-add=SYS_PTRACE`" in said


def test_a_step_is_not_told_of_what_is_not_the_cause(programs: dict[str, str]) -> None:
    """Not where rights can be gained; not of what another step executed, or was only read, or not found."""
    executed = access(programs["setuid"], How.EXECUTED, (1,))
    assert advice(trace_of(executed), [FAILED])
    assert advice(trace_of(executed, no_new_privileges=False), [FAILED]) == ""
    assert advice(trace_of(executed), []) == ""
    assert advice(trace_of(executed._replace(steps=(0,))), [FAILED]) == ""
    assert advice(trace_of(executed._replace(how=How.OPENED)), [FAILED]) == ""
    assert advice(trace_of(executed._replace(found=False)), [FAILED]) == ""


def test_one_program_is_named_of_many() -> None:
    """The line stays one, however many programs there are."""
    assert without_rights([]) == ""
    assert "/bin/a and 2 more;" in without_rights([b"/bin/a", b"/bin/b", b"/bin/c"])
