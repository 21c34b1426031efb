"""Results as JUnit XML (https://github.com/testmoapp/junitxml), which build services read. Pure."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from slimagent.text.escapes import xml


class Mark(str, enum.Enum):
    """How a case ended: the name of its element, or none for one that passed."""

    PASSED = ""
    FAILED = "failure"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: `message` is its result in a line, `text` the whole of it, `seconds` None if nobody measured them."""

    name: str
    mark: Mark = Mark.PASSED
    message: str = ""
    text: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Cases that belong together, and how long they took."""

    name: str
    cases: Sequence[Case]
    seconds: float = 0.0


def document(suites: Sequence[Suite]) -> bytes:
    """The suites as a file."""
    root = ElementTree.Element("testsuites", name="slimagent")
    totals: Counter[Mark] = Counter()
    for suite in suites:
        element = ElementTree.SubElement(root, "testsuite", name=xml(suite.name))
        for case in suite.cases:
            _add(element, suite, case)
        counts = Counter(case.mark for case in suite.cases)
        _counted(element, counts, suite.seconds)
        totals += counts
    _counted(root, totals, sum(suite.seconds for suite in suites))
    ElementTree.indent(root)
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _add(element: ElementTree.Element, suite: Suite, case: Case) -> None:
    added = ElementTree.SubElement(element, "testcase", name=xml(case.name), classname=xml(suite.name))
    if case.seconds is not None:
        added.set("time", f"{case.seconds:.3f}")
    if case.mark is not Mark.PASSED:
        inside = ElementTree.SubElement(added, case.mark.value, message=xml(case.message))
        if case.text:
            inside.text = xml(case.text)


def _counted(element: ElementTree.Element, counts: Counter[Mark], seconds: float) -> None:
    element.set("tests", str(sum(counts.values())))
    element.set("failures", str(counts[Mark.FAILED]))
    element.set("skipped", str(counts[Mark.SKIPPED]))
    element.set("errors", "0")
    element.set("time", f"{seconds:.3f}")
