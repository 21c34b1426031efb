"""Which layer a path lies in: laws over any tree, and a table of the places that people ask about."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from apply_images import plan_for
from hypothesis import given
from hypothesis import strategies as st

from slimagent.apply.decide import Action, decide
from slimagent.apply.export.components import IDE, PYTHON, REST, SHARED, SYSTEM, Part, R, package_layers, parts
from slimagent.model.inventory import Inventory, Package
from slimagent.model.plan import Plan, PlannedPackage
from slimagent.model.profile import COMPONENTS
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.paths.algebra import parent, sort_key

VENV = Package(kind="python", name="numpy", place=b"/opt/venv/lib/python3.11/site-packages")
CONDA = Package(kind="conda", name="pandas", place=b"/opt/conda")
LIBRARY = Package(kind="r", name="dplyr", place=b"/usr/local/lib/R/site-library")
HOME_LIBRARY = Package(kind="r", name="mine", place=b"/home/j/R/4.3")
USER_SITE = Package(kind="python", name="black", place=b"/home/j/.local/lib/python3.11/site-packages")
LOCAL_SITE = Package(kind="python", name="pip", place=b"/usr/local/lib/python3.12/site-packages")
ALWAYS = (VENV, CONDA, LIBRARY, HOME_LIBRARY, USER_SITE, LOCAL_SITE)


def image(owners: Mapping[bytes, Package | None], links: Iterable[bytes] = ()) -> Inventory:
    """An image with a file at each path, and the directories above; `links` are names of one inode."""
    directories = {b"/"}
    for path in owners:
        while (path := parent(path)) not in directories:
            directories.add(path)
    paths = sorted({*owners, *directories}, key=sort_key)
    files = set(owners) - directories
    index = {each: at for at, each in enumerate(paths)}
    inventory = Inventory(root=b"/image", scopes=(b"/",), paths=paths, index=index)
    for at, path in enumerate(paths):
        inventory.modes.append(stat.S_IFREG | 0o644 if path in files else stat.S_IFDIR | 0o755)
        inventory.uids.append(0)
        inventory.gids.append(0)
        inventory.sizes.append(1 if path in files else 4096)
        inventory.mtimes.append(10**18 + at)
        inventory.ctimes.append(0)
        inventory.devices.append(1)
        inventory.inodes.append(0 if path in set(links) else at + 1)
        inventory.links.append(len(set(links)) if path in set(links) else 1)
        if path in set(links):
            inventory.mtimes[at] = 10**18
    return inventory


def cut(owners: Mapping[bytes, Package | None], links: Iterable[bytes] = ()) -> tuple[Inventory, list[Part]]:
    """The layers of such an image, all of which stays. The packages in ALWAYS are installed, files or no files."""
    inventory, plan = planned(owners, links)
    return inventory, parts(plan, inventory, decide(plan, inventory))


def planned(owners: Mapping[bytes, Package | None], links: Iterable[bytes] = ()) -> tuple[Inventory, Plan]:
    """The image, and a plan by which all of it stays."""
    inventory = image(owners, links)
    packages = list(dict.fromkeys([*ALWAYS, *(each for each in owners.values() if each is not None)]))
    plan = plan_for(inventory)
    entries = []
    for entry in plan.entries:
        package = owners.get(entry.path)
        entries.append(entry if package is None else entry._replace(owner=packages.index(package)))
    plan = replace(
        plan,
        entries=tuple(entries),
        packages=tuple(PlannedPackage(package=each, reason=0, files=0, size=0, kept=0) for each in packages),
    )
    return inventory, plan


def own_members(inventory: Inventory, part: Part) -> list[bytes]:
    found = [at for at in part.members if not isinstance(at, Action) and at not in part.undated]
    return [inventory.paths[at] for at in found]


def component(path: bytes, package: Package | None = None) -> str:
    """The component of a file."""
    inventory, found = cut({path: package})
    (name,) = (part.component for part in found if path in own_members(inventory, part))
    return name


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/usr/lib/x86_64-linux-gnu/libx.so", SYSTEM),
        (b"/etc/passwd", SYSTEM),
        (b"/lib64/ld.so", SYSTEM),
        (b"/var/lib/dpkg/info/x.list", SYSTEM),
        (b"/var/lib/dpkg/status", SHARED),
        (b"/var/lib/dpkg/status-old", SHARED),
        (b"/etc/ld.so.cache", SHARED),
        (b"/var/log/apt/history.log", SHARED),
        (b"/usr/local/bin/tool", REST),
        (b"/opt/tool/bin/tool", REST),
        (b"/home/j/notes.txt", REST),
        (b"/workspace/data", REST),
        (b"/etcetera/x", REST),
        (b"/opt/venv/bin/python", PYTHON),
        (b"/opt/venv/share/jupyter/kernels/x.json", PYTHON),
        (b"/opt/conda/lib/libx.so", PYTHON),
        (b"/home/j/.local/lib/python3.11/x.py", PYTHON),
        (b"/home/j/.local/share/x", REST),
        (b"/usr/local/lib/python3.12/os.py", PYTHON),
        (b"/usr/local/lib/R/site-library/x", R),
        (b"/usr/local/lib/R/etc/Rprofile.site", R),
        (b"/opt/R/4.3.1/lib/R/library/x", R),
        (b"/usr/lib/R/etc/ldpaths", R),
        (b"/etc/R/Renviron", R),
        (b"/home/j/R/4.3/unowned", R),
        (b"/usr/lib/rstudio-server/bin/rserver", IDE),
        (b"/etc/rstudio/rserver.conf", IDE),
        (b"/home/j/.local/share/code-server/extensions/x", IDE),
        (b"/opt/code-server-4.9.1/lib/x", IDE),
        (b"/home/j/.vscode-server/x", IDE),
        (b"/opt/venv/code-server/x", PYTHON),
        (b"/opt/decode-server/x", REST),
    ],
)
def test_an_unowned_path_belongs_where_it_lies(path: bytes, expected: str) -> None:
    """The directory decides for what no package manager knows."""
    assert component(path) == expected


@pytest.mark.parametrize(
    ("package", "path", "expected"),
    [
        (Package(kind="dpkg", name="libc6"), b"/opt/venv/odd", SYSTEM),
        (Package(kind="dpkg", name="r-cran-dplyr"), b"/usr/share/doc/r-cran-dplyr/copyright", R),
        (Package(kind="dpkg", name="littler", section="gnu-r"), b"/usr/bin/r", R),
        (Package(kind="dpkg", name="rsync"), b"/usr/bin/rsync", SYSTEM),
        (Package(kind="dpkg", name="rstudio-server"), b"/usr/sbin/rstudio-server", IDE),
        (Package(kind="dpkg", name="code-server"), b"/usr/bin/code-server", IDE),
        (Package(kind="dpkg", name="python3-numpy"), b"/usr/lib/python3/dist-packages/numpy/x.py", SYSTEM),
        (Package(kind="conda", name="r-dplyr", place=b"/opt/conda"), b"/opt/conda/lib/R/library/dplyr/x", R),
        (Package(kind="conda", name="numpy", place=b"/opt/conda"), b"/opt/conda/lib/libblas.so", PYTHON),
        (VENV, b"/opt/venv/bin/f2py", PYTHON),
        (Package(kind="vscode", name="ms.python", place=b"/x"), b"/opt/extensions/x", IDE),
        (
            Package(kind="npm", name="left-pad", place=b"/usr/lib/code-server"),
            b"/usr/lib/code-server/node_modules/x",
            IDE,
        ),
        (Package(kind="npm", name="left-pad", place=b"/opt/venv"), b"/opt/venv/share/jupyter/x/node_modules/x", PYTHON),
        (Package(kind="npm", name="npm", place=b"/usr/local"), b"/usr/local/lib/node_modules/npm/x", REST),
        (Package(kind="component", name="venv"), b"/opt/venv/bin/activate", PYTHON),
        (Package(kind="component", name="node"), b"/usr/local/bin/node", REST),
        (Package(kind="component", name="node"), b"/usr/bin/node", REST),
        (Package(kind="component", name="R"), b"/usr/local/bin/R", R),
        (Package(kind="component", name="python3.12"), b"/usr/local/lib/libpython3.12.so", PYTHON),
        (Package(kind="component", name="quarto", place=b"/usr/lib/rstudio-server"), b"/usr/lib/rstudio-server/q", IDE),
        (Package(kind="newfangled", name="x"), b"/opt/x", REST),
    ],
)
def test_an_owned_path_belongs_with_its_package(package: Package, path: bytes, expected: str) -> None:
    """The package decides, or where it lies if its manager is used by several components."""
    assert component(path, package) == expected


# Names from few letters, so that trees meet.
NAMES = st.sampled_from(
    [b"usr", b"opt", b"etc", b"venv", b"conda", b"lib", b"R", b"code-server", b"x", b"home", b".wh"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(lambda each: b"/" + b"/".join(each))
PACKAGES = st.sampled_from(
    [None, None, VENV, CONDA, LIBRARY, Package(kind="dpkg", name="libc6"), Package(kind="component", name="node")]
)


@st.composite
def trees(draw: st.DrawFn) -> tuple[dict[bytes, Package | None], set[bytes]]:
    """Files with owners, none a directory of another's, and some of them names of one inode."""
    drawn = draw(st.dictionaries(PATHS, PACKAGES, min_size=1, max_size=25))
    files = {path: owner for path, owner in drawn.items() if not any(each.startswith(path + b"/") for each in drawn)}
    linked = draw(st.sets(st.sampled_from(sorted(files))))
    return files, linked if len(linked) > 1 else set()


@given(trees())
def test_laws(tree: tuple[dict[bytes, Package | None], set[bytes]]) -> None:
    """Each path is one layer's own; a layer has every directory above what it has, in order; times are right on top."""
    files, linked = tree
    inventory, found = cut(files, linked)
    assert [part.component for part in found] == [name for name in COMPONENTS if name in {p.component for p in found}]
    own = [path for part in found for path in own_members(inventory, part)]
    assert sorted(own) == sorted(inventory.paths)
    last: dict[bytes, bool] = {}
    for part in found:
        paths = [inventory.paths[at] for at in part.members if not isinstance(at, Action)]
        assert paths == sorted(paths, key=sort_key)
        assert len(set(paths)) == len(paths)
        assert part.own == len(own_members(inventory, part)) > 0
        assert all(parent(path) in {*paths, b"/"} for path in paths)
        assert (len(linked & set(own_members(inventory, part)))) in (0, len(linked))
        last |= {inventory.paths[at]: at in part.undated for at in part.members if not isinstance(at, Action)}
    assert not any(last.values())


@given(trees(), st.sampled_from([b"new", b"numpy/new.py", b"deep/er/new"]))
def test_one_more_file_of_an_environment_changes_its_layer_alone(
    tree: tuple[dict[bytes, Package | None], set[bytes]], name: bytes
) -> None:
    """A file in a directory that is Python's, and has nothing else in it, leaves every other layer as it was."""
    files = {path: owner for path, owner in tree[0].items() if not path.startswith(b"/opt/env")}
    files |= {b"/opt/env/lib/python3.11/site-packages/old.py": None}
    more = files | {b"/opt/env/lib/python3.11/site-packages/" + name: None}
    environment = Package(kind="python", name="old", place=b"/opt/env/lib/python3.11/site-packages")
    before, after = (
        contents(*cut(each | {b"/opt/env/lib/python3.11/site-packages/old.py": environment})) for each in (files, more)
    )
    for layer in (SYSTEM, IDE, R, REST, SHARED):
        assert before.get(layer) == after.get(layer)
    assert before.get(PYTHON) != after.get(PYTHON)


def contents(inventory: Inventory, found: list[Part]) -> dict[str, list[tuple[bytes, bool]]]:
    return {
        part.component: [(inventory.paths[at], at in part.undated) for at in part.members if not isinstance(at, Action)]
        for part in found
    }


def test_a_deep_tree_is_no_problem() -> None:
    """How deep an image's directories are is its own choice: no recursion."""
    path = b"/opt" + b"/d" * 1500 + b"/file"
    assert component(path) == REST


def test_a_package_at_the_root_does_not_swallow_the_image() -> None:
    """A record that says it lies at / makes no environment of everything."""
    odd = Package(kind="conda", name="x", place=b"/")
    inventory, found = cut({b"/etc/passwd": None, b"/opt/x": odd})
    assert b"/etc/passwd" in own_members(inventory, next(part for part in found if part.component == SYSTEM))


def test_what_an_edit_makes_is_in_one_layer() -> None:
    """A made link comes in its place, with the directories above it."""
    inventory = image({b"/etc/alternatives/a": None, b"/etc/alternatives/z": None, b"/opt/x": None})
    plan = plan_for(inventory)
    action = Action(
        path=b"/etc/alternatives/m", at=None, data=b"x", mode=stat.S_IFLNK | 0o777, uid=0, gid=0, mtime_ns=0
    )
    found = parts(plan, inventory, replace(decide(plan, inventory), actions=(action,)))
    system = next(part for part in found if part.component == SYSTEM)
    names = [each.path if isinstance(each, Action) else inventory.paths[each] for each in system.members]
    assert names == [
        b"/etc",
        b"/etc/alternatives",
        b"/etc/alternatives/a",
        b"/etc/alternatives/m",
        b"/etc/alternatives/z",
    ]
    assert sum(part.own for part in found) == len(inventory) + 1


NPM = Package(kind="npm", name="left-pad", place=b"/opt/venv/share")
OWNED = st.dictionaries(
    st.sampled_from(
        [b"/usr/lib/libx.so", b"/opt/venv/share/node_modules/x", b"/opt/tool/x", b"/usr/local/lib/R/x", b"/home/j/y"]
    ),
    st.sampled_from([VENV, LIBRARY, NPM, Package(kind="component", name="tool"), Package(kind="dpkg", name="libx")]),
    min_size=1,
)


@given(OWNED)
def test_a_package_is_in_the_layers_of_its_files(owners: dict[bytes, Package]) -> None:
    """A bill of materials names the layers that the export makes, without the image at hand."""
    inventory, plan = planned(owners)
    found = {each.package: set(layers) for each, layers in zip(plan.packages, package_layers(plan), strict=True)}
    expected: dict[Package, set[str]] = {each.package: set() for each in plan.packages}
    for part in parts(plan, inventory, decide(plan, inventory)):
        for path in own_members(inventory, part):
            if path in owners:
                expected[owners[path]].add(part.component)
    assert found == expected


def test_a_package_of_which_nothing_stays_is_in_no_layer() -> None:
    """Nor are its files counted that go."""
    _, plan = planned({b"/opt/venv/share/x": NPM, b"/opt/tool/x": NPM})
    gone = len(plan.reasons)
    entries = tuple(each._replace(reason=gone) if each.path == b"/opt/tool/x" else each for each in plan.entries)
    reasons = (*plan.reasons, Reason(verdict=Verdict.DROP, kind=ReasonKind.UNUSED))
    layers = package_layers(replace(plan, entries=entries, reasons=reasons))
    by_name = {each.package.name: found for each, found in zip(plan.packages, layers, strict=True)}
    assert by_name["left-pad"] == (PYTHON,)
    assert by_name["dplyr"] == ()
