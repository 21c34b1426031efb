"""What a browser loads for a page that was opened stays with it: no trace sees a browser ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_images import Installed, access, files_kept, kinds, link, plan_of, reason, write

from slimagent.model.profile import CruftRule, Rules
from slimagent.model.reason import Verdict
from slimagent.model.trace import How

WEB = "/usr/share/app/web"
CODE = "/usr/lib/app/app.py"
ASSETS = {"main.js": 300, "css/main.css": 200, "fonts/a.woff2": 100, "i18n/de.js": 50}
RULES = Rules(budget=1)  # what lies beside a page stays up to 2,000 bytes


def stays(root: Path, *opened: str, page: str = "index.html", assets: dict[str, int] | None = None) -> dict[str, bool]:
    """Whether each file beside the page stays, of a package whose code was used."""
    sizes = {page: 10, **(ASSETS if assets is None else assets)}
    write(root, CODE, "pass")
    for path, size in sizes.items():
        write(root, f"{WEB}/{path}", b"x" * size)
    installed = Installed("dpkg:app", [CODE, *(f"{WEB}/{path}" for path in sizes)])
    plan = plan_of(root, [installed], [CODE, *opened], RULES, level="file")
    return {path: reason(plan, f"{WEB}/{path}").verdict is Verdict.KEEP for path in sizes if path != page}


def test_an_opened_page_brings_what_it_loads(tmp_path: Path) -> None:
    """All below its directory, whatever it names: a script loads the others."""
    assert stays(tmp_path, f"{WEB}/index.html") == dict.fromkeys(ASSETS, True)


def test_a_page_that_nobody_opened_brings_nothing(tmp_path: Path) -> None:
    """Nor does one that something only looked for."""
    assert stays(tmp_path) == dict.fromkeys(ASSETS, False)
    asked = access(f"{WEB}/index.html", How.LOOKED_UP)
    installed = Installed("dpkg:app", [CODE, f"{WEB}/main.js", f"{WEB}/index.html"])
    plan = plan_of(tmp_path, [installed], [CODE, asked], RULES, "file")
    assert reason(plan, f"{WEB}/main.js").verdict is Verdict.DROP


def test_a_page_beside_too_much_brings_nothing(tmp_path: Path) -> None:
    """All of it, or nothing."""
    assert stays(tmp_path, f"{WEB}/index.html", assets={"a.js": 1500, "b.js": 480}) == {"a.js": True, "b.js": True}
    assert stays(tmp_path, f"{WEB}/index.html", assets={"a.js": 1500, "b.js": 500}) == {"a.js": False, "b.js": False}


@pytest.mark.parametrize("page", ["templates/index.html", "templates/admin/users.jinja2"])
def test_a_template_brings_the_static_files(tmp_path: Path, page: str) -> None:
    """Web frameworks keep them in static/ beside templates/."""
    found = stays(tmp_path, f"{WEB}/{page}", page=page, assets={"static/js/a.js": 100, "other/b.js": 100})
    assert found == {"static/js/a.js": True, "other/b.js": False}


def test_cruft_beside_a_page_goes(tmp_path: Path) -> None:
    """A source map is for a debugger."""
    write(tmp_path, CODE, "pass")
    for name in ("index.html", "a.js", "a.js.map"):
        write(tmp_path, f"{WEB}/{name}", b"x" * 100)
    rules = Rules(budget=1, cruft=(CruftRule(name="maps", patterns=("/**/*.js.map",), why="w", risk="r"),))
    installed = Installed("dpkg:app", [CODE, *(f"{WEB}/{name}" for name in ("index.html", "a.js", "a.js.map"))])
    plan = plan_of(tmp_path, [installed], [CODE, f"{WEB}/index.html"], rules, "file")
    assert kinds(plan, f"{WEB}/a.js", f"{WEB}/a.js.map") == ["page", "cruft"]


@given(st.lists(st.integers(1, 900), min_size=1, max_size=4))
def test_what_lies_beside_a_page_is_never_cut(sizes: list[int]) -> None:
    """All of it stays or all of it goes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        assets = {f"d{number}/a.js": size for number, size in enumerate(sizes)}
        found = stays(Path(folder), f"{WEB}/index.html", assets=assets)
    assert len(set(found.values())) == 1
    assert set(found.values()) == {sum(sizes) + 10 <= 2000}


def test_a_link_to_another_package_s_script_brings_it(tmp_path: Path) -> None:
    """Debian's R packages have links in place of the scripts that their pages load."""
    site = "/usr/lib/R/site-library/widget"
    write(tmp_path, f"{site}/R/widget", "code")
    write(tmp_path, "/usr/share/javascript/jquery/jquery.min.js", b"x" * 20)
    write(tmp_path, "/usr/share/javascript/jquery/jquery.js", b"x" * 40)
    write(tmp_path, "/usr/share/javascript/jquery/large.js", b"x" * 90)
    for name in ("jquery.min.js", "large.js"):
        link(tmp_path, f"{site}/htmlwidgets/{name}", f"/usr/share/javascript/jquery/{name}")
    packages = [
        Installed(
            "r:widget",
            [f"{site}/R/widget", *(f"{site}/htmlwidgets/{name}" for name in ("jquery.min.js", "large.js"))],
            requires=["dpkg:jquery"],
        ),
        Installed(
            "dpkg:jquery", [f"/usr/share/javascript/jquery/{name}.js" for name in ("jquery.min", "jquery", "large")]
        ),
    ]
    plan = plan_of(tmp_path, packages, [f"{site}/R/widget"], RULES, "file")
    kept = {path.rsplit("/", 1)[1] for path in files_kept(plan, tmp_path) if path.startswith("/usr/share/javascript")}
    assert kept == {"jquery.min.js"}


def test_code_that_a_used_program_s_packages_have_stays_if_small(tmp_path: Path) -> None:
    """Node loads it by name, sooner or later: a package that is only required keeps code up to 3 budgets."""
    home = "/srv/app/node_modules"
    for path, size in ((f"{home}/app/index.js", 10), (f"{home}/dep/index.js", 3), (f"{home}/dep/data.wasm", 6)):
        write(tmp_path, path, b"x" * size)
    packages = [
        Installed("npm:app", [f"{home}/app/index.js"], requires=["npm:dep"]),
        Installed("npm:dep", [f"{home}/dep/index.js", f"{home}/dep/data.wasm"]),
    ]
    plan = plan_of(tmp_path, packages, [f"{home}/app/index.js"], RULES, "file")
    assert kinds(plan, f"{home}/dep/index.js", f"{home}/dep/data.wasm") == ["code", "too-large"]


def test_a_wheel_is_code(tmp_path: Path) -> None:
    """Python imports from it: ensurepip installs pip from a wheel that Debian has in a package of its own."""
    write(tmp_path, "/usr/bin/venv", "pass")
    write(tmp_path, "/usr/share/python-wheels/pip.whl", b"x" * 340)
    packages = [
        Installed("dpkg:venv", ["/usr/bin/venv"], requires=["dpkg:wheel"]),
        Installed("dpkg:wheel", ["/usr/share/python-wheels/pip.whl"]),
    ]
    plan = plan_of(tmp_path, packages, ["/usr/bin/venv"], RULES, "file")
    assert kinds(plan, "/usr/share/python-wheels/pip.whl") == ["code"]
