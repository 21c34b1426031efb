"""The HTML page: nothing of the image is lost on the way to the picture, and nothing of it is obeyed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from document_values import plans
from hypothesis import given, settings
from hypothesis import strategies as st
from report_documents import NAMES, TEXT, documents_of, plan, write

import slimagent.report.page
from slimagent.model.gate import Level, Ruling
from slimagent.model.gate import Outcome as GateOutcome
from slimagent.model.plan import Plan, counted_entries
from slimagent.model.proof import Missed
from slimagent.model.reason import ReasonKind
from slimagent.model.report import Found, Report, Untested
from slimagent.model.summary import Failure, Phase, Place, Summary, Whole
from slimagent.paths.algebra import normalise, to_text
from slimagent.report.explain import Explainer
from slimagent.report.fates import Fates
from slimagent.report.page.page import PARTS, VENDORED, Assets, page
from slimagent.report.page.payload import payload
from slimagent.report.page.tree import Sort, Tree, tree
from slimagent.report.summary import owners, summarised
from slimagent.report.together import together

PLACE = Path(slimagent.report.page.__file__).parent
TEXTS = {name: (PLACE / name).read_text() for name in PARTS} | {
    name: (PLACE / "vendored" / name).read_text() for name in VENDORED
}
ASSETS = Assets(texts=TEXTS)
SIZES = st.integers(0, 6)
FEWER = settings(max_examples=50)


def sums(made: Tree) -> list[int]:
    """The bytes of each node with all that it holds."""
    whole = list(made.bytes)
    for node in range(len(whole) - 1, 0, -1):
        whole[made.up[node]] += whole[node]
    return whole


def path(made: Tree, node: int) -> str:
    """The path of a file, put together as the script does it."""
    names: list[str] = []
    while made.sort[node] >= Sort.DIRECTORY:
        names.insert(0, made.names[node])
        node = made.up[node]
    base = made.base.get(node, "")
    return "/".join([base if base != "/" else "", *names])


# The tree


@FEWER
@given(plans(), SIZES)
def test_nothing_is_lost_in_the_tree(made: Plan, named: int) -> None:
    """Every byte and every file of the plan's image is in it once, however few files have a name of their own."""
    found, at_least = tree(made, Fates(made), "image", named)
    real = [e for e in counted_entries(made) if e.size and made.reasons[e.reason].kind != ReasonKind.CREATED]
    assert sums(found)[0] == sum(e.size for e in real)
    assert sum(found.files) == len(real)
    assert sum(sort == Sort.FILE for sort in found.sort) <= len(real)
    for node, sort in enumerate(found.sort):
        assert found.up[node] < node
        assert (found.files[node] > 0) == (sort >= Sort.FILE)
        assert found.files[node] == 1 or sort != Sort.FILE
        assert found.files[node] > 1 or sort != Sort.SMALL
        assert 0 <= found.saved[node] <= found.bytes[node]
    assert not real or any(e.size >= at_least for e in real)


@FEWER
@given(plans(), SIZES)
def test_every_level_says_what_the_plan_says(made: Plan, named: int) -> None:
    """By manager as the summary's owners, by package as the entries; reasons and bytes of each reason stay together."""
    found, _ = tree(made, Fates(made), "image", named)
    whole = sums(found)
    by_manager = Counter[str]()
    for node, sort in enumerate(found.sort):
        if sort == Sort.MANAGER:
            by_manager[found.names[node]] += whole[node]
    assert +by_manager == +Counter({each.kind: each.bytes for each in owners(made)})
    by_package = {found.entry[node]: whole[node] for node, sort in enumerate(found.sort) if sort == Sort.PACKAGE}
    real = [e for e in counted_entries(made) if made.reasons[e.reason].kind != ReasonKind.CREATED]
    for at in range(len(made.packages)):
        assert by_package[at] == sum(e.size for e in real if e.owner == at)
    by_reason, in_plan = Counter[int](), Counter[int]()
    for node, sort in enumerate(found.sort):
        if sort >= Sort.FILE:
            by_reason[found.reason[node]] += found.bytes[node]
    for e in real:
        in_plan[e.reason] += e.size
    assert +by_reason == +in_plan


PARTS_OF_PATHS = st.sampled_from((b"a", b"b", b"usr", b"\xff", b"<"))
TREES = st.sets(
    st.lists(PARTS_OF_PATHS, min_size=1, max_size=5).map(lambda parts: b"/" + b"/".join(parts)), max_size=12
)


@given(TREES, st.integers(0, 20))
def test_a_named_file_has_its_path(paths: set[bytes], named: int) -> None:
    """Base, directories and name together are the path, wherever the directories part ways."""
    base = plan()
    entries = tuple(
        base.entries[2]._replace(path=each, size=1 + at, owner=at % 3 - 1) for at, each in enumerate(sorted(paths))
    )
    made = replace(base, entries=entries, further=(), strips=(), unstripped=())
    found, at_least = tree(made, Fates(made), "image", named)
    for node, sort in enumerate(found.sort):
        if sort == Sort.FILE:
            assert path(found, node) == to_text(entries[found.entry[node]].path)
    shown = {found.entry[node] for node, sort in enumerate(found.sort) if sort == Sort.FILE}
    assert {at for at, e in enumerate(entries) if e.size >= at_least} <= shown


def test_directories_that_hold_one_thing_are_one_step() -> None:
    """Nobody clicks through usr, lib, python3, site-packages; two files part where their paths do."""
    base = plan()
    paths = (b"/usr/lib/python3/site/x/a/one", b"/usr/lib/python3/site/x/b/c/two", b"/usr/lib/python3/site/x/b/c/three")
    entries = tuple(base.entries[2]._replace(path=each, owner=0) for each in paths)
    found, _ = tree(replace(base, entries=entries, further=(), strips=()), Fates(base), "image")
    package = next(at for at, sort in enumerate(found.sort) if sort == Sort.PACKAGE and found.entry[at] == 0)
    assert found.base[package] == "/usr/lib/python3/site/x"
    assert [each for each, sort in zip(found.names, found.sort, strict=True) if sort == Sort.DIRECTORY] == ["a", "b/c"]


# The payload


def unpacked(text: str) -> dict[str, Any]:
    data = re.search(r'<script type="application/octet-stream" id="data">([A-Za-z0-9+/=]+)</script>', text)
    assert data is not None
    value: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(data[1])))
    return value


@FEWER
@given(plans())
def test_the_chains_are_those_of_explain(made: Plan) -> None:
    """Followed link by link from a file's reason, the sentences are the ones that explain gives for its path."""
    explainer = Explainer(made)
    links = explainer.links()
    last = {e.path: e for e in made.entries}
    for each in last.values():
        if normalise(each.path) != each.path:
            continue
        chain, seen, at, what = [], set(), each.reason, to_text(each.path)
        while at >= 0 and made.reasons[at] not in seen:
            seen.add(made.reasons[at])
            chain.append((what, links[at].sentence))
            at, what = links[at].next, links[at].what
        assert tuple(chain) == explainer.explain(each.path).chain


@FEWER
@given(plans())
def test_what_it_costs_is_what_explain_says(made: Plan) -> None:
    """With the path's word put into its place, once."""
    explainer = Explainer(made)
    for each in {e.path: e for e in made.entries}.values():
        assert explainer.cost(each, "WORD").replace("WORD", "\0", 1) == explainer.cost(each, "\0")


def test_texts_are_written_once_and_are_printable() -> None:
    """Whatever the names are, no control character or change of direction is left in them."""
    made = payload(plan(50), Fates(plan(50)), TEXT, 10)
    assert len(set(made["texts"])) == len(made["texts"])
    assert all(each.replace("\0", "").replace("\t", "").isprintable() for each in made["texts"])
    assert sum("\0" in each for each in made["texts"]) < 10  # patterns for all names, not a text for each


# The page


class Tags(HTMLParser):
    """Every element of a page with its attributes, and the text outside of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.said += data


def made_page(made: Plan | None = None, *, named: int = 0) -> str:
    made = made or plan(named)
    whole, digest = documents_of(made)
    blank = Summary(
        tool="slimagent 0",
        command="image",
        image=TEXT,
        tag=TEXT,
        notes=(TEXT,),
        phases=(Phase(name=TEXT, seconds=1.0),),
    )
    report = together(summarised(blank, whole), whole, None, (Found(name="plan.json", sha256=digest),))
    return page(report, made, whole.receipt, ASSETS, "0")


def test_no_name_of_an_image_is_obeyed() -> None:
    """Hostile names in every text: the elements and attributes are those of a harmless report."""
    hostile, harmless = Tags(made_page()), Tags(made_page(_harmless()))
    names = lambda tags: Counter((tag, frozenset(attributes)) for tag, attributes in tags.found)  # noqa: E731
    assert names(hostile).keys() == names(harmless).keys()
    assert "</script><script>document.title='PWNED'<" in hostile.said
    assert not any(each.startswith("on") for _, attributes in hostile.found for each in attributes)
    assert all(each.isprintable() or each in "\n\t" for each in hostile.said)


def _harmless() -> Plan:
    made = plan()
    packages = tuple(
        replace(each, package=replace(each.package, name=f"n{at}", version="1", place=b"/"))
        for at, each in enumerate(made.packages)
    )
    reasons = tuple(replace(each, detail="x", source=None) for each in made.reasons)
    entries = tuple(each._replace(path=b"/f/%d" % at) for at, each in enumerate(made.entries))
    return replace(made, packages=packages, reasons=reasons, entries=entries, strips=(), unstripped=())


def test_it_asks_nobody_for_anything() -> None:
    """No element has an address but links within the page; the policy allows nothing but its own style and script."""
    text = made_page()
    tags = Tags(text)
    for tag, attributes in tags.found:
        assert tag not in ("img", "link", "iframe", "object", "embed", "form", "base", "audio", "video")
        assert not {"src", "srcset", "action", "data", "style", "ping", "formaction"} & set(attributes), tag
        assert tag != "a" or str(attributes["href"]).startswith("#")
    (policy,) = (a["content"] for tag, a in tags.found if a.get("http-equiv") == "Content-Security-Policy")
    script, style = text.split("<script>")[1].split("</script>")[0], text.split("<style>")[1].split("</style>")[0]
    digest = {
        name: base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()
        for name, each in (("script", script), ("style", style))
    }
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digest['script']}'; style-src 'sha256-{digest['style']}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert "http://" not in script.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|import\(", script
    )


def test_the_same_documents_give_the_same_bytes() -> None:
    """Twice."""
    assert made_page(named=30) == made_page(named=30)


def test_the_tables_and_the_picture_say_what_the_summary_says() -> None:
    """The sizes in the page are those of the summary; the picture's managers are its owners."""
    made = plan(20)
    text = made_page(made)
    value = unpacked(text)
    whole = [0] * len(value["sort"])
    for node in range(len(whole) - 1, -1, -1):
        whole[node] += value["bytes"][node]
        if node:
            whole[value["up"][node]] += whole[node]
    managers = {
        value["texts"][value["name"][node]] if value["name"][node] >= 0 else "": whole[node]
        for node, sort in enumerate(value["sort"])
        if sort == Sort.MANAGER
    }
    assert sorted(managers.values()) == sorted(each.bytes for each in owners(made) if each.bytes)


def said_of(summary: Summary) -> str:
    """The text of a page without documents."""
    return Tags(page(together(summary, Whole(), None, ()), None, None, ASSETS, "0")).said


def test_the_rules_of_a_gate_are_there_also_if_they_hold() -> None:
    """With their results, and the verdict."""
    ruling = Ruling(rule="size < 1 GB", outcome=GateOutcome.PASSED, message="size is 5 MB", level=Level.FAIL)
    broken = replace(ruling, rule="worse = 0", outcome=GateOutcome.FAILED, why="we said so")
    said = said_of(Summary(tool="slimagent 0", command="image", gate=(ruling, broken)))
    for text in ("The gate", "size < 1 GB", "worse = 0", "✓ passed", "✗ failed", "Why: we said so"):
        assert text in said
    assert "Gate: 1 of 2 rules failed." in said
    assert "The gate" not in said_of(Summary(tool="slimagent 0", command="image"))


def test_a_name_at_the_beginning_is_written_as_it_is() -> None:
    """Of an image. A sentence begins with a capital, and an arrow is one, which no line ends in the middle of."""
    failure = Failure(
        slug="gate-failed", status=1, message="app:slim was made and proved, but it is large", hint="look"
    )
    made = Summary(
        tool="slimagent 0", command="image", image="app:1", tag="app:slim", failure=failure, passed=True,
        bytes_before=1_960_000_000, bytes_after=760_300_000, notes=("a test is missing", "app:1 has no shell"),
    )  # fmt: skip
    said = said_of(made)
    assert "app:slim was made and proved, but it is large." in said
    assert "A test is missing." in said and "app:1 has no shell." in said
    assert "app:slim: 1.96 GB → 760.3 MB, 61.2 % smaller" in said


def test_every_table_says_how_many_rows_it_leaves_out() -> None:
    """With their bytes where they have some."""
    missed = tuple(Missed(path=b"/m/%d" % at, steps=("s",)) for at in range(33))
    places = tuple(Place(directory=f"/d/{at}", files=1, bytes=1000) for at in range(32))
    said = said_of(Summary(tool="slimagent 0", command="run", level="file", missed=missed, unowned_dropped=places))
    assert "And 3 more files." in said
    assert "And 2 more directories, 2.0 kB." in said
    report = replace(
        together(Summary(tool="slimagent 0", command="run"), Whole(), None, ()),
        untested=tuple(Untested(what=f"dpkg:p{at}", how="", bytes=500, reason="why") for at in range(113)),
    )
    assert "And 83 smaller packages, 41.5 kB." in Tags(page(report, None, None, ASSETS, "0")).said


def test_without_a_plan_there_is_no_picture_and_no_script() -> None:
    """The page says what it knows and what it lacks."""
    missing = Found(name="plan.json", sha256=None, missing="no such file")
    report = together(Summary(tool="slimagent 0", command="run"), Whole(), None, (missing,))
    text = page(report, None, None, ASSETS, "0")
    assert "<script" not in text and "script-src" not in text
    said = Tags(text).said
    assert "plan.json is missing: no such file" in said
    assert "Nothing was planned or made" in said
    assert said.count("Unknown without a plan") == 3


def test_documents_that_fail_say_why(tmp_path: Path) -> None:
    """A run that was not proved: the message and what to do."""
    summary = replace(
        write(tmp_path, plan()), failure=Failure(slug="check-failed", status=1, message="it <broke>", hint="mend it")
    )
    said = Tags(page(Report(summary=summary, found=()), None, None, ASSETS, "0")).said
    assert "It <broke>." in said and "What to do: mend it." in said and "was not made" in said


# What others wrote


def test_the_library_is_what_upstream_published() -> None:
    """The file's digest is the one that was recorded with its version, and it names its version and its licence."""
    record = json.loads((PLACE / "vendored/vendored.json").read_text())
    data = (PLACE / "vendored" / record["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == record["sha256"]
    assert f"v{record['version']} ".encode() in data[:100]
    assert (PLACE / "vendored" / record["license_file"]).read_text().startswith("Copyright")
    assert set(VENDORED) | {"vendored.json"} == {each.name for each in (PLACE / "vendored").iterdir()}
    assert (PLACE / "vendored" / record["license_file"]).read_text().strip() in ASSETS.script


@pytest.mark.parametrize("name", [*PARTS, *VENDORED])
def test_no_part_ends_its_element(name: str) -> None:
    """Nothing in style and script would end them early."""
    if not name.endswith(".jinja"):
        assert not re.search(r"</(script|style)|<!--", TEXTS[name], re.IGNORECASE)


def test_every_name_is_hostile() -> None:
    """What is planted is still there after it was written and read as a document."""
    paths = {e.path.rpartition(b"/")[2] for e in plan().entries}
    assert {name.rpartition(b"/")[2] for name in NAMES} <= paths
