"""What a mount hides: a trace made behind mounts, and a plan of the image without them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from plan_images import Installed, access, evidence_for, kinds, plan_of, reader, with_run

from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.owners import owners
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.profile import Rules
from slimagent.model.reason import Verdict
from slimagent.model.trace import How, Trace
from slimagent.plan.decide import decide
from slimagent.trace.watcher import Observed
from slimagent.workflows.session import Session, seen_from
from slimagent.workflows.steps import Watched
from slimagent.workflows.tracing import recorded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image with a directory of data, a file beside it, and a directory that is all alone."""
    base = tmp_path / "root"
    for path in ("srv/app/data/used", "srv/app/data/deep/other", "srv/app/beside", "opt/alone/deep/file", "usr/big"):
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text("x" * 100)
    return base


def behind(root: Path, *mounts: str) -> Inventory:
    """The image as it is scanned where something else is mounted at these paths; an engine creates what is missing."""
    whole = scan(os.fsencode(root.resolve()))
    for mount in mounts:
        (root / mount.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        if not (root / mount.lstrip("/")).exists():
            (root / mount.lstrip("/")).mkdir()
    made = scan(os.fsencode(root.resolve()))
    places = tuple(map(os.fsencode, mounts))
    seen = Inventory(root=made.root, scopes=made.scopes, mount_points=set(places), targets={})
    for at, path in enumerate(made.paths):
        is_file = path in whole.index and not os.path.isdir(made.root + path)
        if any(path.startswith(place + b"/") or (path == place and is_file) for place in places):
            continue
        seen.index[path] = len(seen.paths)
        if at in made.targets:
            seen.targets[len(seen.paths)] = made.targets[at]
        seen.paths.append(path)
        for column in ("modes", "uids", "gids", "sizes", "mtimes", "ctimes", "devices", "inodes", "links"):
            getattr(seen, column).append(getattr(made, column)[at])
    return seen


def traced(inventory: Inventory, *paths: str, **session: object) -> Trace:
    """The trace of a run that opened these paths, in an image that is seen so."""
    observed = Observed(accesses={os.fsencode(path): (How.OPENED, (0,)) for path in paths}, losses=())
    watched = Watched(
        results=(),
        observed=observed,
        backend="seccomp",
        passed_over=(),
        blind_spots=(),
        no_new_privileges=True,
        asked_ports=(),
        status=0,
        interrupted=False,
    )
    return recorded(watched, Session(**session), inventory, inventory)  # type: ignore[arg-type]


def planned(root: Path, trace: Trace) -> Plan:
    """The plan at level `file` of the image at `root`, which nothing hides."""
    evidence = evidence_for(root)
    mark = fingerprint(evidence.inventory, trace.mounts)
    return decide(dataclasses.replace(evidence, trace=trace, fingerprint=mark), "file")


@pytest.mark.parametrize(
    "mounts",
    [
        ("/srv/app/data",),
        ("/srv/app/data", "/srv/app/data/deep"),
        ("/srv/app/beside",),
        ("/opt/alone/deep/file",),
        ("/opt/alone", "/usr/big"),
    ],
)
def test_the_image_is_the_same_with_and_without_mounts(root: Path, mounts: tuple[str, ...]) -> None:
    """Directories, files, and one mount in another: what they hide does not count, all else does."""
    trace = traced(behind(root, *mounts))
    assert trace.mounts == tuple(sorted(map(os.fsencode, mounts)))
    whole = scan(os.fsencode(root.resolve()))
    assert fingerprint(whole, trace.mounts) == trace.before
    (root / "srv/more").touch()
    assert fingerprint(scan(whole.root), trace.mounts) != trace.before


@pytest.mark.parametrize("mount", ["/new", "/srv/new", "/opt/new/deep/place"])
def test_mount_points_that_the_engine_creates_are_not_the_image_s(root: Path, mount: str) -> None:
    """Neither the place itself nor the directories that lead there."""
    whole = scan(os.fsencode(root.resolve()))
    trace = traced(behind(root, mount))
    assert fingerprint(whole, trace.mounts) == trace.before
    assert trace.before == traced(whole).before


def test_what_was_asked_for_below_a_mount_is_asked_for_in_the_image(root: Path) -> None:
    """It is a use; the rest below the mount stays because nobody could see it, and with it the tree that it is in."""
    trace = traced(behind(root, "/srv/app/data"), "/srv/app/data/used", "/srv/app/data/only-mounted", "/proc/self/maps")
    assert [each.path for each in trace.accesses] == [b"/srv/app/data/only-mounted", b"/srv/app/data/used"]
    plan = planned(root, trace)
    assert kinds(plan, "/srv/app/data/used", "/srv/app/data/deep/other") == ["opened", "hidden"]
    assert kinds(plan, "/srv/app/beside", "/usr/big") == ["together", "unused"]
    assert plan.mounts == (b"/srv/app/data",)


def test_a_file_that_a_mounted_file_hides_stays(root: Path) -> None:
    """Used or not."""
    inventory = behind(root, "/srv/app/beside")
    assert kinds(planned(root, traced(inventory)), "/srv/app/beside") == ["hidden"]
    assert kinds(planned(root, traced(inventory, "/srv/app/beside")), "/srv/app/beside") == ["opened"]


def test_links_of_a_mount_that_lead_into_the_image_are_followed(root: Path) -> None:
    """What they lead to was used, over all links on the way; a link into the agent is no evidence."""
    (root / "srv/app/link").symlink_to(f"{root}/usr/big")
    inventory = behind(root, "/mine")
    (root / "mine/link").symlink_to(f"{root}/srv/app/link")
    base = os.fsencode(root.resolve())
    seen = dataclasses.replace(inventory, scopes=(b"/",), mount_points={base + b"/mine"})
    seen.index = {base + path: at for path, at in inventory.index.items()}
    trace = traced(seen, f"{root}/mine/link")
    assert [each.path[len(base) :] for each in trace.accesses] == [b"/mine/link", b"/srv/app/link", b"/usr/big"]
    assert all(each.found for each in trace.accesses)
    assert traced(seen, f"{root}/mine/link", excluded=(base + b"/usr",)).accesses == ()


def test_a_link_of_the_image_to_a_device_is_the_image_s(root: Path) -> None:
    """A log that leads to /dev/stdout; the device itself is the kernel's."""
    (root / "srv/app/log").symlink_to("/dev/stdout")
    inventory = behind(root)
    base = os.fsencode(root.resolve())
    seen = dataclasses.replace(inventory, scopes=(b"/",), mount_points=set())
    seen.index = {base + path: at for path, at in inventory.index.items()}
    trace = traced(seen, f"{root}/srv/app/log", "/dev/stdout")
    assert [each.path for each in trace.accesses] == [base + b"/srv/app/log"]


def test_packages_of_hidden_files_are_needed(root: Path) -> None:
    """Nobody knows whether they were, so what they require stays as well."""
    packages = (
        Installed("dpkg:app", ["/srv/app/data/used"], requires=["dpkg:library"]),
        Installed("dpkg:library", ["/usr/big"]),
        Installed("dpkg:other", ["/srv/app/beside"]),
    )
    evidence = evidence_for(root)
    trace = traced(behind(root, "/srv/app/data"))
    made = decide(
        dataclasses.replace(
            evidence,
            trace=trace,
            fingerprint=trace.before,
            owners=owners(evidence.inventory, (reader(packages),)),
            rules=Rules(),
        ),
        "package",
    )
    assert kinds(made, "/srv/app/data/used", "/usr/big", "/srv/app/beside") == ["hidden", "package", "package-gone"]
    assert plan_of(root, packages).mounts == ()


def test_more_mounts_only_keep_more(root: Path) -> None:
    """A run behind another mount adds to what stays, whatever the order."""
    plain = evidence_for(root, [access("/usr/big")])
    kept = []
    for mounts in ((), (b"/opt",), (b"/opt", b"/srv/app/data"), (b"/opt", b"/srv", b"/srv/app/data")):
        plan = decide(dataclasses.replace(plain, trace=with_run(plain.trace, mounts=mounts)), "file")
        kept.append({each.path for each in plan.entries if plan.reasons[each.reason].verdict is Verdict.KEEP})
    assert kept[0] < kept[1] < kept[2] == kept[3]


def test_a_place_is_named_without_links_inside_the_image(tmp_path: Path) -> None:
    """As a mount point is: absolute links start at the image's root."""
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    assert seen_from(os.fsencode(tmp_path.resolve()), b"/var/run/x/") == b"/run/x"
