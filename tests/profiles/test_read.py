"""Profiles: TOML that says what to check and what to keep, and why; a mistake in one is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slimagent import checks
from slimagent.errors import DocumentError, UsageError
from slimagent.model.gate import Level
from slimagent.model.profile import (
    CheckSpec,
    CruftRule,
    DropRule,
    KeepRule,
    LevelRule,
    PackageRule,
    Profile,
    ProtectRule,
    Rules,
    StartRule,
)
from slimagent.paths.patterns import PathRules
from slimagent.profiles import read as profile
from slimagent.profiles import shipped as profiles

CHECK = '[[check]]\nkind = "command"\n'
CRUFT = "[[cruft]]\nname = 'docs'\npaths = ['/d']\n"
RULE = '[[keep]]\npath = "/opt/**"\nwhy = "asked for"\n'


def load(text: str, **others: str) -> Profile:
    """The profile `top` of that text; `others` are those that it can extend."""
    return profile.load("top", {"top": text, **others}.__getitem__)


def refusal(text: str, **others: str) -> str:
    """The message with which a text is refused: one line, with a hint."""
    with pytest.raises(UsageError) as caught:
        load(text, **others)
    assert caught.value.message.isprintable()
    assert caught.value.hint
    return caught.value.message


def test_a_profile_is_read_whole() -> None:
    """Every key has its place: checks with a limit and parameters of all kinds, rules with their reasons."""
    found = load(
        """
        name = "anything"
        description = "what it is for"
        [[check]]
        kind = "command"
        name = "smoke"
        seconds = 2.5
        command = ["/opt/smoke", "-v"]
        shell = false
        retries = 3
        note = "x"
        [[check]]
        kind = "jupyterlab"
        [[keep]]
        path = "/opt/**"
        why = "asked for"
        follow = true
        """
    )
    assert found == Profile(
        name="top",
        description="what it is for",
        parts=("top",),
        checks=(
            CheckSpec(
                kind="command",
                name="smoke",
                seconds=2.5,
                parameters={"command": ("/opt/smoke", "-v"), "shell": False, "retries": 3, "note": "x"},
            ),
            CheckSpec(kind="jupyterlab", name="jupyterlab", seconds=600.0),
        ),
        rules=Rules(keep=(KeepRule(pattern="/opt/**", why="asked for", follow=True),)),
    )


def test_what_extends_a_profile_says_its_variant_and_user() -> None:
    """Each is the last one said; the variants are three names of levels."""
    base = 'variant = "full"\nuser = "jovyan"'
    assert (load('extends = ["base"]', base=base).level, load(base).user) == ("cruft", "jovyan")
    found = load('extends = ["base"]\nvariant = "minimal"\nuser = "1000"', base=base)
    assert (found.level, found.user) == ("file", "1000")
    both = profile.combine("both", "", (load(base), load("")))
    assert (both.level, both.user) == ("cruft", "jovyan")
    assert "variant" in refusal('variant = "package"')


def test_an_empty_profile_is_one() -> None:
    """A profile may say nothing."""
    assert load("") == Profile(name="top", description="", parts=("top",))


def test_every_kind_of_rule_is_read() -> None:
    """Each table and key of the rules ends where the model has it."""
    found = load(
        """
        compiling = false
        budget = 0
        keep_cruft = ["docs", "docs"]
        [[keep]]
        path = "/p/**"
        why = "plugins"
        of_kept = true
        [[keep-package]]
        package = "python:jupyter*"
        why = "the front end"
        [[drop]]
        path = "/t/**"
        why = "tests"
        [[drop]]
        package = "python:pytest*"
        why = "tests, too"
        [[cruft]]
        name = "docs"
        paths = ["/d/**", "/e"]
        except = ["/d/copyright"]
        why = "nobody reads them"
        risk = "nobody can read them"
        unless = "compiling"
        when = "of-package"
        unless_packages = ["python:nbclassic", "*:voila*"]
        keep_out = true
        [[protect]]
        check = "gpu"
        packages = ["dpkg:cuda-*", "*:libcu?"]
        paths = ["/usr/local/cuda*/**"]
        why = "none here"
        [[start]]
        command = ["/init", "-x", ""]
        why = "the entry point"
        [[level]]
        path = "/opt/**"
        level = "cruft"
        why = "not a package"
        """
    )
    assert found.rules == Rules(
        keep=(KeepRule(pattern="/p/**", why="plugins", of_kept=True),),
        packages=(PackageRule(pattern="python:jupyter*", why="the front end"),),
        drop=(DropRule(what="/t/**", why="tests"), DropRule(what="python:pytest*", why="tests, too")),
        cruft=(
            CruftRule(
                name="docs",
                patterns=("/d/**", "/e"),
                excepted=("/d/copyright",),
                why="nobody reads them",
                risk="nobody can read them",
                unless="compiling",
                when="of-package",
                unless_packages=("python:nbclassic", "*:voila*"),
                keep_out=True,
            ),
        ),
        kept_cruft=("docs",),
        protect=(
            ProtectRule(
                check="gpu", packages=("dpkg:cuda-*", "*:libcu?"), paths=("/usr/local/cuda*/**",), why="none here"
            ),
        ),
        start=(StartRule(command=("/init", "-x", ""), why="the entry point"),),
        levels=(LevelRule(pattern="/opt/**", level="cruft", why="not a package"),),
        compiling=False,
        budget=0,
    )


def test_what_is_not_said_is_left_to_the_evidence() -> None:
    """A profile that says nothing of compiling or of a budget leaves both open; false and 0 are said."""
    assert (load("").rules.compiling, load("").rules.budget) == (None, None)
    base = "compiling = true\nbudget = 7\n"
    found = load('extends = ["base"]', base=base).rules
    assert (found.compiling, found.budget) == (True, 7)
    found = load('extends = ["base"]\ncompiling = false\nbudget = 0', base=base).rules
    assert (found.compiling, found.budget) == (False, 0)


def test_rules_of_an_extended_profile_are_replaced_by_their_key() -> None:
    """A rule for the same package, name, check or paths takes the place of the earlier; what stays is collected."""

    def text(why: str, *more: str) -> str:
        tables = (
            f"[[keep-package]]\npackage = 'r:x'\nwhy = '{why}'",
            f"[[cruft]]\nname = 'c'\npaths = ['/c']\nrisk = 'r'\nwhy = '{why}'",
            f"[[protect]]\ncheck = 'gpu'\npaths = ['/g']\nwhy = '{why}'",
            f"[[start]]\ncommand = ['/{why}']\nwhy = '{why}'",
            f"[[start]]\ncommand = ['/same']\nwhy = '{why}'",
            f"[[level]]\npath = '/l'\nlevel = 'file'\nwhy = '{why}'",
        )
        return "\n".join((*more, *tables))

    found = load(
        text("mine", "extends = ['base']", "keep_cruft = ['b', 'a']"), base=text("theirs", "keep_cruft = ['a']")
    ).rules
    for rules in (found.packages, found.cruft, found.protect, found.levels):
        assert [rule.why for rule in rules] == ["mine"]
    assert [rule.command for rule in found.start] == [("/theirs",), ("/same",), ("/mine",)]
    assert found.kept_cruft == ("a", "b")


def test_a_base_that_two_extend_does_not_take_back_what_one_replaced() -> None:
    """A profile that is extended by several is read once, before all of them."""
    found = load(
        'extends = ["left", "right"]',
        left='extends = ["base"]\n[[keep]]\npath = "/x"\nwhy = "left"',
        right='extends = ["base"]',
        base='[[keep]]\npath = "/x"\nwhy = "base"',
    )
    assert [rule.why for rule in found.rules.keep] == ["left"]


def test_cruft_is_kept_by_a_name_that_a_rule_has() -> None:
    """To keep cruft that no rule names is refused once the rules are complete: it would be dropped all the same."""
    one = load(CRUFT + "why = 'w'\nrisk = 'r'")
    mine = load('keep_cruft = ["docs"]')
    assert profile.combine("both", "", (one, mine)).rules.kept_cruft == ("docs",)
    with pytest.raises(UsageError, match=r"profile mine\.keep_cruft: no cruft rule is named 'docs'") as caught:
        profile.combine("mine", "", (mine,))
    assert caught.value.hint == "docs/cruft.md names the rules"


def test_what_is_extended_comes_first() -> None:
    """Checks and rules of an extended profile come before one's own, the description is one's own."""
    found = load(
        'extends = ["one", "two"]\ndescription = "mine"\n[[check]]\nkind = "c"',
        one='description = "one"\n[[check]]\nkind = "a"\n[[keep]]\npath = "/a"\nwhy = "a"',
        two='description = "two"\n[[check]]\nkind = "b"\n[[keep]]\npath = "/b"\nwhy = "b"',
    )
    assert [check.kind for check in found.checks] == ["a", "b", "c"]
    assert [rule.pattern for rule in found.rules.keep] == ["/a", "/b"]
    assert found.description == "mine"


def test_a_check_of_the_same_name_replaces_the_extended_one() -> None:
    """A check of a name, and a rule for a path, that the extended profile has takes their place."""
    found = load(
        'extends = ["base"]\n[[check]]\nkind = "b"\nname = "same"\n[[keep]]\npath = "/x"\nwhy = "mine"\nfollow = true',
        base='[[check]]\nkind = "a"\nname = "same"\nseconds = 5\n[[keep]]\npath = "/x"\nwhy = "theirs"',
    )
    assert found.checks == (CheckSpec(kind="b", name="same"),)
    assert found.rules.keep == (KeepRule(pattern="/x", why="mine", follow=True),)


def test_a_profile_that_is_extended_twice_counts_once() -> None:
    """Two extended profiles may extend the same third one."""
    found = load(
        'extends = ["left", "right"]', left='extends = ["base"]', right='extends = ["base"]', base=CHECK + RULE
    )
    assert len(found.checks) == len(found.rules.keep) == 1


def test_a_circle_is_named() -> None:
    """A profile that extends itself, through others or not, is refused with the way round."""
    assert "top -> top" in refusal('extends = ["top"]')
    assert "top -> one -> two -> one" in refusal('extends = ["one"]', one='extends = ["two"]', two='extends = ["one"]')


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name = ", "profile top: not TOML"),
        ("a" * 20 + "\n= = =", "not TOML"),
        ("x = " + "[" * 5000, "not TOML"),
        ("x = 1" + "0" * 5000, "not TOML"),
        ("descripton = 'x'", "profile top: unknown key 'descripton'"),
        ("'a\\nb' = 1\n\"c\\nd\" = 2", "unknown key"),
        ("description = 7", "profile top.description: expected str, found int"),
        ("extends = 'python'", "profile top.extends: expected list, found str"),
        ("extends = ['one', 7]", "profile top.extends: expected a list of strings"),
        ("check = 7", "profile top.check: expected list"),
        ("check = ['command']", "profile top: check[0] is not a table"),
        ("[check]\nkind = 'command'", "profile top.check: expected list, found dict"),
        ("[[check]]\nname = 'x'", "profile top: check[0]: kind is missing"),
        ("[[check]]\nkind = 7", "profile top: check[0].kind: expected str"),
        (CHECK + "name = []", "profile top: check[0].name: expected str"),
        (CHECK + "seconds = 'long'", "profile top: check[0].seconds: "),
        (CHECK + "seconds = true", "profile top: check[0].seconds: "),
        (CHECK + "seconds = 0", "profile top: check[0].seconds: "),
        (CHECK + "seconds = -1.5", "profile top: check[0].seconds: "),
        (CHECK + "seconds = nan", "profile top: check[0].seconds: "),
        (CHECK + "seconds = inf", "profile top: check[0].seconds: "),
        (CHECK + "command = [1, 2]", "profile top: check[0].command: a parameter is"),
        (CHECK + "when = 1979-05-27", "profile top: check[0].when: a parameter is"),
        (CHECK + "env = {A = 'b'}", "profile top: check[0].env: a parameter is"),
        (CHECK + CHECK, "profile top: check[1]: a second check named 'command'"),
        (RULE + "[[keep]]\npath = '/x'", "profile top: keep[1]: why is missing"),
        ("[[keep]]\nwhy = 'x'", "profile top: keep[0]: path is missing"),
        ("[[keep]]\npath = '/x'\nwhy = ' '", "profile top: keep[0].why: every rule says why"),
        ("[[keep]]\npath = 'etc/**'\nwhy = 'x'", "profile top: keep[0].path: 'etc/**' is not an absolute path"),
        ("[[keep]]\npath = '/a\\x41'\nwhy = 'x'", "profile top: keep[0].path: not an escaped path"),
        ("[[keep]]\npath = \"/a\\u0000\"\nwhy = 'x'", "profile top: keep[0].path: a path cannot hold a NUL"),
        (RULE + "follow = 1", "profile top: keep[0].follow: expected bool, found int"),
        (RULE + "folow = true", "profile top: keep[0]: unknown key 'folow'"),
        (RULE + "of_kept = 'x'", "profile top: keep[0].of_kept: expected bool, found str"),
        ("budget = true", "profile top.budget: expected int, found bool"),
        ("budget = 1.5", "profile top.budget: expected int, found float"),
        ("budget = -1", "profile top.budget: expected a number of bytes"),
        ("budget = 9223372036854775808", "profile top.budget: expected a number of bytes"),
        ("compiling = 1", "profile top.compiling: expected bool, found int"),
        ("keep_cruft = 'docs'", "profile top.keep_cruft: expected list, found str"),
        ("keep_cruft = [1]", "profile top.keep_cruft: expected a list of strings"),
        ("[[drop]]\npath = '/a'", "drop[0]: why is missing"),
        ("[[drop]]\nwhy = 'w'", "drop[0].path: give a path or a package, and not both"),
        ("[[drop]]\npath = '/a'\npackage = 'r:a'\nwhy = 'w'", "drop[0].path: give a path or a package, and not both"),
        ("[[drop]]\npath = 'a'\nwhy = 'w'", "drop[0].path: 'a' is not an absolute path"),
        ("[[drop]]\npackage = 'a'\nwhy = 'w'", "drop[0].package: 'a' is not KIND:NAME"),
        ("[[drop]]\npath = '/a'\nwhy = 'w'\n[[drop]]\npath = '/a'\nwhy = 'x'", "drop[1]: a second rule named '/a'"),
        ("[[keep-package]]\nwhy = 'w'", "profile top: keep-package[0]: package is missing"),
        ("[[keep-package]]\npackage = 'numpy'\nwhy = 'w'", "keep-package[0].package: 'numpy' is not KIND:NAME"),
        ("[[keep-package]]\npackage = 'pip:numpy'\nwhy = 'w'", "'pip:numpy' is not KIND:NAME"),
        ("[[keep-package]]\npackage = 'dpkg:'\nwhy = 'w'", "'dpkg:' is not KIND:NAME"),
        ("[[keep-package]]\npackage = 'dpkg:a b'\nwhy = 'w'", "'dpkg:a b' is not KIND:NAME"),
        ("[[keep-package]]\npackage = 'dpkg:a'", "keep-package[0]: why is missing"),
        (CRUFT + "why = 'w'", "profile top: cruft[0]: risk is missing"),
        (CRUFT + "risk = 'r'", "profile top: cruft[0]: why is missing"),
        (CRUFT + "why = 'w'\nrisk = ''", "profile top: cruft[0].risk: every rule says risk"),
        (
            CRUFT + "why = 'w'\nrisk = 'r'\nunless = 'never'",
            "cruft[0].unless: expected '' or 'compiling', found 'never'",
        ),
        (CRUFT + "why = 'w'\nrisk = 'r'\nwhen = 'now'", "profile top: cruft[0].when: expected"),
        (CRUFT + "why = 'w'\nrisk = 'r'\nexcept = ['x']", "cruft[0].except[0]: 'x' is not an absolute path"),
        (CRUFT + "why = 'w'\nrisk = 'r'\n" + CRUFT + "why = 'w'\nrisk = 'r'", "cruft[1]: a second rule named 'docs'"),
        ("[[cruft]]\nname = 'd'\nwhy = 'w'\nrisk = 'r'", "profile top: cruft[0].paths: a cruft rule names paths"),
        (
            "[[cruft]]\nname = 'My Docs'\npaths = ['/d']\nwhy = 'w'\nrisk = 'r'",
            "cruft[0].name: 'My Docs' must be lower-case letters",
        ),
        (
            "[[cruft]]\nname = 'd'\npaths = ['/d', 7]\nwhy = 'w'\nrisk = 'r'",
            "cruft[0].paths: expected a list of strings",
        ),
        ("[[protect]]\ncheck = 'gpu'\nwhy = 'w'", "profile top: protect[0]: neither packages nor paths"),
        ("[[protect]]\ncheck = ''\nwhy = 'w'\npaths = ['/x']", "profile top: protect[0].check: expected some text"),
        ("[[protect]]\ncheck = 'g'\nwhy = 'w'\npackages = ['x']", "protect[0].packages[0]: 'x' is not KIND:NAME"),
        ("[[start]]\ncommand = []\nwhy = 'w'", "profile top: start[0].command: expected a program"),
        ("[[start]]\ncommand = '/init'\nwhy = 'w'", "profile top: start[0].command: expected list, found str"),
        ("[[level]]\npath = '/x'\nlevel = 'all'\nwhy = 'w'", "level[0].level: expected 'file' or 'package' or 'cruft'"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, named: str) -> None:
    """Whatever is wrong in a profile, the message says which profile, where in it, and what."""
    assert named in refusal(text)


def test_a_mistake_in_an_extended_profile_is_its_own() -> None:
    """The profile that is named is the one that holds the mistake."""
    assert refusal('extends = ["one"]', one="x = 1").startswith("profile one: ")


_WORDS = ("[[check]]", "[[keep]]", "[check]", "kind = 'a'", "kind = 1", "name = 'n'", "seconds = 5", "seconds = 1e400")
_MORE = ("path = '/x/**'", "path = '\\'", "why = 'w'", "follow = false", "extends = []", "extends = {}", "x = [[1]]")
_RULES = ("[[cruft]]", "[[protect]]", "[[start]]", "[[level]]", "[[keep-package]]", "check = 'a'", "package = 'r:a'")
_VALUES = (
    "paths = ['/x']",
    "risk = 'r'",
    "level = 'file'",
    "command = ['a']",
    "budget = 1",
    "budget = -1",
    "paths = [{}]",
)
_LINES = st.lists(st.sampled_from((*_WORDS, *_MORE, *_RULES, *_VALUES)), max_size=8).map("\n".join)


@given(_LINES | st.text(max_size=40))
@example("[[check]]\nkind='a'\nseconds=[]")
@example('"\\u2028" = 1')
def test_any_text_is_a_profile_or_a_refusal(text: str) -> None:
    """No text makes anything but a profile or a UsageError of one line."""
    try:
        found = load(text)
    except UsageError as error:
        assert error.message.isprintable(), error.message
        assert error.hint
        return
    assert isinstance(found, Profile)
    assert all(rule.why.strip() for rule in found.rules.keep)


def test_profiles_combine_with_the_later_one_first_in_rank() -> None:
    """Of two checks of a name, and of two rules for a path, the later profile's counts."""
    one, two = (
        Profile(
            name=why,
            description="",
            checks=(CheckSpec(kind=why, name="x"),),
            rules=Rules(keep=(KeepRule(pattern="/p", why=why),)),
        )
        for why in ("one", "two")
    )
    both = profile.combine("both", "", (one, two))
    assert (both.checks, both.rules) == (two.checks, two.rules)
    assert profile.combine("both", "", (both, both)) == both


# The profiles that ship


@pytest.mark.parametrize("name", profiles.known())
def test_a_shipped_profile_loads(name: str) -> None:
    """Every shipped profile can be read, is described, knows its checks, and has a reason for each rule."""
    found = profiles.load(name)
    assert found.name == name
    assert found.description
    assert len({rule.pattern for rule in found.rules.keep}) == len(found.rules.keep)
    for rule in found.rules.keep:
        assert len(rule.why.split()) > 2, rule.pattern
    for check in found.checks:
        checks.validate(check)


def test_the_shipped_profiles() -> None:
    """Shipped are the base rules, and a profile for Python and for Jupyter, which includes Python's."""
    assert {"base", "python", "jupyter"} <= set(profiles.known())
    assert profiles.load("base").checks == ()
    assert all(check in profiles.load("jupyter").checks for check in profiles.load("python").checks)


@pytest.mark.parametrize("name", profiles.known())
def test_the_base_rules_are_in_every_profile(name: str) -> None:
    """What no image can do without stays by rule, whatever the profile."""
    rules = profiles.load(name).rules.keep
    match = PathRules([rule.pattern for rule in rules]).first
    for path in (
        b"/etc/passwd",
        b"/etc/ssl/certs/ca-certificates.crt",
        b"/usr/lib/x86_64-linux-gnu/libnss_files.so.2",
        b"/usr/lib64/libnss_dns.so.2",
        b"/lib/x86_64-linux-gnu/libgcc_s.so.1",
        b"/usr/lib/aarch64-linux-gnu/libresolv.so.2",
        b"/usr/bin/sh",
        b"/usr/bin/env",
    ):
        assert match(path) is not None, path


def test_a_profile_in_a_file(tmp_path: Path) -> None:
    """A profile can be a file of one's own, which extends a shipped one; the base rules are in it too."""
    file = tmp_path / "mine.toml"
    file.write_text('extends = ["python"]\n' + RULE)
    found = profiles.load(str(file))
    assert {rule.pattern for rule in profiles.load("base").rules.keep} | {"/opt/**"} == {
        rule.pattern for rule in found.rules.keep
    }
    assert found.checks == profiles.load("python").checks


def test_a_file_that_is_no_profile(tmp_path: Path) -> None:
    """A file that is not UTF-8, is not there, or cannot be one is refused in one line with a hint."""
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"description = 'caf\xe9'")
    with pytest.raises(UsageError, match=r"not UTF-8 text: .* at byte 18") as caught:
        profiles.load(str(latin))
    assert caught.value.hint == "save it as UTF-8"
    with pytest.raises(DocumentError, match="No such file"):
        profiles.load(str(tmp_path / "none.toml"))
    with pytest.raises(DocumentError, match="Is a directory"):
        profiles.load(str(tmp_path) + "/")
    odd = tmp_path / "odd.toml"
    odd.write_text('extends = ["./a\\u0000b"]')
    with pytest.raises(DocumentError, match="null"):
        profiles.load(str(odd))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    """An unknown profile is named, and the hint names those that there are."""
    with pytest.raises(UsageError, match="no such profile: 'jupiter'") as caught:
        profiles.load("jupiter")
    assert all(name in caught.value.hint for name in profiles.known())


def test_the_rules_of_a_gate_add_up() -> None:
    """Those of a profile that is extended come first; of two with the same text the later one counts."""
    base = "[[gate]]\nrule = 'size < 1 GB'\n[[gate]]\nrule = 'missed=0'\nlevel = 'warn'\n"
    found = load("extends = ['base']\n[[gate]]\nrule = 'missed = 0'\nwhy = 'proof'\n", base=base).gate
    assert [(rule.text, rule.level, rule.why, rule.where) for rule in found] == [
        ("size < 1 GB", Level.FAIL, "", "profile base: gate[0]"),
        ("missed = 0", Level.FAIL, "proof", "profile top: gate[0]"),
    ]


def test_a_wrong_rule_of_a_gate_is_named_with_its_place() -> None:
    assert refusal("[[gate]]\nrule = 'size < 1 GB'\n[[gate]]\nrule = 'sise < 1 GB'\n") == (
        "profile top: gate[1]: 'sise < 1 GB': no rule is about 'sise'"
    )
    assert refusal("[[gate]]\nrule = 7\n") == "profile top: gate[0].rule: expected str, found int"
    assert refusal("[[gate]]\nrule = 'size < 1 GB'\nlevel = 'stop'\n") == (
        "profile top: gate[0].level: expected 'fail' or 'warn', found 'stop'"
    )


def test_an_unknown_key_may_be_a_known_one() -> None:
    """Misspelt, it is answered with the right one."""
    with pytest.raises(UsageError) as error:
        load("levl = 'file'")
    assert error.value.hint == "did you mean level?"
