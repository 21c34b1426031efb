"""Kind `notebooks`, with real kernels: notebooks that run, and each way in which one can fail."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from attributions import users_of
from checks_context import Place, item, place
from hypothesis import given
from hypothesis import strategies as st
from jupyter_environment import check_jupyter, home_of, jupyter_environment, outcomes, programs
from notebook_texts import code, notebook, notebook_3

from slimagent import checks
from slimagent.checks.notebooks import directories as notebook_directories
from slimagent.checks.notebooks.file import Cell, NotebookError, read_notebook
from slimagent.errors import UsageError
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import CheckResult, Outcome
from slimagent.trace.seccomp.backend import Seccomp

__all__ = ["place", "programs"]  # fixtures


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty directory for notebooks."""
    directory = tmp_path / "examples"
    directory.mkdir()
    return directory


def write(directory: Path, **notebooks: str) -> None:
    for name, text in notebooks.items():
        (directory / f"{name}.ipynb").write_text(text)


def run(place: Place, programs: str, *directories: Path, seconds: float = 180, **parameters: Parameter) -> CheckResult:
    return check_jupyter(
        place,
        programs,
        "notebooks",
        seconds,
        folders=tuple(map(str, directories)),
        **{"cell_seconds": 30.0, **parameters},
    )


def test_notebooks_that_run_pass(place: Place, programs: str, directory: Path) -> None:
    """Data beside a notebook is found, it writes into a copy, tags are respected, hidden directories are left out."""
    (directory / "data.txt").write_text("data")
    write(
        directory,
        data=notebook("import os\nopen('made.txt', 'w').write('x')\nassert open('data.txt').read() == 'data'"),
        tags=notebook(code(["1/", "0"], "raises-exception"), code("1/0", "skip-execution"), "6*7"),
        old=notebook_3("x = 6", ["assert ", "x == 6"]),
        text=notebook({"cell_type": "markdown", "source": "# only text", "metadata": {}}, kernel="gone"),
        large=notebook("print('x' * 20_000_000)", "b'' and None"),
    )
    for hidden in (".ipynb_checkpoints", ".hidden"):
        (directory / hidden).mkdir()
        write(directory / hidden, no=notebook("1/0"))
    (directory / "sub").mkdir()
    write(directory / "sub", deep=notebook("assert open('../data.txt').read() == 'data'", kernel=None))
    before = sorted(directory.rglob("*"))
    result = run(place, programs, directory)
    names = ["data", "large", "old", "sub/deep", "tags", "text"]
    assert outcomes(result) == [f"{name}.ipynb passed" for name in names], result.items
    assert item(result, "text.ipynb").detail == "it has no code"
    assert sorted(directory.rglob("*")) == before
    assert os.listdir(home_of(place)) == []


def test_each_fault_is_named_with_its_cell(place: Place, programs: str, directory: Path) -> None:
    """An exception, a cell without end, one that asks, a kernel that dies, one that is not there, text cut short."""
    write(
        directory,
        asks=notebook("1", "input('? ')"),
        cut=notebook("1")[:20],
        dies=notebook("import os", "import sys\nsys.stderr.write('libfoo is gone')", "os._exit(3)"),
        endless=notebook("1", "while True: pass"),
        error=notebook({"cell_type": "raw", "source": "", "metadata": {}}, "1", "x + 1", "never_come_to"),
        fine=notebook("6*7"),
        kernel=notebook("1", kernel="no-such-kernel"),
        module=notebook("import no_such_module"),
    )
    result = run(place, programs, directory, cell_seconds=5.0)
    assert {each.name: each.detail for each in result.items} == {
        "asks.ipynb": "cell 2: asks for input",
        "cut.ipynb": item(result, "cut.ipynb").detail,
        "dies.ipynb": "cell 3: the kernel died",
        "endless.ipynb": "cell 2: no end after 5 s",
        "error.ipynb": "cell 3: NameError: name 'x' is not defined",
        "fine.ipynb": "1 cells",
        "kernel.ipynb": "no such kernel: no-such-kernel",
        "module.ipynb": "cell 1: ModuleNotFoundError: No module named 'no_such_module'",
    }
    assert item(result, "cut.ipynb").detail.startswith("not JSON: ")
    assert [each.name for each in result.items if each.outcome is Outcome.PASSED] == ["fine.ipynb"]
    assert result.detail.startswith(
        "7 of 8 failed: asks.ipynb, cut.ipynb, dies.ipynb, endless.ipynb, error.ipynb and 2"
    )


def test_directories_are_told_apart_and_counted(place: Place, programs: str, directory: Path) -> None:
    """With several directories each item says which; what is over the limit is a failure that says so."""
    other = directory.parent / "other"
    other.mkdir()
    write(directory, a=notebook("1"), b=notebook("1"))
    write(other, a=notebook("1"))
    result = run(place, programs, directory, other, directory.parent / "none", most=2)
    assert outcomes(result) == [f"{directory}/a.ipynb passed", f"{directory}/b.ipynb passed", "more notebooks failed"]
    assert item(result, "more notebooks").detail == "there are 3, and `most` is 2: the others were not run"


HANGS = """#!{python}
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/api/contents"):
            time.sleep(1000)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{{"default": "x", "kernelspecs": {{"x": {{}}}}}}')
port = [int(each.split("=")[1]) for each in sys.argv if ".port=" in each][0]
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def test_time_that_is_over_fails_what_was_not_reached(place: Place, directory: Path, tmp_path: Path) -> None:
    """With a server that hangs (a stand-in), one notebook takes all the time, and each after it was not reached."""
    write(directory, a=notebook("1"), b=notebook("1"))
    for name in ("jupyter", "jupyter-server"):
        (tmp_path / name).write_text(HANGS.format(python=sys.executable))
        (tmp_path / name).chmod(0o755)
    result = place.check("notebooks", 5, path=f"{tmp_path}:/usr/bin:/bin", folders=(str(directory),))
    assert outcomes(result) == ["a.ipynb failed", "b.ipynb failed"]
    assert item(result, "a.ipynb").detail.endswith(": no answer in time")
    assert item(result, "b.ipynb").detail == "not reached in 5 s"


def test_a_directory_that_cannot_be_copied_is_worked_in(
    place: Place, programs: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that is too large, or has a link that leads out of it, is the kernel's own directory."""
    monkeypatch.setattr(notebook_directories, "_LARGEST", 1000)
    (directory / "data.bin").write_bytes(b"x" * 1001)
    write(directory, here=notebook(f"import os\nassert os.path.samefile(os.getcwd(), {str(directory)!r})"))
    linked = directory.parent / "linked"
    linked.mkdir()
    (linked / "data").symlink_to("../examples/data.bin")
    write(linked, here=notebook("assert len(open('data').read()) == 1001"))
    result = run(place, programs, directory, linked)
    assert outcomes(result) == [f"{directory}/here.ipynb passed", f"{linked}/here.ipynb passed"]


@pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"no seccomp: {Seccomp.unavailable()}")
def test_data_and_notebooks_are_in_the_evidence(place: Place, programs: str, directory: Path) -> None:
    """Under tracing, the notebook and the data beside it are found to be needed, though a copy was worked in."""
    (directory / "data.txt").write_text("data")
    outside = directory.parent / "outside.txt"
    outside.write_text("data")
    write(directory, a=notebook("open('data.txt').read()"), b=notebook(f"open({str(outside)!r}).read()"))
    with Seccomp() as watcher:
        watcher.step("it")
        env = {**place.env, **jupyter_environment(place, programs)}
        context = checks.Context(spawn=watcher.spawn, test=watcher.test, env=env, user=None, cwd="/")
        spec = CheckSpec(kind="notebooks", name="it", seconds=180, parameters={"folders": (str(directory),)})
        result = checks.run(spec, context)
        observed = watcher.finish()
    assert (outcomes(result), observed.losses, observed.stopped) == (
        ["a.ipynb passed", "b.ipynb passed"], (), ()
    )  # fmt: skip
    assert users_of(observed, outside) == {"b.ipynb"}
    assert {os.fsencode(directory / name) for name in ("a.ipynb", "data.txt")} <= set(observed.accesses)


def test_odd_names_are_run(place: Place, programs: str, directory: Path) -> None:
    """Names with spaces, hashes, percent signs, and other alphabets."""
    names = ["a b#1%20?", "\N{GREEK SMALL LETTER OMEGA}", "-n"]
    write(directory, **{name: notebook("1") for name in names})
    result = run(place, programs, directory)
    assert sorted(outcomes(result)) == sorted(f"{name}.ipynb passed" for name in names), result.items


def test_a_server_that_does_not_start_skips_every_notebook(place: Place, directory: Path, tmp_path: Path) -> None:
    """Why it did not is the check's detail; no notebook is said to be broken."""
    write(directory, a=notebook("1"))
    for name in ("jupyter", "jupyter-server"):
        (tmp_path / name).write_text("#!/bin/sh\necho no module named jupyter_server >&2; exit 1\n")
        (tmp_path / name).chmod(0o755)
    result = place.check("notebooks", path=f"{tmp_path}:/usr/bin:/bin", folders=(str(directory),))
    assert outcomes(result) == ["a.ipynb skipped"]
    assert result.detail == "the server ended: exit status 1\nno module named jupyter_server"


def test_nothing_to_run_is_skipped(place: Place, directory: Path, tmp_path: Path) -> None:
    """No notebook, or no Jupyter to run one, is no failure; no directory at all is a mistake of the profile's."""
    result = place.check("notebooks", folders=(str(directory), "/no/such/directory"))
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, f"no notebook under {directory}, /no/such/directory")
    write(directory, a=notebook("1"))
    result = place.check("notebooks", path=str(tmp_path), folders=(str(directory),))
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, "jupyter is not on PATH")
    for parameters in ({}, {"folders": ()}, {"folders": ("",)}):
        with pytest.raises(UsageError, match="notebooks needs folders"):
            place.check("notebooks", **parameters)


def test_directories_begin_at_home_or_where_commands_run(place: Place, tmp_path: Path) -> None:
    """`~` is the user's home, not ours; other names begin in the context's directory."""
    context = place.context(cwd=str(tmp_path), HOME="/home/jovyan")
    assert notebook_directories.expanded("~/x", context) == b"/home/jovyan/x"
    assert notebook_directories.expanded("x/../y", context) == os.fsencode(tmp_path / "y")
    assert notebook_directories.expanded("/x", context) == b"/x"


def test_a_notebook_is_read_leniently() -> None:
    """Cells are numbered among all; the language is the metadata's, the kernel's, or the first cell's."""
    found = read_notebook(notebook("1", {"cell_type": "markdown"}, code(["a\n", "b"], "raises-exception"), " \n"))
    assert (found.kernel, found.cells) == ("python3", (Cell(1, "1"), Cell(3, "a\nb", may_raise=True)))
    assert read_notebook(notebook_3("1")).language == "python"
    text = json.dumps({"cells": [], "metadata": {"language_info": {"name": "R"}, "kernelspec": 3}})
    assert (read_notebook(text).kernel, read_notebook(text).language) == ("", "r")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"cells": 3}', "[" * 100_000, '{"worksheets": {}}'])
def test_what_is_no_notebook_says_so(text: str) -> None:
    """Each is refused with a reason."""
    with pytest.raises(NotebookError, match=r"^not "):
        read_notebook(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["cells", "worksheets", "metadata", "kernelspec", "tags", "source", "cell_type"]), inner
        )
    ),
)


@given(st.one_of(st.text(), _JSON.map(json.dumps), _JSON.map(lambda each: json.dumps({"cells": [each]}))))
def test_any_text_is_a_notebook_or_refused(text: str) -> None:
    """Whatever is in a file of that name, it is read or refused, and every cell has code."""
    try:
        found = read_notebook(text)
    except NotebookError:
        return
    assert all(cell.source.strip() for cell in found.cells)
