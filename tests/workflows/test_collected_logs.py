"""Which logs of a container are taken: the steps', and nothing that a test put beside them."""

from __future__ import annotations

import os
from pathlib import Path

from slimagent.image.output import Output
from slimagent.image.owner import new_key
from slimagent.image.shared import Shared
from slimagent.image.work import LOGS
from slimagent.workflows import collected_logs
from slimagent.workflows.step_logs import log_name

STEPS = ("command", "python imports", "naïve", "a\n::error::b", "../x")


def test_foreign_names_stay_where_they_are(tmp_path: Path) -> None:
    """Root in the container chooses them: not UTF-8, with what a terminal obeys, too long, or no log."""
    shared = Shared(str(tmp_path / "shared"))
    foreign = (b"a\xffb.log", b"a\x1b[31m.log", b"a\n::error::b.log", b"x" * 230 + b".log", b"plain")
    for name in (*map(os.fsencode, map(log_name, STEPS)), *foreign):
        path = os.path.join(os.fsencode(shared.at(LOGS)), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(b"said")
    out = str(tmp_path / "out")
    with Output(out, key=new_key(), image="a", tag="b", version="1", names=("logs/*.log",)) as output:
        collected_logs.take(output, shared, "full")
        assert {step for step in STEPS if step in collected_logs.ends(output, "full", STEPS)} == set(STEPS)
        output.finish("complete")
    assert sorted(os.listdir(tmp_path / "out/logs")) == sorted(f"full-{log_name(each)}" for each in STEPS)
    assert not [name for name in os.listdir(out) if name.endswith(".partial")]
