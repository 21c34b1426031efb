"""How a start is written down, line by line; what it is as steps; and which start is worse than another. Pure."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.errors import DocumentError
from slimagent.model import started
from slimagent.model.result import CheckResult, Outcome, Standing
from slimagent.model.started import Reached, Started, Until, best_sign, decode, line
from slimagent.model.trace import BlindSpot, How, Loss
from slimagent.paths.algebra import normalise
from slimagent.verify.compare import compare, standing

HEAD = Started(
    waited_for=Until.PORT,
    backend="seccomp",
    blind_spots=(BlindSpot.KERNEL_OPENS,),
    no_new_privileges=True,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.binary(min_size=1, max_size=12).filter(lambda data: b"\0" not in data)
paths = names.map(lambda name: normalise(b"/" + name))
accesses = st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(1, 15), paths), max_size=8)
losses = st.lists(
    st.tuples(st.sampled_from(["unreadable-path", "foreign-call"]), st.integers(1, 99), texts), max_size=3
)
ports = st.lists(st.tuples(st.integers(1, 65535), st.booleans()), max_size=3).map(tuple)
states = st.none() | st.builds(
    Reached,
    what=st.sampled_from(Until),
    seconds=st.integers(0, 10**6).map(lambda thousandths: thousandths / 1000),
    ports=ports,
    stops=st.booleans(),
)
healths = st.none() | st.tuples(st.sampled_from(Outcome), texts)
Accesses = list[tuple[int, int, bytes]]
Losses = list[tuple[str, int, str]]
Health = tuple[Outcome, str] | None


def written(seen: Accesses, lost: Losses, health: Health, state: Reached | None) -> bytes:
    """A whole file, as its watcher writes it."""
    rows: list[list[object]] = [started.head(HEAD)]
    rows += [["access", step, how, path] for step, how, path in seen]
    rows += [["loss", *loss] for loss in lost]
    rows += [started.health(*health)] if health is not None else []
    rows += [started.reached(state)] if state is not None else []
    return b"".join(map(line, rows))


@given(accesses, losses, healths, states)
def test_what_was_written_is_read_again(seen: Accesses, lost: Losses, health: Health, state: Reached | None) -> None:
    """File names are any bytes; of several rows about a path the uses add up, and the last row of a loss counts."""
    hows: dict[bytes, How] = {}
    steps: dict[bytes, set[int]] = {}
    for step, how, path in seen:
        hows[path] = hows.get(path, How(0)) | how
        steps.setdefault(path, set()).add(step)
    found = decode(written(seen, lost, health, state), "started.jsonl")
    assert found == replace(
        HEAD,
        accesses={path: (hows[path], tuple(sorted(steps[path]))) for path in hows},
        losses=tuple(
            Loss(kind=kind, count=count, example=example)
            for kind, (count, example) in sorted({kind: (count, example) for kind, count, example in lost}.items())
        ),
        reached=state,
        health=health,
    )


@given(accesses, losses, healths, states, st.data())
def test_a_file_cut_off_anywhere_tells_what_came_before(
    seen: Accesses, lost: Losses, health: Health, state: Reached | None, data: st.DataObject
) -> None:
    """Its watcher may be killed in the middle of a row: that row is left out. Without a head there is no start."""
    whole = written(seen, lost, health, state)
    cut = data.draw(st.integers(0, len(whole)))
    rows = whole[:cut].count(b"\n")
    if rows == 0:
        with pytest.raises(DocumentError, match="was not recorded"):
            decode(whole[:cut], "started.jsonl")
    else:
        assert decode(whole[:cut], "started.jsonl") == decode(b"".join(whole.splitlines(True)[:rows]), "started.jsonl")


@given(accesses, states, st.data())
def test_a_damaged_file_is_a_document_error_or_nothing(
    seen: Accesses, state: Reached | None, data: st.DataObject
) -> None:
    """Whatever some bytes become: never another error, and the message names the line."""
    whole = bytearray(written(seen, [("foreign-call", 1, "x")], (Outcome.PASSED, ""), state))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    _decodes_or_names_the_line(bytes(whole))


cells = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts
    | st.sampled_from(["healthy", "passed", "/x", "\\xff", "\\q", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
kinds = st.sampled_from(["access", "loss", "health", "reached", "head", "other"])


@given(st.lists(st.one_of(cells, st.tuples(kinds, cells, cells, cells), st.tuples(kinds, cells, cells, cells, cells))))
def test_rows_of_any_shape_are_a_document_error_or_nothing(rows: list[object]) -> None:
    """Well-formed JSON that makes no sense."""
    _decodes_or_names_the_line(line(started.head(HEAD)) + b"".join(orjson.dumps(row) + b"\n" for row in rows))


def _decodes_or_names_the_line(data: bytes) -> None:
    try:
        found = decode(data, "started.jsonl")
    except DocumentError as error:
        assert "line " in error.message or "not recorded" in error.message
        return
    assert all(set(steps) <= {0, 1} and 0 < how <= 15 for how, steps in found.accesses.values())
    assert all(type(step) is int for _, steps in found.accesses.values() for step in steps)
    assert all(path.startswith(b"/") for path in found.accesses)


@pytest.mark.parametrize(
    "row",
    [
        '["access",2,1,"/x"]', '["access",-1,1,"/x"]', '["access",0.5,1,"/x"]', '["access",true,1,"/x"]',
        '["access",0,0,"/x"]', '["access",0,16,"/x"]', '["access",0,1,"x"]', '["access",0,1,""]',
        '["access",0,1,"\\\\q"]', '["access",0,1,7]', '["access",0,1]', '["loss","x",1e400,""]', '["health","fine",""]',
        '["reached","healthy",1,[[80]],true]', '["reached","soon",1,[],true]', '["else"]', "[]", "7", "", "{}", '"ab"',
        '["head","slimagent/started",1,"time","",[],false,""]',
    ],
)  # fmt: skip
def test_a_row_that_makes_no_sense_is_refused_by_its_line(row: str) -> None:
    """The rows before it are fine."""
    data = line(started.head(HEAD)) + b'["access",0,1,"/y"]\n' + row.encode() + b"\n"
    with pytest.raises(DocumentError, match=r"^started.jsonl, line 3: cannot be understood"):
        decode(data, "started.jsonl")


@pytest.mark.parametrize(
    "head",
    [
        '["access",0,1,"/x"]',
        '["head","slimagent/started",2,"time","",[],false,""]',
        '["head","slimagent/trace",1,"time","",[],false,""]',
        '["head","slimagent/started",1,"soon","",[],false,""]',
        '["head","slimagent/started",1,"time","",[["x"]],false,""]',
        '["head","slimagent/started",1,"time","",["moon"],false,""]',
    ],
)
def test_a_head_of_something_else_is_refused(head: str) -> None:
    """Another schema, another version, other words."""
    with pytest.raises(DocumentError, match="line 1"):
        decode(head.encode() + b"\n", "started.jsonl")


def test_the_end_of_a_file_tells_whether_it_has_come_to_something() -> None:
    """From the last lines alone, wherever they begin; a file of that name does not deceive."""
    row = line(started.reached(Reached(what=Until.TIME, seconds=1.0)))
    access = line(["access", 0, 1, b'/\n["reached"'])
    assert started.has_reached(row)
    assert started.has_reached(b'0,1,"/x"]\n' + row + access)
    assert not any(started.has_reached(access[at:]) for at in range(len(access)))


def test_the_best_sign_that_an_image_is_up() -> None:
    """Its health check, else a port, else time."""
    assert best_sign(health_check=True, port=True) is Until.HEALTHY
    assert best_sign(health_check=False, port=True) is Until.PORT
    assert best_sign(health_check=False, port=False) is Until.TIME


# What is worse

UP = Reached(what=Until.PORT, seconds=3.0, ports=((80, True), (81, False)))
UP_AND_SILENT = Reached(what=Until.TIME, seconds=3.0)


def step(state: Reached | None, status: int = 0, before: CheckResult | None = None) -> CheckResult:
    return started.outcome(state, Until.PORT, status, before)


def worse(before: CheckResult, after: CheckResult) -> list[str]:
    return [each.name for each in compare([before], [after]) if each.worse]


@given(status=st.integers(0, 255), after=st.integers(0, 255))
def test_an_image_that_ends_by_itself_has_to_end_as_before(status: int, after: int) -> None:
    """With the same exit status, whichever that is: one that failed before and fails in another way is worse."""
    before = step(None, status)
    again = step(None, after, before)
    assert before.outcome is (Outcome.PASSED if status == 0 else Outcome.FAILED)
    assert bool(worse(before, again)) is (status != after)
    if status == after != 0:
        assert standing(again, before) is Standing.FAILED_BEFORE


@given(status=st.integers(0, 255))
def test_to_run_on_and_to_end_are_not_the_same(status: int) -> None:
    """Either is worse than the other: an image that runs must not end, and one that does its work and ends must."""
    assert worse(step(UP), step(None, status, step(UP)))
    assert worse(step(None, status), step(UP, before=step(None, status)))


@given(ports, ports)
def test_a_port_that_answered_has_to_answer(
    before: tuple[tuple[int, bool], ...], after: tuple[tuple[int, bool], ...]
) -> None:
    """Each by itself; one that did not answer before may do as it likes."""
    first = step(replace(UP, ports=tuple(dict(before).items())))
    second = step(replace(UP, ports=tuple(dict(after).items())))
    lost = {port for port, answers in dict(before).items() if answers and not dict(after).get(port)}
    assert set(worse(first, second)) == {f"start: port {port}" for port in lost}


def test_not_to_become_healthy_is_worse_only_where_it_was() -> None:
    """And so is a health check that fails, or that did not take place."""
    healthy = Started(waited_for=Until.HEALTHY, reached=replace(UP, what=Until.HEALTHY), health=(Outcome.PASSED, ""))
    sick = replace(healthy, reached=replace(UP, what=Until.TIME), health=(Outcome.FAILED, "exit status 1"))
    before, after = started.steps(healthy, 0), started.steps(sick, 0)
    assert [each.name for each in compare(before, after) if each.worse] == ["start", "start: healthy", "health check"]
    assert not any(each.worse for each in compare(after, after))
    assert not any(each.worse for each in compare(after, before))
    unasked = started.steps(replace(healthy, health=None), 0)
    assert [each.name for each in compare(before, unasked) if each.worse] == ["health check"]


@given(healths, healths, st.integers(0, 255))
def test_whether_a_health_check_came_before_the_end_is_chance(before: Health, after: Health, status: int) -> None:
    """Of an image that ends by itself: one that was asked in time, or too late, is no better and no worse."""
    first = started.steps(Started(waited_for=Until.HEALTHY, health=before), status)
    again = started.steps(Started(waited_for=Until.HEALTHY, health=after), status, first[0])
    assert not any(each.worse for each in compare(first, again))


@given(states, st.sampled_from(Until), st.integers(0, 255))
def test_a_start_is_never_worse_than_itself(state: Reached | None, until: Until, status: int) -> None:
    """Whatever it came to."""
    before = started.steps(Started(waited_for=until, reached=state), status)
    after = started.steps(Started(waited_for=until, reached=state), status, before[0])
    assert not any(each.worse for each in compare(before, after))


@pytest.mark.parametrize(
    ("state", "until", "passed", "words"),
    [
        (UP, Until.PORT, True, "port 80 answers after 3.0 s"),
        (UP_AND_SILENT, Until.PORT, False, "still running after 3.0 s, and no exposed port answers"),
        (UP_AND_SILENT, Until.HEALTHY, False, "still running and not healthy after 3.0 s"),
        (replace(UP, what=Until.HEALTHY), Until.HEALTHY, True, "healthy after 3.0 s"),
        (UP_AND_SILENT, Until.TIME, True, "still running after 3.0 s"),
        (UP_AND_SILENT, Until.EXIT, False, "still running after 3.0 s"),
        (None, Until.EXIT, True, "exit status 0"),
    ],
)  # fmt: skip
def test_a_start_in_words(state: Reached | None, until: Until, passed: bool, words: str) -> None:
    """Passed if what was waited for came, or if it ended by itself and well."""
    result = started.outcome(state, until, 0)
    assert (result.outcome is Outcome.PASSED, result.detail) == (passed, words)
