"""Whom commands run as: what a Dockerfile's USER can say."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from slimagent.errors import UsageError
from slimagent.model.user import User
from slimagent.workflows.session import configured_environment, to_read_all, user_named

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
NOBODY = pwd.getpwnam("nobody")


@needs_root
@pytest.mark.parametrize("name", ["nobody", str(NOBODY.pw_uid)])
def test_an_account_by_name_and_by_number(name: str) -> None:
    """With its own group and home folder."""
    user = user_named(name)
    assert user is not None
    assert (user.name, user.uid, user.gid, user.home) == ("nobody", NOBODY.pw_uid, NOBODY.pw_gid, NOBODY.pw_dir)


@needs_root
@pytest.mark.parametrize("group", [grp.getgrgid(0).gr_name, "0"])
def test_a_group_takes_the_place_of_the_accounts_own(group: str) -> None:
    """As `USER nobody:root`: that group, and no other."""
    user = user_named(f"nobody:{group}")
    assert user is not None
    assert (user.uid, user.gid, user.groups) == (NOBODY.pw_uid, 0, (0,))


@needs_root
def test_a_number_need_not_be_an_account() -> None:
    """It has no name, no home and is in group 0, as Docker has it."""
    user = user_named("54321")
    assert user is not None
    assert (user.name, user.uid, user.gid, user.groups, user.home) == ("54321", 54321, 0, (0,), "/")


@pytest.mark.parametrize("name", ["no-such-user", "²", "4294967295", "99999999999", ":0", "", "0:no-such-group"])
def test_what_is_no_user_is_refused(name: str) -> None:
    """The largest number stands for none."""
    with pytest.raises(UsageError, match=r"no such (user|group) here"):
        user_named(name)


def test_ourselves_is_nobody_to_become() -> None:
    """And so is no user at all."""
    assert user_named(str(os.geteuid())) is None
    assert user_named(None) is None


@pytest.mark.parametrize(
    ("uid", "capabilities", "said"),
    [
        (1000, 0, "run as root"),
        (0, 0, "--cap-add DAC_OVERRIDE"),
        (0, 1 << 1, "name a directory"),  # CAP_DAC_OVERRIDE
        (0, 1 << 2, "name a directory"),  # CAP_DAC_READ_SEARCH
    ],
)
def test_who_cannot_read_all_is_told_what_they_lack(uid: int, capabilities: int, said: str) -> None:
    """An ordinary user lacks root; a root of `--cap-drop=ALL` lacks a capability, and is not told to be root."""
    hint = to_read_all(uid, capabilities)
    assert hint.startswith(said) or said in hint
    assert ("run as root" in hint) is (uid != 0)
    assert "--scope" in hint


SOMEBODY = User(name="somebody", uid=1000, gid=1000, groups=(1000,), home="/home/somebody")
ROOTS_HOME = pwd.getpwuid(0).pw_dir


@pytest.mark.parametrize(
    ("home", "user", "configured", "expected"),
    [
        (ROOTS_HOME, SOMEBODY, (), "/home/somebody"),  # the engine set it for root, as whom we run
        ("/", SOMEBODY, (), "/home/somebody"),
        (None, SOMEBODY, (), "/home/somebody"),
        ("/given", SOMEBODY, (), "/given"),  # with `--env HOME=/given`
        (ROOTS_HOME, SOMEBODY, ("PATH=/bin", f"HOME={ROOTS_HOME}"), ROOTS_HOME),  # the image wants it so
        (ROOTS_HOME, SOMEBODY, ("HOMELY=1",), "/home/somebody"),
        (ROOTS_HOME, None, (), ROOTS_HOME),
        (None, None, (), None),
    ],
)
def test_the_home_of_the_image_s_own_process(
    monkeypatch: pytest.MonkeyPatch,
    home: str | None,
    user: User | None,
    configured: tuple[str, ...],
    expected: str | None,
) -> None:
    """As an engine sets it: the user's, unless somebody else has; and nothing of ours, nor USER."""
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("USER", "as it was")
    monkeypatch.setenv("SLIMAGENT_HOME", "/agent")
    env = configured_environment(user, configured)
    assert (env.get("HOME"), env["USER"], "SLIMAGENT_HOME" in env) == (expected, "as it was", False)
