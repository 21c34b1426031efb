"""What came of a machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree


@dataclass(frozen=True)
class Outcome:
    """Results of a machine: its tests by their outcome, and the sizes of the image in bytes, 0 if none was made."""

    name: str
    kernel: str
    passed: int
    skipped: int
    failed: tuple[str, ...]
    before: int
    after: int

    @property
    def is_good(self) -> bool:
        """Whether tests ran, none failed, and a proved image was made."""
        return self.passed > 0 and not self.failed and self.after > 0

    def __str__(self) -> str:
        image = f"image {self.before / 1e6:,.1f} to {self.after / 1e6:,.1f} MB, proved" if self.after else "no image"
        line = f"{self.name}, {self.kernel}: {self.passed} passed, {self.skipped} skipped, {len(self.failed)} failed"
        return "\n  ".join((f"{line}; {image}", *self.failed))


def read(name: str, out: Path) -> Outcome:
    """Read what a machine left. What is not there counts as failed."""
    results = out / "results"
    kernel = (results / "kernel").read_text().strip() if (results / "kernel").exists() else "did not start"
    passed = skipped = 0
    failed: list[str] = []
    if (results / "tests.xml").exists():
        for each in ElementTree.parse(results / "tests.xml").iter("testcase"):  # noqa: S314  it is ours
            if each.find("failure") is not None or each.find("error") is not None:
                failed.append(f"{each.get('classname')}::{each.get('name')}")
            elif each.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
    summary = results / "image" / "summary.json"
    before = after = 0
    if summary.exists():
        document = json.loads(summary.read_text())
        if document["passed"] and document["failure"] is None:
            before, after = document["bytes_before"], document["bytes_after"]
    return Outcome(name, kernel, passed, skipped, tuple(failed), before, after)
