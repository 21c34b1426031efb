"""What JupyterLab's page, its scripts and its programs say, read without running anything."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.checks.jupyter.bundle import alternatives, files, in_style, parts, read_page, themes
from slimagent.checks.jupyter.extensions import labextensions, server_extensions
from slimagent.model.result import Item

ONE, TWO = "1014.073326ef5d98db5e.js", "109.493a12dc42da3115.js"


def test_references_are_scripts_styles_and_extensions() -> None:
    """Scripts, styles and icons as absolute URLs, each once, and the entry scripts of extensions; no other link."""
    settings = {
        "fullLabextensionsUrl": "/lab/extensions",
        "federated_extensions": [{"name": "@jupyter/x", "load": "static/remoteEntry.1.js"}, {"name": "y"}, 3],
        "themesUrl": "/themes",
    }
    text = (
        f'<script id="jupyter-config-data" type="application/json">{json.dumps(settings)}</script>'
        '<script defer src="/static/main.js?v=1"></script><script src="/static/main.js?v=1"></script>'
        '<script>ignored("/x.js")</script><link rel="stylesheet" href="theme.css"><link rel="canonical" href="/other">'
        '<link rel="icon" href="/favicon.ico"><a href="/help">help</a><script src="http://[x"></script>'
    )
    page = read_page(text, "http://h/lab")
    assert page.references == ("http://h/static/main.js?v=1", "http://h/theme.css", "http://h/favicon.ico")
    assert page.extensions == {"@jupyter/x": "http://h/lab/extensions/@jupyter/x/static/remoteEntry.1.js"}
    assert (page.url("themesUrl", ""), page.url("other", "/it")) == ("/themes", "/it")


@given(st.text(), st.one_of(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists)))
def test_any_page_has_references(text: str, settings: object) -> None:
    """Whatever a server sends as its page, its references are distinct strings."""
    data = settings if isinstance(settings, str) else json.dumps({"federated_extensions": settings})
    page = read_page(f'{text}<script id="jupyter-config-data">{data}</script>{text}', "http://h/lab")
    assert len(page.references) == len(set(page.references))


@pytest.mark.parametrize(
    ("script", "names"),
    [
        # Rspack, JupyterLab 4.6
        (
            'x;o.u=e=>""+(5531===e?"jlab_core":e)+"."+({1014:"073326ef5d98db5e",5531:"8811dd2733d03721"})[e]+".js";y',
            (ONE, "jlab_core.8811dd2733d03721.js"),
        ),
        # webpack 5, JupyterLab 3 and 4.0
        (
            'a.u=e=>""+(e===3472?"jlab_core":e)+"."+{109:"493a12dc42da3115",3472:"7af6a20412fb66e2"}[e]+".js?v="+'
            '{109:"493a12dc42da3115",3472:"7af6a20412fb66e2"}[e]',
            (TWO, "jlab_core.7af6a20412fb66e2.js"),
        ),
        # names of parts beside their hashes
        (
            't.u=function(e){return""+({5:"vendors-a_b"}[e]||e)+"."+{5:"aaaaaaaa",6:"bbbbbbbb"}[e]+".js"}',
            ("vendors-a_b.aaaaaaaa.js", "6.bbbbbbbb.js"),
        ),
        # one part alone
        ('n.e(724).then(x);z.u=e=>""+e+".ebfc5116f07c8b68.js?v=ebfc5116f07c8b68"', ("724.ebfc5116f07c8b68.js",)),
        (
            '__webpack_require__.e(/*! import() */ "lib_index_js");__webpack_require__.u = (chunkId) => {\n'
            '\t// url\n\treturn "" + chunkId + "." + "969879db0425465f" + ".js";\n};',
            ("lib_index_js.969879db0425465f.js",),
        ),
        ('y.u=function(){}; x="a.js"', ()),
        ("nothing", ()),
        ("x.u=e=>", ()),
    ],
)
def test_the_parts_of_a_script_are_read_from_its_runtime(script: str, names: tuple[str, ...]) -> None:
    """Every way in which the bundlers of JupyterLab and of extensions write where their parts are."""
    assert parts(script).files == names


def test_parts_that_are_never_loaded_are_told_apart() -> None:
    """The list holds modules that others bring; the runtime says which, alone or as an expression."""
    script = 'o.u=e=>""+e+"."+{12:"aaaaaaaa",13:"bbbbbbbb",14:"cccccccc",7:"dddddddd"}[e]+".js";'
    assert parts(f"{script} if(7!=r) load()").unloaded == {"7.dddddddd.js"}
    assert parts(f"{script} if(!/^1(2|[34])$/.test(e)) load()").unloaded == {
        "12.aaaaaaaa.js",
        "13.bbbbbbbb.js",
        "14.cccccccc.js",
    }


_EXPRESSIONS = st.recursive(
    st.text("0123", min_size=1, max_size=2) | st.just("[12]"),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda each: f"({'|'.join(each)})")
        | st.tuples(inner, inner).map("".join)
    ),
    max_leaves=8,
)


@given(_EXPRESSIONS, st.text("0123", max_size=6))
def test_alternatives_are_what_the_expression_matches(expression: str, text: str) -> None:
    """The strings of an expression are those that it matches, and no others."""
    found = alternatives(expression)
    assert all(re.fullmatch(expression, each) for each in found)
    assert (text in found) == bool(re.fullmatch(expression, text))


@pytest.mark.parametrize("expression", ["(0|1)" * 50, ")", "(", "[", "(((" * 1000])
def test_an_expression_that_means_too_much_means_nothing(expression: str) -> None:
    """What grows without bound, or is no expression, is given up."""
    assert alternatives(expression) in (frozenset(), frozenset({"["}))


@given(st.text(alphabet='.u=e>"{}[]:019af,!/^$()|test jsp+', max_size=200))
def test_any_script_has_parts(script: str) -> None:
    """Whatever a server sends as a script, reading it ends and gives strings."""
    found = parts(script)
    assert found.unloaded <= set(found.files)
    assert all(isinstance(each, str) for each in (*files(script), *themes(script), *in_style(script)))


def test_files_themes_and_styles_are_found_by_their_form() -> None:
    """Images and fonts by the public path, themes by their style sheet, references in a style sheet."""
    script = 'e.exports=n.p+"0031b1860ea4ad75.woff"; t.loadCSS("@jupyterlab/theme-x/index.css"); u("./index.css")'
    assert files(script) == ("0031b1860ea4ad75.woff",)
    assert themes(script) == ("@jupyterlab/theme-x",)
    assert in_style("a{b:url(x.svg)} c{d:url('data:image/x')} e{f:url( \"y.png\" )} g{h:url(#z)}") == ("x.svg", "y.png")


OLD_LAB = """JupyterLab v3.6.8
/opt/venv/share/jupyter/labextensions
        jupyterlab_pygments v0.3.0 enabled  X (python, jupyterlab_pygments)
        @jupyterlab/git v0.41.0 enabled OK (python, jupyterlab-git)
        nbdime-jupyterlab v2.1.0 disabled OK
        local v1.0.0 enabled OK*

Other labextensions (built into JupyterLab)
   app dir: /opt/venv/share/jupyter/lab
        alias @some/package v1.0.0 enabled OK

"jupyterlab_pygments@0.3.0" is not compatible with the current JupyterLab
Conflicting Dependencies:
JupyterLab              Extension      Package
>=3.6.8 <3.7.0          >=4.0.8 <5.0.0 @jupyterlab/application
"""


def said(items: list[Item]) -> list[tuple[str, str, str]]:
    return [(each.name.rpartition("extension ")[2], each.outcome.value, each.detail) for each in items]


def test_labextensions_are_read_line_by_line() -> None:
    """Enabled and well, disabled, local, under another name; one that is not compatible says so."""
    assert said(labextensions(OLD_LAB)) == [
        ("jupyterlab_pygments", "failed", "not compatible with this JupyterLab"),
        ("@jupyterlab/git", "passed", ""),
        ("nbdime-jupyterlab", "skipped", "disabled"),
        ("local", "passed", ""),
        ("alias", "passed", ""),
    ]


OLD_SERVER = """Config dir: /home/jovyan/.jupyter
    nbdime disabled
    - Validating nbdime...
      nbdime 4.0.4 OK

Config dir: /opt/venv/etc/jupyter
    nbdime enabled
    - Validating nbdime...
      nbdime 4.0.4 OK
    jupyter_server_terminals enabled
    - Validating jupyter_server_terminals...
       X Jupyter Server Terminals requires Jupyter Server 2.0+
Extension package jupyterlab took 0.1032s to import
    jupyterlab enabled
    - Validating jupyterlab...
      jupyterlab 3.6.8 OK
    notebook_shim enabled
    - Validating notebook_shim...
      notebook_shim  OK
    cut enabled
    - Validating cut...
"""


def test_server_extensions_are_read_line_by_line() -> None:
    """The user's word on an extension counts; one that is not valid says why; one of which nothing is said failed."""
    assert said(server_extensions(OLD_SERVER)) == [
        ("nbdime", "skipped", "disabled"),
        ("jupyter_server_terminals", "failed", "Jupyter Server Terminals requires Jupyter Server 2.0+"),
        ("jupyterlab", "passed", ""),
        ("notebook_shim", "passed", ""),
        ("cut", "failed", "it was not validated"),
    ]


@given(st.text(alphabet="ab X\nOKv1 enabled disabled-.", max_size=300))
def test_any_list_is_read(text: str) -> None:
    """Whatever the two programs print, each extension comes once."""
    for found in (labextensions(text), server_extensions(text)):
        names = [each.name for each in found]
        assert len(names) == len(set(names))
