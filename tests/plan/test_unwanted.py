"""What the user drops goes, whatever needs it, and nothing else goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_images import Installed, access, files_kept, plan_of, reason, staying, write

from slimagent.model.profile import DropRule, KeepRule, PackageRule, Rules
from slimagent.model.reason import ReasonKind, Verdict
from slimagent.model.trace import How

LEVELS = ("file", "package", "cruft")


def dropping(*what: str, **more: object) -> Rules:
    return Rules(drop=tuple(DropRule(what=each, why="we ship none") for each in what), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", LEVELS)
def test_paths_go_although_a_step_used_them(tmp_path: Path, level: str) -> None:
    """At every level, owned or not; the directory goes with all that was in it. What a rule keeps stays."""
    for each in ("/opt/t/used", "/opt/t/deep/unowned", "/opt/t/kept", "/opt/beside"):
        write(tmp_path, each)
    packages = [Installed("dpkg:t", files=["/opt/t/used"])]
    keep = (KeepRule(pattern="/opt/t/kept", why="we need it"),)
    accesses = ["/opt/t/used", access("/opt/t/deep", How.LISTED), "/opt/beside"]
    made = plan_of(tmp_path, packages, accesses, dropping("/opt/t/**", keep=keep), level)
    assert reason(made, "/opt/t/used").kind == ReasonKind.UNWANTED
    assert reason(made, "/opt/t/used").detail == "we ship none"
    assert reason(made, "/opt/t/deep/unowned").verdict is Verdict.DROP
    assert reason(made, "/opt/t/deep").verdict is Verdict.DROP
    assert reason(made, "/opt/t/kept").verdict is reason(made, "/opt/t").verdict is Verdict.KEEP
    assert reason(made, "/opt/beside").verdict is Verdict.KEEP


@pytest.mark.parametrize("level", LEVELS)
def test_packages_go_although_others_require_them(tmp_path: Path, level: str) -> None:
    """With their records. A file that another package owns, too, stays, and what only they required may go."""
    for each in ("/lib/a", "/lib/b", "/lib/both", "/lib/c", "/db/b"):
        write(tmp_path, each)
    packages = [
        Installed("dpkg:a", files=["/lib/a", "/lib/both"], requires=["dpkg:b"]),
        Installed("dpkg:b", files=["/lib/b", "/lib/both"], identity=["/db/b"], requires=["dpkg:c"], essential=True),
        Installed("dpkg:c", files=["/lib/c"]),
    ]
    rules = dropping("dpkg:b", packages=(PackageRule(pattern="dpkg:b", why="all of it"),))
    made = plan_of(tmp_path, packages, ["/lib/a", "/lib/b", "/lib/both"], rules, level)
    assert "dpkg:b" not in staying(made)
    (b,) = (each for each in made.packages if each.package.name == "b")
    assert made.reasons[b.reason].kind == ReasonKind.UNWANTED
    kept = files_kept(made, tmp_path)
    assert {"/lib/a", "/lib/both"} <= kept
    assert not {"/lib/b", "/db/b"} & kept
    assert ("/lib/c" in kept) is (level == "cruft")


NAMES = st.sampled_from(["/a/x", "/a/y", "/a/b/z", "/c/x", "/c/d/e/f"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.sets(NAMES), st.sets(NAMES), st.sets(st.sampled_from(["/a/**", "/a/*", "/c/d/**", "/**/x"])),
    st.sampled_from(LEVELS),
)  # fmt: skip
def test_no_kept_path_lies_in_a_dropped_directory(
    tmp_path_factory: pytest.TempPathFactory, used: set[str], kept: set[str], dropped: set[str], level: str
) -> None:
    """And without a rule to drop, nothing changes."""
    root = tmp_path_factory.mktemp("image")
    for each in ("/a/x", "/a/y", "/a/b/z", "/c/x", "/c/d/e/f"):
        write(root, each)
    keep = tuple(KeepRule(pattern=each, why="kept") for each in sorted(kept))
    made = plan_of(root, (), sorted(used), dropping(*sorted(dropped), keep=keep), level)
    verdicts = {entry.path: made.reasons[entry.reason].verdict for entry in made.entries}
    for path, verdict in verdicts.items():
        if verdict is Verdict.KEEP and path != b"/":
            assert verdicts[path.rpartition(b"/")[0] or b"/"] is Verdict.KEEP
    assert all(verdicts[each.encode()] is Verdict.KEEP for each in kept)
    if not dropped:
        assert made == plan_of(root, (), sorted(used), Rules(keep=keep), level)
