"""What people put into images by hand, in the places where they put it: nothing of it is cut, at level `file`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_images import Installed, access, files_kept, link, plan_of, reason, write

from slimagent.inventory.owners import owners
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Owners
from slimagent.model.plan import Plan
from slimagent.model.profile import KeepRule, Rules, StartRule
from slimagent.model.reason import Verdict
from slimagent.model.trace import Change, ChangeKind, How

RULES = Rules(budget=1)  # a tree of up to 340 bytes is small
LARGE = b"x" * 1000


def stays(plan: Plan, *paths: str) -> list[bool]:
    return [reason(plan, each).verdict is Verdict.KEEP for each in paths]


def real(root: Path) -> Owners:
    """The owners that the real readers find."""
    return owners(scan(str(root.resolve()).encode()))


@pytest.mark.parametrize("home", ["/home/app", "/root", "/mnt", ""])
def test_an_application_right_in_a_shared_directory_stays_whole(tmp_path: Path, home: str) -> None:
    """WORKDIR /root, or COPY . / into an image without packages. Not what begins with a dot."""
    for path in ("main.py", "templates/index.html", "static/app.js", "model.bin", ".cache/pip.bin"):
        write(tmp_path, f"{home}/{path}", LARGE)
    plan = plan_of(tmp_path, (), [f"{home}/main.py"], RULES, "file")
    parts = ("main.py", "templates/index.html", "static/app.js", "model.bin", ".cache/pip.bin")
    assert stays(plan, *(f"{home}/{path}" for path in parts)) == [True, True, True, True, False]


def test_an_entry_script_in_the_root_does_not_keep_everything(tmp_path: Path) -> None:
    """In an image with packages the root is everybody's."""
    for path in ("/entrypoint.sh", "/data/large", "/usr/bin/tool"):
        write(tmp_path, path, LARGE)
    plan = plan_of(tmp_path, [Installed("dpkg:tool", ["/usr/bin/tool"])], ["/entrypoint.sh"], RULES, "file")
    assert stays(plan, "/entrypoint.sh", "/data/large") == [True, False]


def test_a_rule_that_keeps_a_file_does_not_cut_its_application(tmp_path: Path) -> None:
    """The image starts it, too: that is a use."""
    write(tmp_path, "/app/server", LARGE, 0o755)
    write(tmp_path, "/app/model.bin", LARGE)
    start = (StartRule(command=("/app/server",), why="s"),)
    for keep in ((), (KeepRule(pattern="/app/server", why="u"),)):
        plan = plan_of(tmp_path, (), [], Rules(budget=1, start=start, keep=keep), "file")
        assert stays(plan, "/app/server", "/app/model.bin") == [True, True]


def test_an_environment_inside_an_application_does_not_cut_it(tmp_path: Path) -> None:
    """`conda create -p ./env`."""
    for path in ("/app/main.py", "/app/models/m.bin", "/app/env/lib/x.so"):
        write(tmp_path, path, LARGE)
    made = '{"name": "x", "version": "1", "files": ["lib/x.so"], "depends": []}'
    write(tmp_path, "/app/env/conda-meta/x-1-0.json", made)
    plan = plan_of(tmp_path, (), ["/app/main.py"], RULES, "file", found=real(tmp_path))
    assert stays(plan, "/app/main.py", "/app/models/m.bin") == [True, True]


def test_a_list_of_models_is_a_use(tmp_path: Path) -> None:
    """And a link on the way, and a link that leads out of an application."""
    for path in ("/models/a.bin", "/data/models/b.bin", "/app/main.py", "/srv/t/lib.bin", "/usr/bin/tool", "/other/x"):
        write(tmp_path, path, LARGE)
    link(tmp_path, "/app/models", "/data/models")
    link(tmp_path, "/srv/t/run", "/usr/bin/tool")
    seen = [access("/models", How.LISTED), "/app/main.py", access("/srv/t/run", How.EXECUTED)]
    plan = plan_of(tmp_path, [Installed("dpkg:tool", ["/usr/bin/tool"])], seen, RULES, "file")
    paths = ("/models/a.bin", "/data/models/b.bin", "/srv/t/lib.bin", "/other/x")
    assert stays(plan, *paths) == [True, True, True, False]


def test_what_someone_added_to_a_package_stays_with_it(tmp_path: Path) -> None:
    """A site in nginx's own directory, a downloaded model beside a library: nobody could restore it."""
    for path in ("/usr/sbin/nginx", "/usr/share/nginx/html/index.html", "/usr/share/nginx/html/app.js"):
        write(tmp_path, path, LARGE)
    write(tmp_path, "/var/lib/dpkg/status", STATUS)
    listed = ("/.", "/usr", "/usr/sbin", "/usr/sbin/nginx", "/usr/share", "/usr/share/nginx", "/usr/share/nginx/html")
    write(
        tmp_path,
        "/var/lib/dpkg/info/nginx.list",
        "".join(f"{each}\n" for each in (*listed, f"{listed[-1]}/index.html")),
    )
    plan = plan_of(tmp_path, (), ["/usr/sbin/nginx"], RULES, "file", found=real(tmp_path))
    assert stays(plan, "/usr/share/nginx/html/app.js", "/usr/share/nginx/html/index.html") == [True, False]
    unused = plan_of(tmp_path, (), [], RULES, "file", found=real(tmp_path))
    assert stays(unused, "/usr/share/nginx/html/app.js") == [False]


STATUS = """Package: nginx
Status: install ok installed
Version: 1
Architecture: amd64

"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "lazy\n"),
        ("requirements.txt", "-r more/web.txt\n"),
        ("requirements.in", "lazy\n"),
        ("pyproject.toml", '[project]\ndependencies = ["lazy"]\n'),
        ("pyproject.toml", '[tool.poetry.dependencies]\npython = "^3.12"\nlazy = "^1"\n'),
        ("setup.cfg", "[options]\ninstall_requires =\n    lazy\n"),
        ("Pipfile", '[packages]\nlazy = "*"\n'),
    ],
)
@pytest.mark.parametrize("home", ["/app", "/opt/app", "/home/ada", "/root"])
def test_what_an_application_declares_stays(tmp_path: Path, home: str, name: str, text: str) -> None:
    """Wherever it lies, in each form, if something of the application was used."""
    site = "/venv/lib/python3.12/site-packages"
    write(tmp_path, "/venv/pyvenv.cfg", "home = /usr/bin\n")
    write(tmp_path, f"{site}/lazy/__init__.py", "pass")
    write(tmp_path, f"{site}/lazy-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: lazy\nVersion: 1\n")
    write(tmp_path, f"{site}/lazy-1.dist-info/RECORD", "lazy/__init__.py,,\nlazy-1.dist-info/METADATA,,\n")
    write(tmp_path, f"{home}/main.py", LARGE)
    write(tmp_path, f"{home}/lib/more.py", LARGE)
    write(tmp_path, f"{home}/{name}", text)
    write(tmp_path, f"{home}/more/web.txt", "lazy\n")
    for level in ("package", "file"):
        plan = plan_of(tmp_path, (), [f"{home}/main.py"], RULES, level, found=real(tmp_path))
        assert stays(plan, f"{site}/lazy/__init__.py", f"{home}/{name}") == [True, True], level
        unused = plan_of(tmp_path, (), [], RULES, level, found=real(tmp_path))
        assert stays(unused, f"{site}/lazy/__init__.py") == [False], level


def test_a_manifest_stays_and_goes_with_its_tree(tmp_path: Path) -> None:
    """However large it is."""
    write(tmp_path, "/app/run.sh", b"x" * 100)
    write(tmp_path, "/app/requirements.txt", "lazy\n" * 100)
    plan = plan_of(tmp_path, (), [], RULES, "file", found=real(tmp_path))
    assert stays(plan, "/app/run.sh", "/app/requirements.txt") == [True, True]


def test_files_of_the_run_count_for_nothing(tmp_path: Path) -> None:
    """A file that the run made beside data does not make the data too large to stay."""
    site = "/env/lib/python3.12/site-packages/p"
    names = [f"{site}/d/{number}.dat" for number in range(3)]
    for path in (f"{site}/__init__.py", *names, f"{site}/d/new.dat"):
        write(tmp_path, path, b"x" * 100)
    packages = [Installed("python:p", [f"{site}/__init__.py", *names, f"{site}/d/new.dat"])]
    change = Change(path=f"{site}/d/new.dat".encode(), kind=ChangeKind.CREATED, mtime_ns=0)
    plan = plan_of(tmp_path, packages, [f"{site}/__init__.py", names[0]], RULES, "file", changes=(change,))
    assert stays(plan, *names, f"{site}/d/new.dat") == [True, True, True, False]


def test_a_set_with_a_directory_for_each_member_is_one(tmp_path: Path) -> None:
    """profiles/de/profile.json, profiles/fr/profile.json, …: all stay or all go."""
    site = "/env/lib/python3.12/site-packages/lang"
    names = [f"{site}/profiles/{each}/profile.json" for each in ("de", "fr", "tl", "zh")]
    for path in (f"{site}/__init__.py", *names):
        write(tmp_path, path, b"x" * 50)
    packages = [Installed("python:lang", [f"{site}/__init__.py", *names])]
    used = plan_of(tmp_path, packages, [f"{site}/__init__.py", names[1]], RULES, "file")
    assert stays(used, *names) == [True] * 4
    assert stays(plan_of(tmp_path, packages, [f"{site}/__init__.py"], RULES, "file"), *names) == [False] * 4


@given(st.sets(st.sampled_from(["/app/a", "/app/b/c", "/home/u/x", "/home/u/d/y", "/srv/z", "/data/w"])), st.data())
def test_a_rule_or_a_larger_budget_never_drops_anything(used: set[str], data: st.DataObject) -> None:
    """Whatever was used or started."""
    import tempfile

    paths = ["/app/a", "/app/b/c", "/home/u/x", "/home/u/d/y", "/srv/z", "/data/w"]
    started = data.draw(st.sampled_from(paths))
    kept = data.draw(st.sampled_from(paths))
    budget = data.draw(st.integers(0, 4))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path in paths:
            write(root, path, b"x" * data.draw(st.sampled_from([5, 400, 1000])), 0o755)
        start = (StartRule(command=(started,), why="s"),)
        less = plan_of(root, (), sorted(used), Rules(budget=budget, start=start), "file")
        rule = (KeepRule(pattern=kept, why="u"),)
        more = plan_of(root, (), sorted(used), Rules(budget=budget, start=start, keep=rule), "file")
        larger = plan_of(root, (), sorted(used), Rules(budget=budget + 1, start=start), "file")
        assert files_kept(less, root) <= files_kept(more, root)
        assert files_kept(less, root) <= files_kept(larger, root)
