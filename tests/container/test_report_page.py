"""The page of `slimagent report --html` in a real Chromium: read, operated by keyboard, searched, and attacked.

`tests/support/chromium.py` says where the browser comes from. Pictures of the page go to build/screenshots.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import npm
import pytest
from chromium import Page, chromium
from report_documents import NAMES, TEXT, documents_of, plan
from run_documents import Pack, plan_with

from slimagent.model.plan import Plan
from slimagent.model.summary import Summary
from slimagent.paths.algebra import to_text
from slimagent.report.explain import Explainer, Explanation
from slimagent.report.fates import Fates
from slimagent.report.page.page import Assets, page
from slimagent.report.page.tree import Sort
from slimagent.report.summary import summarised
from slimagent.report.text import share, size
from slimagent.report.together import together
from slimagent.text.escapes import printable
from tests.report.test_page import PLACE, TEXTS

pytestmark = pytest.mark.container
PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
SCREENS = [(width, height, dark) for width, height in ((1280, 900), (390, 844)) for dark in (False, True)]
SMALL = 300
each_screen = pytest.mark.parametrize(("width", "height", "dark"), SCREENS)


def written(file: Path, made: Plan, name: str) -> Path:
    """The page of a run of this plan, in a file; only the 80 largest files have a name in its picture."""
    whole, _ = documents_of(made)
    blank = Summary(tool="slimagent 0", command="image", image=name, tag=f"{name}-slim", notes=(name,))
    report = together(summarised(blank, whole), whole, None, ())
    file.write_text(page(report, made, whole.receipt, Assets(texts=TEXTS), "0", named=80), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def browser(place: Path) -> Iterator[Page]:
    with chromium(place) as opened:
        yield opened


@pytest.fixture(scope="module")
def file(place: Path) -> Path:
    return written(place / "report.html", plan(SMALL), TEXT)


@pytest.fixture
def shown(browser: Page, file: Path) -> Page:
    """The page of a hostile image, opened anew on a large screen."""
    browser.asked.clear()
    browser.complaints.clear()
    browser.screen(1280, 900)
    browser.open(file)
    return browser


def focused(shown: Page) -> str:
    return str(shown.evaluate("document.activeElement.textContent"))


def here(shown: Page) -> str:
    return str(shown.evaluate("document.querySelector('#crumbs [aria-current]').textContent"))


# What it says


def test_the_script_explains_what_python_explains(shown: Page) -> None:
    """Every file and every package, with any name: the same sentences, owners, sizes and costs as `explain`."""
    made = plan(SMALL)
    explainer = Explainer(made, documents_of(made)[0].receipt)
    code = "JSON.stringify(Array.from({length: slimagent.image.count}, (_, at) => [slimagent.image.sort(at), " \
           "slimagent.image.raw.entry[at], slimagent.image.path(at), slimagent.image.explanation(at)]))"  # fmt: skip
    rows = json.loads(shown.evaluate(code))
    paths = {to_text(e.path): e.path for e in made.entries}
    files = [(where, said) for sort, _, where, said in rows if sort == Sort.FILE]
    packages = [(entry, said) for sort, entry, _, said in rows if sort == Sort.PACKAGE]
    assert len(files) > len(NAMES) * 3 and len(packages) == 3
    for where, said in files:
        assert_same(said, explainer.explain(paths[where]))
    for entry, said in packages:
        assert_same(said, explainer.explain_package(entry))


def assert_same(said: dict[str, Any], explained: Explanation) -> None:
    assert said["what"] == printable(explained.what)
    assert said["verdict"] == (explained.verdict and explained.verdict.value)
    assert [tuple(each) for each in said["chain"]] == [
        (printable(what), printable(sentence)) for what, sentence in explained.chain
    ]
    assert said["owners"] == [printable(each) for each in explained.owners]
    assert said["cost"] == printable(explained.cost)
    assert said["symbols"] == printable(explained.stripped)
    assert (said["size"], said["kept"], said["level"]) == (explained.size, explained.kept, explained.level)


def test_the_script_adds_up_what_python_adds_up(shown: Page) -> None:
    """The bytes by fate of the whole image, and the number of its files."""
    made = plan(SMALL)
    whole, _ = documents_of(made)
    parts = Fates(made, whole.receipt).parts(made)
    assert shown.evaluate("slimagent.image.by.map((column) => column[0])") == [part.bytes for part in parts]
    real = [e for e in made.entries if e.size and made.reasons[e.reason].kind != "created"]
    assert shown.evaluate("slimagent.image.files[0]") == len(real)
    assert shown.evaluate("slimagent.image.raw.sort.filter((each) => each === 5).length") > 0


def test_the_script_writes_numbers_and_words_as_python_does(shown: Page) -> None:
    """Sizes with exact halves too, shares, and names as words for a shell."""
    halves = (1000 * each + half for each in range(990, 1010) for half in (49, 50, 250, 750))
    sizes = [*range(0, 4000, 50), *halves, *(each * 12_500_000 for each in range(60, 400))]
    sizes += [999_949, 999_950, 999_951, 999_949_999, 999_950_000]
    text = "slimagent.constructor.texts"
    assert shown.evaluate(f"{json.dumps(sizes)}.map({text}.size)") == [size(each) for each in sizes]
    shares = [(part, whole) for whole in (0, 3, 8, 16, 1000) for part in range(whole + 1)]
    assert shown.evaluate(f"{json.dumps(shares)}.map(([a, b]) => {text}.share(a, b))") == [
        share(*each) for each in shares
    ]
    words = [to_text(each) for each in (*NAMES, b"a-b_c@d%e+f=g:h,i./j", b"\xc3\xa9")]
    assert shown.evaluate(f"{json.dumps(words)}.map({text}.word)") == [shlex.quote(each) for each in words]


def test_on_a_narrow_screen_each_figure_says_what_it_is(shown: Page) -> None:
    """There the tables have no header that can be seen: each cell in it is labelled, in the table's words."""
    shown.screen(390, 844)
    cells = shown.evaluate(
        "[...document.querySelectorAll('.stack td:not(.sentence)')].filter((each) => each.checkVisibility())"
        ".map((each) => [getComputedStyle(each, '::before').content, each.textContent,"
        " [...each.closest('table').tHead.rows[0].cells].map((head) => head.textContent)])"
    )
    assert len(cells) > 10
    for label, text, heads in cells:
        assert label.startswith('"') and label.strip('"').removesuffix(": ") in heads, (label, text)
        assert text.strip() != "\N{EN DASH}"
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_label_has_a_whole_size_or_none(shown: Page) -> None:
    """Half a size is another size. What has no label on it has a title."""
    tiles = shown.evaluate(
        "[...document.querySelectorAll('.tile')].map((each) => { const label = each.firstChild; return ["
        "label.className, each.title, label.scrollWidth - label.clientWidth, label.lastChild.className]; })"
    )
    assert tiles
    for kind, title, beyond, weight in tiles:
        assert title if kind == "unseen" else beyond <= 0 or weight == "unseen"


# What it does not do


def test_nothing_of_an_image_is_obeyed(shown: Page) -> None:
    """Every node is opened, in every view: no script of the image's runs, nothing is asked for, nothing complains."""
    elements = "document.querySelectorAll('script, img, iframe, object, embed, link, form').length"
    before = shown.evaluate(elements)
    shown.evaluate(
        "for (const view of ['before', 'after', 'gone']) { slimagent.view = view;"
        " for (let node = 0; node < slimagent.image.count; node++) slimagent.open(node, 'row'); }"
    )
    assert shown.evaluate(elements) == before
    assert "PWNED" in shown.evaluate("document.body.textContent")
    assert shown.evaluate("document.title") != "PWNED"
    assert shown.evaluate("typeof globalThis.alerted") == "undefined"
    assert shown.complaints == []
    assert [each for each in shown.asked if not each.startswith("file://")] == []
    assert len(shown.asked) == 1


def test_the_policy_is_obeyed(shown: Page) -> None:
    """Should something get in after all: no script without our digest runs, and no address is asked for."""
    shown.evaluate(
        "(() => { const script = document.createElement('script'); script.textContent = 'globalThis.got = 1';"
        "document.body.append(script); const image = document.createElement('img'); image.src = 'http://127.0.0.1:9/x';"
        "document.body.append(image); document.body.insertAdjacentHTML('beforeend', '<p onclick=\"got = 2\" id=p>');"
        "document.getElementById('p').click(); })()"
    )
    assert shown.evaluate("fetch('http://127.0.0.1:9/').then(() => 'asked', () => 'refused')") == "refused"
    assert shown.evaluate("typeof globalThis.got") == "undefined"
    assert any("Content Security Policy" in each for each in shown.complaints)


# How it is used


def test_the_picture_is_used_with_the_keyboard(shown: Page) -> None:
    """Tab enters it once, arrows move, Enter opens, Escape goes out, Home goes to the whole; focus stays in it."""
    shown.evaluate("document.querySelector('input[name=view]').focus()")
    shown.press("Tab")
    first = focused(shown)
    assert shown.evaluate("document.activeElement.className") == "tile"
    shown.press("ArrowRight")
    second = focused(shown)
    assert second != first
    shown.press("ArrowLeft")
    assert focused(shown) == first
    shown.press("Enter")
    opened = here(shown)
    assert first.startswith(opened)
    assert shown.evaluate("document.activeElement.className") == "tile"
    shown.press("Enter")
    deeper = here(shown)
    assert deeper not in (opened, printable(TEXT))
    assert shown.evaluate("document.querySelectorAll('#crumbs li').length") == 3
    shown.press("Escape")
    assert here(shown) == opened
    shown.press("Enter")
    shown.press("Home")
    assert shown.evaluate("document.querySelectorAll('#crumbs li').length") == 1
    assert shown.evaluate("document.querySelectorAll('.tile[tabindex=\"0\"]').length") == 1
    shown.press("Tab")
    assert shown.evaluate("document.activeElement.closest('#map') === null")


def test_the_picture_is_used_with_a_pointer(shown: Page) -> None:
    """A click opens a rectangle, one on a file says why; the line below names what is under the pointer."""
    box = "(() => {const b = document.querySelector('.tile').getBoundingClientRect(); return [b.x + 9, b.y + 9]})()"
    shown.evaluate("document.getElementById('map').scrollIntoView({block: 'center'})")
    name = shown.evaluate("document.querySelector('.tile b').textContent")
    shown.click(*shown.evaluate(box))
    assert here(shown) == name
    for _ in range(6):
        shown.click(*shown.evaluate(box))
    assert shown.evaluate("document.getElementById('why-chain').children.length") > 0
    assert shown.evaluate("document.getElementById('why-word').textContent") in ("stays", "goes")
    assert "·" in shown.evaluate("document.getElementById('under').textContent")


BOX = """(() => { const text = (id) => document.getElementById(id).textContent;
  const rows = [...document.querySelectorAll('#why-facts dt')].map((each) =>
    [each.textContent, each.nextSibling.textContent]);
  const inside = [...document.querySelectorAll('#inside-list button')].map((each) => each.firstChild.textContent);
  return {what: text('why-what'), facts: Object.fromEntries(rows), inside,
    shown: !document.getElementById('inside').hidden,
    enter: document.getElementById('enter').hidden ? '' : text('enter')}; })()"""
NESTED = """slimagent.image.raw.sort.findIndex((sort, node) =>
  sort === 3 && slimagent.image.raw.sort[slimagent.image.up(node)] === 3)"""


def directory_in_view(shown: Page) -> int:
    """Open what holds a directory, so that this has a rectangle of its own; its number."""
    node = int(shown.evaluate(NESTED))
    shown.evaluate(f"slimagent.open(slimagent.image.up({node}), 'search')")
    return node


def assert_describes(shown: Page, node: int) -> None:
    """The box has the directory's path, its bytes by what becomes of them, and the largest that it holds."""
    box = shown.evaluate(BOX)
    before, after = (shown.evaluate(f"slimagent.image.bytes({node}, '{view}')") for view in ("before", "after"))
    assert box["what"] == shown.evaluate(f"slimagent.image.path({node})")
    assert box["facts"]["Size"] == size(before)
    assert box["facts"]["Stays"] == f"{size(after)}, {share(after, before)}"
    assert box["facts"]["Goes"] == f"{size(before - after)}, {share(before - after, before)}"
    assert box["facts"]["Files"] == f"{shown.evaluate(f'slimagent.image.files[{node}]'):,}"
    largest = f"slimagent.image.children[{node}].slice(0, 6).map((each) => slimagent.image.name(each))"
    assert box["shown"] and box["inside"] == shown.evaluate(largest)
    assert box["enter"] == "Open " + shown.evaluate(f"slimagent.image.name({node})")


def test_a_directory_is_described_and_entered_with_the_keyboard(shown: Page) -> None:
    """The box follows the focus, comes next, and leads into the directory and into what it holds."""
    node = directory_in_view(shown)
    shown.evaluate(
        f"document.querySelector('.tile').focus(); document.querySelector('.tile[data-node=\"{node}\"]').focus()"
    )
    assert_describes(shown, node)
    shown.press("Tab")
    assert shown.evaluate("document.activeElement.id") == "box"
    shown.press("Tab")
    assert focused(shown).startswith(shown.evaluate(BOX)["inside"][0])
    shown.evaluate("document.getElementById('enter').focus()")
    shown.press("Enter")
    assert shown.evaluate("slimagent.node") == node
    box = shown.evaluate(BOX)
    assert box["enter"] == "" and box["what"] == shown.evaluate(f"slimagent.image.path({node})")
    assert shown.evaluate("document.activeElement.closest('#inside-list') !== null")
    first = int(shown.evaluate(f"slimagent.image.children[{node}][0]"))
    shown.press("Enter")
    assert shown.evaluate(BOX)["what"] == shown.evaluate(f"slimagent.image.explanation({first}).what")
    assert shown.evaluate("document.activeElement !== document.body")


def test_a_directory_is_described_and_entered_with_a_pointer(shown: Page) -> None:
    """It is enough to rest on it; the box stays when the pointer leaves the picture for it."""
    node = directory_in_view(shown)
    shown.evaluate("document.getElementById('map').scrollIntoView({block: 'center'})")
    middle = "(() => {const b = document.querySelector('SELECTOR').getBoundingClientRect();" \
             " return [b.x + b.width / 2, b.y + b.height / 2]})()"  # fmt: skip
    shown.move(*shown.evaluate(middle.replace("SELECTOR", f'.tile[data-node="{node}"]')))
    shown.evaluate("new Promise((done) => setTimeout(done, 400))")
    assert_describes(shown, node)
    shown.move(*shown.evaluate(middle.replace("SELECTOR", "#box")))
    shown.evaluate("new Promise((done) => setTimeout(done, 400))")
    assert_describes(shown, node)
    shown.evaluate("document.getElementById('enter').scrollIntoView({block: 'center'})")
    shown.click(*shown.evaluate(middle.replace("SELECTOR", "#enter")))
    assert shown.evaluate("slimagent.node") == node


def test_a_breadcrumb_leads_back(shown: Page) -> None:
    """Each name above is a button."""
    shown.evaluate("slimagent.open(slimagent.image.raw.sort.indexOf(4), 'search')")
    assert shown.evaluate("document.querySelectorAll('#crumbs button').length") >= 2
    shown.evaluate("document.querySelector('#crumbs button').click()")
    assert shown.evaluate("document.querySelectorAll('#crumbs li').length") == 1


def found(shown: Page, text: str) -> list[str]:
    """What a search for a text finds, as the page says it."""
    shown.evaluate("document.getElementById('search').value = ''; document.getElementById('search').focus()")
    shown.write(text)
    shown.press("Enter")
    rows: list[str] = shown.evaluate(
        "[...document.querySelectorAll('#results button')].map((each) => each.firstChild.textContent)"
    )
    return rows


def test_paths_and_packages_are_found(shown: Page) -> None:
    """By any part, whatever the case; the largest first; arrows and Enter open one."""
    name = to_text(NAMES[0])
    rows = found(shown, f"/USR/lib/x/{name}")
    assert rows == [f"/usr/lib/x/{name}"]
    assert "1 found" in shown.evaluate("document.getElementById('count').textContent")
    shown.press("ArrowDown")
    shown.press("Enter")
    assert shown.evaluate("document.getElementById('why-what').textContent") == f"/usr/lib/x/{name}"
    assert "used in command" not in shown.evaluate("document.getElementById('why-chain').textContent")
    assert "opened in command" in shown.evaluate("document.getElementById('why-chain').textContent")
    assert found(shown, "python:</script>")[0] == "python:</script>"
    shown.press("ArrowDown")
    shown.press("Enter")
    assert here(shown) == "</script>"
    assert "no test used it" in shown.evaluate("document.getElementById('why-chain').textContent")


def test_a_small_file_is_found_in_its_directory(shown: Page) -> None:
    """It has no name in the picture, and the page says so; what is nowhere is not found."""
    assert found(shown, "/usr/lib/x/many/17") == ["/usr/lib/x/many"]
    assert "counted in their directory" in shown.evaluate("document.getElementById('count').textContent")
    assert found(shown, "no such thing") == []
    assert shown.evaluate("document.getElementById('count').textContent") == "Nothing found"
    assert found(shown, "/lib/no-such") == []  # no file without a name lies on the way to it
    assert shown.evaluate("document.getElementById('count').textContent") == "Nothing found"


def test_where_every_file_has_a_name_nothing_is_counted_in_a_directory(browser: Page, place: Path) -> None:
    """Then what is not found is not there. A part of a path is one that stands in it as it is."""
    packs = (Pack("dpkg:libicu72", 50, 50), Pack("dpkg:libicu-dev", 40, 40), Pack("dpkg:vim", 9, 9))
    libraries = b"/usr/lib/x86_64-linux-gnu/"
    paths = (libraries + b"libicudata.so.72.1", libraries + b"icu/libicu.inc", b"/usr/bin/vim")
    made = plan_with(packs)
    entries = tuple(each._replace(path=path) for each, path in zip(made.entries, paths, strict=True))
    browser.open(written(place / "named.html", replace(made, entries=entries), "app:1"))
    assert found(browser, "/usr/lib/libicu") == []
    assert browser.evaluate("document.getElementById('count').textContent") == "Nothing found"
    assert found(browser, "/x86_64-linux-gnu/libicu") == [to_text(paths[0])]
    assert found(browser, "libicu") == ["dpkg:libicu72", to_text(paths[0]), "dpkg:libicu-dev", to_text(paths[1])]


def test_small_files_of_a_package_in_one_directory_are_found_there(browser: Page, place: Path) -> None:
    """Such a directory has no rectangle: the package has it. Every package with small files there is named."""
    packs = [Pack("dpkg:a", 900, 900), Pack("dpkg:b", 800, 800)]
    made = plan_with(packs)
    entries = [each._replace(path=b"/usr/lib/x/%d" % at) for at, each in enumerate(made.entries)]
    small = [first._replace(path=b"/usr/lib/x/%d-%d" % (at, number), size=1 + number)
             for at, first in enumerate(entries) for number in range(60)]  # fmt: skip
    browser.open(written(place / "flat.html", replace(made, entries=(*entries, *small)), "app:1"))
    assert found(browser, "/usr/lib/x/0-7") == ["dpkg:a", "dpkg:b"]
    assert "counted in their directory" in browser.evaluate("document.getElementById('count').textContent")


def test_before_after_and_what_goes(shown: Page) -> None:
    """Each view has its own bytes; a package that goes is not in the slim image."""
    labels = "[...document.querySelectorAll('.tile')].map((each) => each.textContent).join('|')"
    for view, holds in (("before", True), ("after", False), ("gone", True)):
        shown.evaluate(f"document.querySelector('input[value={view}]').click()")
        assert ("python" in shown.evaluate(labels)) is holds
        assert shown.evaluate("document.getElementById('map').getAttribute('aria-label')").startswith("Picture of ")


def test_the_largest_of_each_view_are_drawn_first(shown: Page) -> None:
    """What goes may be small in the image: in each view all that can be seen has a rectangle of its own."""
    node = shown.evaluate("slimagent.image.raw.sort.indexOf(1)")
    for view in ("before", "after", "gone"):
        code = f"(slimagent.picture.view = '{view}', slimagent.picture.layout(NODE, 0, 0, 1e5, 1e5, 1000))"
        for each in (0, node):
            tiles = shown.evaluate(f"{code}.map((each) => [each.node, each.value])".replace("NODE", str(each)))
            values = [value for at, value in tiles if at >= 0]
            assert values == sorted(values, reverse=True)
            assert len(values) == len(tiles)
            assert sum(values) == shown.evaluate(f"slimagent.image.bytes({each}, '{view}')")


def test_movement_is_left_out_for_who_wants_none(shown: Page) -> None:
    """prefers-reduced-motion: nothing moves. Without it, the picture fades in."""
    moves = "(slimagent.open(1, 'row'), slimagent.open(0, 'row'), document.getAnimations().length)"
    assert shown.evaluate(moves) == 0
    shown.screen(1280, 900, reduced=False)
    assert shown.evaluate(moves) > 0


def test_without_scripts_the_tables_are_there(browser: Page, file: Path) -> None:
    """Summary, largest and checklist are read; the picture and its tools are not shown."""
    browser.screen(1280, 900)
    browser.open(file, scripts=False)
    seen = browser.call("Page.captureSnapshot")["data"]
    assert "What is left, largest first" in seen
    nodes = browser.call("DOM.getDocument", depth=-1)["root"]
    text = json.dumps(nodes)
    assert "The picture needs JavaScript" in text and "What nobody exercised" in text and "The checklist" in text
    browser.picture(PICTURES / "without-scripts.png", whole=True)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


# Who can use it


@each_screen
def test_nothing_keeps_people_out(shown: Page, width: int, height: int, dark: bool) -> None:
    """axe-core finds nothing: as it opens, in a package with a file explained, with results of a search."""
    shown.screen(width, height, dark=dark)
    shown.evaluate(npm.axe() + "; 1")
    for state in ("0", "slimagent.open(slimagent.image.raw.sort.indexOf(2), 'search')",
                  "slimagent.open(slimagent.image.raw.sort.indexOf(4), 'search')",
                  f"slimagent.open(slimagent.image.up({NESTED}), 'search'), slimagent.look({NESTED})",
                  "(document.getElementById('search').value = 'usr', slimagent.search())"):  # fmt: skip
        shown.evaluate(f"{state}; 1")
        done = shown.evaluate("axe.run().then((done) => JSON.stringify(done.violations))")
        problems = [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in json.loads(done)]
        assert problems == [], state


@each_screen
def test_it_fits_the_screen(shown: Page, width: int, height: int, dark: bool) -> None:
    """Nothing is wider than the screen, with names of any length; what it looks like is in build/screenshots."""
    shown.screen(width, height, dark=dark)
    name = f"{width}-{'dark' if dark else 'light'}"
    shown.picture(PICTURES / f"hostile-{name}.png", whole=True)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    shown.evaluate("slimagent.open(slimagent.image.raw.sort.indexOf(4), 'search')")
    assert shown.evaluate("document.documentElement.scrollWidth") <= width


COLOURS = """(() => {
  slimagent.open(NODE, 'search');
  const picture = slimagent.picture, hit = picture.hits.find((each) => each.node === NODE);
  const scale = picture.canvas.width / picture.holder.clientWidth, top = hit.y0 + 24;
  const at = (x, y) => [...picture.pen.getImageData(x * scale, y * scale, 1, 1).data].slice(0, 3).join();
  const across = hit.x1 - hit.x0 >= hit.y1 - top;
  const first = at(hit.x0 + 4, top + 4), last = across ? at(hit.x1 - 4, top + 4) : at(hit.x0 + 4, hit.y1 - 4);
  const style = getComputedStyle(document.documentElement);
  const wanted = ["used", "stripped"].map((each) => style.getPropertyValue(`--${each}`).match(/[0-9a-f]{2}/g));
  return [[first, last], wanted.map((each) => each.map((part) => parseInt(part, 16)).join())];
})()"""


def test_the_picture_has_the_colours_of_what_becomes_of_the_bytes(shown: Page) -> None:
    """A file's rectangle begins in the colour of its fate, and ends in that of what is stripped out of it."""
    node = shown.evaluate("slimagent.image.saved.findIndex((each) => each > 0)")
    drawn, wanted = shown.evaluate(COLOURS.replace("NODE", str(node)))
    assert drawn == wanted


def test_what_keeps_people_out_is_found(shown: Page) -> None:
    """Planted: a picture without a name, text that can hardly be read. So what finds nothing else does look."""
    shown.evaluate(npm.axe() + "; 1")
    shown.evaluate(
        "document.querySelector('.tile').replaceChildren(); document.querySelector('h1').style.color = '#ddd'"
    )
    done = json.loads(shown.evaluate("axe.run().then((done) => JSON.stringify(done.violations))"))
    assert {"button-name", "color-contrast"} <= {each["id"] for each in done}


def test_the_library_is_the_one_that_upstream_published() -> None:
    """Byte for byte the file in the archive whose digest the registry publishes, with its licence."""
    record = json.loads((PLACE / "vendored/vendored.json").read_text())
    published = (record["name"], record["version"], record["integrity"])
    assert npm.published(*published, record["of"]) == (PLACE / "vendored" / record["file"]).read_bytes()
    licence = (PLACE / "vendored" / record["license_file"]).read_bytes()
    assert npm.published(*published, "package/LICENSE") == licence
