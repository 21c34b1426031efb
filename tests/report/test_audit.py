"""An audit on a screen: tables that line up, findings that fit, the answer last; and as Markdown."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from dataclasses import replace

from document_values import AUDITS
from hostile_texts import HOSTILE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimagent.model.audit import Area, Audit, Component, Fate, Finding, Hidden, Layer, Risk
from slimagent.model.inventory import Package, PackageKind
from slimagent.report.audit import headline, lines, markdown

FINDING = Finding(
    kind="hidden",
    title="2 files of layer 1 that layer 2 deleted",
    size=40_000_000,
    risk=Risk.NONE,
    evidence=("layer 1: apt-get update", "the image still carries them"),
    file="Dockerfile",
    edit="# delete them in the RUN of layer 1, where they are made",
    layers=(0, 1),
)
AUDIT = Audit(
    tool="slimagent 0",
    image="app:latest",
    size=600_000_000,
    files=12_345,
    carried=640_000_000,
    unowned=1_000_000,
    together=40_000_000,
    traced=True,
    layers=(
        Layer(
            digest="sha256:a",
            command="/bin/sh -c apt-get update && apt-get install -y git vim",
            size=540_000_000,
            files=12_000,
        ),
        Layer(digest="sha256:b", command="", size=100_000_000, files=347),
    ),
    hidden=(Hidden(layer=0, by=1, fate=Fate.DELETED, size=40_000_000, files=2, examples=(b"/a",)),),
    components=(
        Component(
            package=Package(kind=PackageKind.DPKG, name="git"),
            size=45_000_000,
            shared=0,
            files=900,
            touched=9_000_000,
            asked="apt-mark showmanual",
            required=0,
            requirers=(),
            layer=0,
        ),
    ),
    areas=(Area(directory=b"/srv/app", size=1_000_000, files=3),),
    findings=(FINDING,),
    problems=(),
)


def test_the_screen() -> None:
    """Layers, owners, packages, findings, and the answer last."""
    assert lines(AUDIT) == [
        "layer      size   names   hidden  made by",
        "    1  540.0 MB  12,000  40.0 MB  apt-get update && apt-get install -y git vim",
        "    2  100.0 MB     347",
        "",
        "owner     packages      size  touched",
        "dpkg             1   45.0 MB   20.0 %",
        "nobody                1.0 MB",
        "together            600.0 MB",
        "",
        "the largest packages     size  touched  layer  asked for by",
        "dpkg:git              45.0 MB   20.0 %      1  apt-mark showmanual",
        "",
        "what could be smaller: the safe first, then by size; findings overlap",
        "",
        "risk none: nothing can miss it (1 finding)",
        "",
        "  40.0 MB  hidden: 2 files of layer 1 that layer 2 deleted",
        "           layer 1: apt-get update",
        "           the image still carries them",
        "           Dockerfile: # delete them in the RUN of layer 1, where they are made",
        "",
        "all of them together, where a byte counts once: 40.0 MB of 640.0 MB, without the base image's",
        "",
        "app:latest: 600.0 MB in 12,345 files, 2 layers of 640.0 MB; 1 finding",
    ]


def test_without_layers_and_without_a_trace() -> None:
    """What is not known has no column."""
    blind = replace(AUDIT, layers=(), hidden=(), carried=0, traced=False, findings=())
    blind = replace(blind, components=(replace(AUDIT.components[0], layer=None, touched=None),))
    shown = lines(blind)
    assert not [line for line in shown if "touched" in line or "made by" in line]
    assert shown[-1] == "app:latest: 600.0 MB in 12,345 files; 0 findings"


def test_many_findings_are_counted() -> None:
    """All of them with --all."""
    many = replace(AUDIT, findings=(FINDING,) * 30)
    assert lines(many)[-5] == "and 10 findings of 400.0 MB: --all"
    assert sum("2 files of layer 1" in line for line in lines(many, whole=True)) == 30


def test_findings_are_shown_by_risk() -> None:
    """The largest first under each; without --all those that save most for their risk."""
    sizes = ((Risk.HIGH, 9), (Risk.LOW, 1), (Risk.LOW, 3), (Risk.NONE, 2))
    made = tuple(replace(FINDING, title=f"one of {size}", risk=risk, size=size) for risk, size in sizes)
    shown = [line for line in lines(replace(AUDIT, findings=made)) if line.startswith("risk ") or "hidden: " in line]
    assert shown == [
        "risk none: nothing can miss it (1 finding)",
        "      2 B  hidden: one of 2",
        "risk low: cruft, or what no test used and few people use (2 findings)",
        "      3 B  hidden: one of 3",
        "      1 B  hidden: one of 1",
        "risk high: a test used it, or the image is for it (1 finding)",
        "      9 B  hidden: one of 9",
    ]


def test_what_is_not_shown_is_counted_by_risk() -> None:
    """Those are shown that save most for their risk."""
    small = replace(FINDING, risk=Risk.HIGH, size=1)
    shown = lines(replace(AUDIT, findings=(*(FINDING,) * 19, *(small,) * 3)))
    assert "risk high: a test used it, or the image is for it (1 of 3 findings)" in shown


def test_long_lines_are_broken() -> None:
    """Sentences at spaces or within a path; a command so that it stays the same command, below its comment."""
    words = " -o ".join(f"-path '*/directory-{number}/*.js.map'" for number in range(9))
    edit = f"find / -xdev '(' {words} ')' -delete"
    long = replace(
        FINDING, title="word " * 40, evidence=("/long/path" * 30,), edit=edit, comment="in each RUN", layers=()
    )
    shown = lines(replace(AUDIT, findings=(long,)))
    assert max(map(len, shown)) <= 100
    at = shown.index("           Dockerfile: in each RUN")
    broken = [line for line in shown[at + 1 :] if line.startswith("             ")]
    assert " ".join(line.strip().removesuffix(" \\") for line in broken) == edit
    assert all(line.endswith(" \\") for line in broken[:-1])


def test_a_pull_request_gets_a_table_and_folded_edits() -> None:
    """The headline first."""
    page = list(markdown(AUDIT))
    assert page[0] == "## app:latest: 600.0 MB in 12,345 files, 2 layers of 640.0 MB; 1 finding"
    assert "| 40.0 MB | none | hidden: 2 files of layer 1 that layer 2 deleted | layers 1, 2 | Dockerfile |" in page
    assert "| 1 | 540.0 MB | 12,000 | 40.0 MB | `apt-get update && apt-get install -y git vim` |" in page
    assert "| dpkg | 1 | 45.0 MB | 20.0 % |" in page
    assert "| dpkg:git | 45.0 MB | 20.0 % | 1 | apt-mark showmanual |" in page
    assert "all of them together, where a byte counts once: 40.0 MB of 640.0 MB, without the base image's" in page
    at = page.index("# delete them in the RUN of layer 1, where they are made")
    assert (page[at - 1], page[at + 1]) == ("```", "```")
    assert page[at - 3] == "- Dockerfile:"


def test_records_that_were_not_understood_are_said() -> None:
    """How many, the first of them, and where all are: their files are counted as nobody's."""
    problems = tuple((b"/db/\xe9_%d" % at, "cut short") for at in range(7))
    shown = lines(replace(AUDIT, problems=problems))
    at = shown.index("7 records of packages were not understood, so what they speak of may count as nobody's:")
    assert shown[at + 1] == "  /db/\\xe9_0: cut short"
    assert shown[at + 6 :] == [
        "  and 2 more: all are in `problems` of the JSON (--json, or -o FILE)", "", headline(AUDIT)
    ]  # fmt: skip
    page = list(markdown(replace(AUDIT, problems=problems)))
    assert "- /db/\\\\xe9\\_0: cut short" in page
    assert "- and 2 more: all are in `problems` of the JSON (--json, or -o FILE)" in page
    one = replace(AUDIT, problems=problems[:1])
    assert any(line.startswith("1 record of a package was not understood") for line in lines(one))
    assert not [line for line in (*lines(AUDIT), *markdown(AUDIT)) if "understood" in line]


def test_a_summary_is_html() -> None:
    """Within HTML Markdown escapes nothing, so a backslash would be seen."""
    made = replace(AUDIT, findings=(replace(FINDING, title="a_b*c `d` <e> & $f$ #1"),))
    (summary,) = (line for line in markdown(made) if "<summary>" in line)
    shown = "hidden: a_b*c `d` &lt;e&gt; &amp; &dollar;f&dollar; #<!-- -->1, 40.0 MB"
    assert summary == f"<details><summary>{shown}</summary>"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(AUDITS)
def test_whatever_an_image_says_is_printable(audit: Audit) -> None:
    """No terminal control, no line that is longer than what it says."""
    for line in (*lines(audit, whole=True), *markdown(audit)):
        assert line.replace("\t", "").isprintable(), repr(line)
    assert lines(audit)[-1] == headline(audit)


def test_hostile_names_stay_text() -> None:
    """In a terminal and in Markdown."""
    bad = replace(FINDING, title=HOSTILE, evidence=(HOSTILE,), edit=HOSTILE, subjects=(HOSTILE,))
    layer = replace(AUDIT.layers[0], command=HOSTILE)
    package = Package(kind=PackageKind.DPKG, name=HOSTILE)
    component = replace(AUDIT.components[0], package=package, asked=HOSTILE)
    made = replace(AUDIT, image=HOSTILE, findings=(bad,), layers=(layer,), components=(component,))
    made = replace(made, problems=((HOSTILE.encode("utf-8", "surrogateescape"), HOSTILE),))
    for line in (*lines(made, whole=True), *markdown(made)):
        assert line.replace("\t", "").isprintable(), repr(line)
    page = re.sub(r"(?ms)^(`{3,})$.*?^\1$", "", "\n".join(markdown(made)))  # those are code
    assert " <img" not in page
    assert "![p]" not in re.sub("<summary>.*</summary>", "", page)  # those are HTML


HOSTILE_PATHS = st.lists(
    st.text("ab '\"\\#$`;&|()", min_size=1, max_size=60).map(lambda name: "/" + name), min_size=1, max_size=9
)


def words_of(shown: list[str]) -> list[str]:
    """The arguments of `rm` by the edit that is shown below `Dockerfile: x`, as a shell reads them."""
    edit = shown[shown.index("           Dockerfile: x") + 1 :]
    command = "\n".join(line[13:] for line in itertools.takewhile(lambda line: line.startswith(" " * 13), edit))
    script = f"rm() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    return subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout.split("\0")[:-1]


@settings(max_examples=60, deadline=None)
@given(HOSTILE_PATHS)
def test_a_broken_command_is_the_same_command(paths: list[str]) -> None:
    """A shell reads the same words of the lines on the screen as of the edit, whatever is in the paths."""
    edit = "rm -rf " + " ".join(map(shlex.quote, paths))
    made = replace(FINDING, edit=edit, comment="x", layers=())
    assert words_of(lines(replace(AUDIT, findings=(made,)))) == ["-rf", *paths]


def test_a_path_that_looks_like_a_comment_is_not_taken_apart() -> None:
    """The part before the `#` would be another command."""
    path = "/srv/" + "long" * 25 + "   # /tmp/x"
    made = replace(FINDING, edit=f"rm -rf '{path}'", comment="x", layers=())
    assert words_of(lines(replace(AUDIT, findings=(made,)))) == ["-rf", path]


def test_a_name_of_a_megabyte_is_cut() -> None:
    """In sentences, and at once: breaking it into lines would take hours."""
    name = "x" * 1_000_000
    made = replace(FINDING, title=name, evidence=(name, f"{name} by {name}"), file=name, comment=name)
    for shown in (lines(replace(AUDIT, findings=(made,))), list(markdown(replace(AUDIT, findings=(made,))))):
        assert sum(map(len, shown)) < 20_000
