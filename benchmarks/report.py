"""Measure the page of `slimagent report --html`: how long it takes to write, its size, and when a person can use it.

    python benchmarks/report.py slimagent-out                        # the documents of a run
    python benchmarks/report.py --files 190000 --in /dev/shm         # a synthetic image, planned at level package
    python benchmarks/report.py slimagent-out --pictures build/screenshots

`usable` is from the start of the navigation until the picture is drawn and answers (performance.now() of the page), in
a headless Chromium (tests/support/chromium.py says which) that opens the file from the disk; the median of --repeat.
`open` redraws the picture for each of the largest packages, `search` looks a word up for the first time and again.
Machines differ, and others use them at the same time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from chromium import Page, chromium  # noqa: E402

SLIMAGENT = (sys.executable, "-m", "slimagent")
SCREENS = [(width, height, dark) for width, height in ((1280, 900), (390, 844)) for dark in (False, True)]
OPENED = """(() => { const image = slimagent.image, times = [];
  const largest = [...image.raw.sort.keys()].filter((node) => image.sort(node) === 2)
    .sort((a, b) => image.bytes(b) - image.bytes(a)).slice(0, 20);
  for (const node of [...largest, 0]) {
    const start = performance.now(); slimagent.open(node, 'row'); times.push(performance.now() - start); }
  return times; })()"""
SEARCHED = """['python', 'lib'].map((text) => { const start = performance.now();
  document.getElementById('search').value = text; slimagent.search(); return performance.now() - start; })"""


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", nargs="?", help="directory with the documents of a run")
    parser.add_argument("--files", type=int, default=190_000, help="size of the synthetic image, without OUT")
    parser.add_argument("--in", dest="place", default=None, help="make the synthetic image in a new directory here")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--pictures", type=Path, help="write screenshots here")
    parser.add_argument("--no-browser", action="store_true", help="measure the writing alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.place) as work:
        place = Path(work)
        out = Path(options.out) if options.out else synthetic(place, options.files)
        page = place / "report.html"
        started = time.monotonic()
        subprocess.run([*SLIMAGENT, "report", str(out), "--html", str(page)], check=True, capture_output=True)
        spent = time.monotonic() - started
        print(f"written in    {spent:8.1f} s")
        print(f"size          {page.stat().st_size / 1e6:8.2f} MB")
        if not options.no_browser:
            with chromium(place) as browser:
                measure(browser, page, options.repeat)
                pictures(browser, options.pictures)


def synthetic(place: Path, files: int) -> Path:
    """The plan of a synthetic image, in a directory of its own."""
    image, out = place / "image", place / "out"
    out.mkdir()
    script = str(Path(__file__).with_name("synthetic.py"))
    subprocess.run([sys.executable, script, str(image), str(files)], check=True)
    command = [sys.executable, __file__, "--plan", str(image), str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def plan(image: str, out: str) -> None:
    """Plan a synthetic image, as scale.py does: the trace is of this image, whatever its fingerprint."""
    from dataclasses import replace

    from slimagent import documents
    from slimagent.cli.console import Console
    from slimagent.inventory.fingerprint import fingerprint
    from slimagent.linux.files import digest, read, write
    from slimagent.profiles import shipped as profiles
    from slimagent.workflows import pipeline
    from slimagent.workflows.session import Session, canonical

    traced = documents.decode_trace(read(os.path.join(image, "trace.json")))
    session = Session(root=canonical(os.path.join(image, "root")), profile=profiles.load("base"))
    session, console = pipeline.seen_as(session, traced), Console(quiet=True)
    inventory = pipeline.inspect(session, console)
    traced = replace(traced, before=fingerprint(inventory))
    data = documents.encode_trace(traced)
    made = pipeline.plan(session, traced, (digest(data),), "package", frozenset(), console, inventory)
    write(os.path.join(out, "trace.json"), data)
    write(os.path.join(out, "plan.json"), documents.encode_plan(made))


def measure(browser: Page, page: Path, repeat: int) -> None:
    """Open the page several times, then use it."""
    browser.screen(1280, 900)
    usable = []
    for _ in range(repeat):
        browser.open(page)
        usable.append(int(browser.evaluate("document.documentElement.dataset.ready")))
    print(f"usable after  {statistics.median(usable):8.0f} ms (of {repeat}: {min(usable)} to {max(usable)})")
    print(f"nodes         {browser.evaluate('slimagent.image.count'):8,}")
    print(f"files         {browser.evaluate('slimagent.image.files[0]'):8,}")
    times = browser.evaluate(OPENED)
    print(f"open          {statistics.median(times):8.0f} ms (at most {max(times):.0f})")
    first, again = browser.evaluate(SEARCHED)
    print(f"search        {first:8.0f} ms the first time, {again:.0f} ms again")
    assert browser.complaints == []
    browser.evaluate("document.getElementById('search').value = ''; slimagent.search(); slimagent.open(0, 'row')")


def pictures(browser: Page, place: Path | None) -> None:
    """Screenshots of the whole page, large and small, light and dark."""
    if place is None:
        return
    for width, height, dark in SCREENS:
        browser.screen(width, height, dark=dark)
        browser.picture(place / f"{width}-{'dark' if dark else 'light'}.png", whole=True)
    print(f"screenshots   {os.path.relpath(place)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plan"]:  # in a process of its own: its memory is not the page's
        plan(*sys.argv[2:])
    else:
        main()
