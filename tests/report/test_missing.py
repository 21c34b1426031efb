"""From an error to what was removed: what messages name, which paths fit, what brings them back."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.inventory import Package, PackageKind
from slimagent.model.missing import Missing, Wanted, WantedKind
from slimagent.model.removed import Gone, GoneKind, Lead, Owner, Removed, Why
from slimagent.profiles.read import load
from slimagent.report.missing.answers import answered, lines
from slimagent.report.missing.messages import mentioned_in, wanted_in
from slimagent.report.missing.remedies import ways
from slimagent.report.missing.search import search

SITE = b"/opt/venv/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("sh: 1: git: not found", WantedKind.COMMAND, "git"),
        ("zsh: command not found: git", WantedKind.COMMAND, "git"),
        ("git: not found", WantedKind.COMMAND, "git"),
        ("tar (child): xz: Cannot exec: No such file or directory", WantedKind.COMMAND, "xz"),
        ("error: cannot run ssh: No such file or directory", WantedKind.COMMAND, "ssh"),
        ("gcc: fatal error: cannot execute 'cc1plus': execvp: No such file", WantedKind.PATH, "cc1plus"),
        ("which: no git in (/usr/local/bin:/usr/bin)", WantedKind.COMMAND, "git"),
        ("/bin/sh: git: not found", WantedKind.COMMAND, "git"),
        ("xargs: git: No such file or directory", WantedKind.COMMAND, "git"),
        ("Error loading shared library libfoo.so.1: No such file (needed by x)", WantedKind.LIBRARY, "libfoo.so.1"),
        ("OSError: /opt/x.so: cannot open shared object file: No such file", WantedKind.PATH, "/opt/x.so"),
        ("Exception java.lang.NoClassDefFoundError: org/apache/Foo", WantedKind.JAVA, "org.apache.Foo"),
        ("Error: Could not find or load main class a.b.C", WantedKind.JAVA, "a.b.C"),
        ("bash: warning: setlocale: LC_ALL: cannot change locale (de_DE.UTF-8)", WantedKind.LOCALE, "de_DE.UTF-8"),
        ("panic: unknown time zone Europe/Berlin", WantedKind.TIME_ZONE, "Europe/Berlin"),
        ("findfont: Font family 'Arial' not found.", WantedKind.FONT, "Arial"),
        ("open /etc/x.conf: no such file or directory", WantedKind.PATH, "/etc/x.conf"),
        ('openat(AT_FDCWD, "/a\\"b\\tc", O_RDONLY) = -1 ENOENT (No such file)', WantedKind.PATH, '/a"b\tc'),
        ('stat("/caf\\303\\251", 0x7f) = -1 ENOENT (No such file)', WantedKind.PATH, "/caf\u00e9"),
        ("cat: '/a b': No such file or directory", WantedKind.PATH, "/a b"),
        ("ImportError: cannot import name 'b' from 'a' (/x/a.py)", WantedKind.PYTHON, "a:b"),
        ("LookupError: unknown encoding: iso-8859-2", WantedKind.PYTHON, "encodings:iso_8859_2"),
        ("No package metadata was found for typing-extensions", WantedKind.PYTHON, "typing_extensions"),
        ("The 'requests>=2' distribution was not found and is required", WantedKind.PYTHON, "requests"),
        ("Fehler: es gibt kein Paket namens \u2018sf\u2019", WantedKind.R, "sf"),
        (
            "ERROR: dependencies \u2018a\u2019, \u2018sf\u2019 are not available for package \u2018b\u2019",
            WantedKind.R,
            "sf",
        ),
        ("package \u2018sf\u2019 required by \u2018stars\u2019 could not be found", WantedKind.R, "sf"),
        ("bash: git: Kommando nicht gefunden.", WantedKind.COMMAND, "git"),
        ("fish: Unknown command: git", WantedKind.COMMAND, "git"),
        ("/usr/lib/R/bin/config: 1: eval: make: not found", WantedKind.COMMAND, "make"),
        ("[FATAL tini (7)] exec gcc failed: No such file or directory", WantedKind.COMMAND, "gcc"),
        ("Error: spawn git ENOENT", WantedKind.COMMAND, "git"),
        ("crun: executable file `git` not found in $PATH", WantedKind.COMMAND, "git"),
        ("env: can't execute 'git': No such file or directory", WantedKind.COMMAND, "git"),
        ("gcc: error trying to exec 'cc1plus': execvp: No such file", WantedKind.PATH, "cc1plus"),
        ("Errno::ENOENT: No such file or directory - git", WantedKind.COMMAND, "git"),
        ("git: 'lfs' is not a git command. See 'git --help'.", WantedKind.COMMAND, "git-lfs"),
        ("error: cannot run git-lfs: No such file or directory", WantedKind.COMMAND, "git-lfs"),
        ("fatal: Unable to find remote helper for 'https'", WantedKind.PATH, "git-remote-https"),
        ('dlopen failed: library "libGL.so.1" not found', WantedKind.LIBRARY, "libGL.so.1"),
        ("could not load library libGL.so.1: no such file", WantedKind.LIBRARY, "libGL.so.1"),
        ("/usr/bin/ld: cannot find -lz: No such file or directory", WantedKind.PATH, "libz.a"),
        ("Can't locate loadable object for module Data::X in @INC (@INC", WantedKind.PATH, "auto/Data/X/X.so"),
        ("cannot load such file -- nokogiri (LoadError)", WantedKind.PATH, "nokogiri.rb"),
        ("\tno file '/usr/share/lua/5.4/x.lua'", WantedKind.PATH, "/usr/share/lua/5.4/x.lua"),
        (
            "Error: Cannot find module './x'\nRequire stack:\n- /srv/a/b.js\n- /srv/c.js",
            WantedKind.PATH,
            "/srv/a/./x.js",
        ),
        ('perl: warning: LANG = "de_DE.UTF-8"', WantedKind.LOCALE, "de_DE.UTF-8"),
        ("cannot open locale definition file `de_DE': No such file", WantedKind.PATH, "i18n/locales/de_DE"),
        ("locale::facet::_S_create_c_locale name not valid", WantedKind.LOCALE, ""),
        ("'xterm-256color': unknown terminal type.", WantedKind.PATH, "terminfo/x/xterm-256color"),
        ("Error opening terminal: screen.", WantedKind.PATH, "terminfo/s/screen"),
        ("findfont: Font family ['Liberation Sans'] not found.", WantedKind.FONT, "Liberation Sans"),
    ],
)
def test_a_message_names_what_was_wanted(text: str, kind: WantedKind, name: str) -> None:
    """Forms that no program of the container tests prints."""
    assert Wanted(kind, name.encode()) in wanted_in(f"before\n{text}\nafter".encode())


def test_a_shell_is_not_what_it_misses() -> None:
    """Nor is a line's number."""
    assert wanted_in(b"zsh: command not found: git") == (Wanted(WantedKind.COMMAND, b"git"),)
    assert wanted_in(b"(eval):1: command not found: git") == (Wanted(WantedKind.COMMAND, b"git"),)


def test_the_end_of_a_long_text_counts() -> None:
    """A program's error is the last thing that it says."""
    said = b"compiling\n" * 300_000 + b"ModuleNotFoundError: No module named 'yaml'\n"
    assert wanted_in(said) == (Wanted(WantedKind.PYTHON, b"yaml"),)


def test_what_a_text_only_mentions() -> None:
    """Absolute paths, or the one word that the text is."""
    curl = b"curl: (77) error setting certificate file: /etc/ssl/certs/ca-certificates.crt"
    assert Wanted(WantedKind.PATH, b"/etc/ssl/certs/ca-certificates.crt") in mentioned_in(curl)
    assert Wanted(WantedKind.COMMAND, b"gcc") in mentioned_in(b" gcc\n")
    assert mentioned_in(b"all is well, and / is the root") == ()


def test_a_text_that_complains_of_nothing_names_nothing() -> None:
    """Also with paths in it."""
    assert wanted_in(b'compiled /usr/lib/x.c in 3 s\nopenat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3\n') == ()


@given(st.binary(max_size=300))
def test_any_text_is_read(text: bytes) -> None:
    """It comes from a program of the image."""
    for each in wanted_in(text + b": No such file or directory"):
        assert b"\0" not in each.name


@pytest.mark.parametrize(
    "piece",
    [
        b"'",
        b"/",
        b"a: ",
        b"x: not found ",
        b'"\\',
        b"No module named ",
        b"cannot open\n",
        b"dependency ",
        b"The 'a",
        b"load library x",
        b"unknown command ",
    ],
)
def test_a_hostile_text_takes_no_time(piece: bytes) -> None:
    """A mebibyte of what the patterns like."""
    began = time.process_time()
    wanted_in(piece * ((1 << 20) // len(piece)))
    assert time.process_time() - began < 10


def one(kind: WantedKind, name: bytes, *gone: Gone, leads: tuple[Lead, ...] = ()) -> list[bytes]:
    """The paths that answer, of all that went."""
    wanted = Wanted(kind, name)
    return [each.path for each in search(lambda: gone, leads, [wanted]).get(wanted, [])]


def file(path: bytes) -> Gone:
    return Gone(path, GoneKind.FILE, 1, 0)


def test_a_module_is_found_where_python_looks_for_it() -> None:
    """The module before the package, a real package before a namesake, no bytecode."""
    yaml = [file(SITE + b"/yaml/__init__.py"), file(SITE + b"/yaml/cyaml.py"), file(b"/srv/yaml/cyaml.py")]
    cached = file(SITE + b"/yaml/__pycache__/cyaml.cpython-311.pyc")
    assert one(WantedKind.PYTHON, b"yaml.cyaml", *yaml, cached) == [SITE + b"/yaml/cyaml.py"]
    assert one(WantedKind.PYTHON, b"yaml", *yaml) == [SITE + b"/yaml/__init__.py"]
    assert one(WantedKind.PYTHON, b"yaml.other", *yaml) == [SITE + b"/yaml/__init__.py"]
    extension = file(SITE + b"/yaml/_yaml.cpython-311-x86_64-linux-gnu.so")
    assert one(WantedKind.PYTHON, b"yaml._yaml", *yaml, extension) == [extension.path]
    assert one(WantedKind.PYTHON, b"nowhere", *yaml, extension) == []


def test_a_namesake_of_a_module_is_no_module() -> None:
    """A package's own part, a header, a stub; but a module of the user's own application is one, wherever it lies."""
    torch = [file(SITE + b"/torch/utils/__init__.py"), file(SITE + b"/numpy/__init__.pxd")]
    others = [file(b"/usr/include/boost/utils.hpp"), Gone(b"/usr/include/boost/numpy", GoneKind.DIRECTORY, 0, 0)]
    assert one(WantedKind.PYTHON, b"utils", *torch, *others) == []
    assert one(WantedKind.PYTHON, b"numpy:foo", *torch, *others) == []
    assert one(WantedKind.PYTHON, b"utils", *torch, file(b"/srv/app/utils.py")) == [b"/srv/app/utils.py"]
    assert one(WantedKind.PYTHON, b"torch:utils", *torch) == [SITE + b"/torch/utils/__init__.py"]


def test_a_path_is_found_over_the_links_of_the_image() -> None:
    """As the kernel would: links that stay lead to what went, and a link that went comes with its end."""
    gone = (file(b"/usr/lib/x/libx.so.1.2"), file(b"/usr/bin/vim.basic"))
    leads = (
        Lead(b"/lib", b"/usr/lib"),
        Lead(b"/usr/lib/libx.so.1", b"/usr/lib/x/libx.so.1.2"),
        Lead(b"/usr/bin/vi", b"/usr/bin/vim.basic"),
    )
    assert one(WantedKind.PATH, b"/lib/x/libx.so.1.2", *gone, leads=leads) == [b"/usr/lib/x/libx.so.1.2"]
    assert one(WantedKind.PATH, b"/lib/x/../libx.so.1", *gone, leads=leads) == [b"/usr/lib/x/libx.so.1.2"]
    assert one(WantedKind.LIBRARY, b"libx.so.1", *gone, leads=leads) == [b"/usr/lib/x/libx.so.1.2"]
    assert one(WantedKind.COMMAND, b"vi", *gone, leads=leads) == [b"/usr/bin/vim.basic"]
    link = Gone(b"/usr/bin/vi", GoneKind.LINK, 0, 0, target=b"vim.basic")
    assert one(WantedKind.COMMAND, b"vi", link, *gone) == [b"/usr/bin/vi", b"/usr/bin/vim.basic"]


def test_a_path_is_found_over_links_that_went() -> None:
    """The link, what it leads to, and the file; also over two of them."""
    gone = (
        Gone(b"/usr/include/mysql", GoneKind.LINK, 0, 0, target=b"mariadb"),
        Gone(b"/usr/include/mariadb", GoneKind.DIRECTORY, 0, 0),
        file(b"/usr/include/mariadb/errmsg.h"),
        Gone(b"/a/l", GoneKind.LINK, 0, 0, target=b"/d/f"),
        Gone(b"/d", GoneKind.LINK, 0, 0, target=b"real"),
        file(b"/real/f"),
    )
    assert one(WantedKind.PATH, b"/usr/include/mysql/errmsg.h", *gone) == [
        b"/usr/include/mysql",
        b"/usr/include/mariadb",
        b"/usr/include/mariadb/errmsg.h",
    ]
    assert sorted(one(WantedKind.PATH, b"/a/l", *gone)) == [b"/a/l", b"/d", b"/real/f"]


def test_a_directory_that_went_explains_a_file_that_was_to_be_made() -> None:
    """Only where a message names the file: a lookup in vain is no reason."""
    wanted, directory = Wanted(WantedKind.PATH, b"/var/log/app/x.log"), Gone(b"/var/log/app", GoneKind.DIRECTORY, 0, 0)
    assert search(lambda: [directory], (), [wanted], above=True) == {wanted: [directory]}
    assert search(lambda: [directory], (), [wanted]) == {}


def test_many_names_cost_no_more_than_the_list() -> None:
    """Each path of the list is compared only with what it can be."""
    gone = [file(b"/srv/node_modules/p%d/lib/x%d.js" % (at % 500, at)) for at in range(20_000)]
    wanted = [Wanted(kind, b"q%d" % at) for at in range(500) for kind in (WantedKind.NODE, WantedKind.JAVA)]
    began = time.process_time()
    assert search(lambda: gone, (), wanted) == {}
    assert time.process_time() - began < 10


def test_a_relative_path_is_found_by_its_end() -> None:
    """Where the program was is unknown."""
    gone = (file(b"/srv/app/data/x.csv"), file(b"/srv/app/other-x.csv"))
    assert one(WantedKind.PATH, b"data/x.csv", *gone) == [b"/srv/app/data/x.csv"]
    assert one(WantedKind.PATH, b"../x.csv", *gone) == [b"/srv/app/data/x.csv"]


def test_other_kinds_are_found_by_their_customs() -> None:
    """Jars by the words in their names, time zones, locales and fonts by their places."""
    jar = file(b"/opt/app/lib/commons-lang3-3.12.jar")
    assert one(WantedKind.JAVA, b"org.apache.commons.lang3.StringUtils", jar, file(b"/opt/guava.jar")) == [jar.path]
    zone = file(b"/usr/share/zoneinfo/Europe/Berlin")
    assert one(WantedKind.TIME_ZONE, b"Europe/Berlin", zone, file(b"/x/Berlin")) == [zone.path]
    locale = file(b"/usr/lib/locale/de_DE.utf8")
    boost = file(b"/usr/include/boost/locale/encoding.hpp")
    assert one(WantedKind.LOCALE, b"", locale, boost) == [locale.path]
    assert one(WantedKind.FONT, "\u601d\u6e90".encode(), file(b"/x/d5b0.ttf")) == []
    assert one(WantedKind.FONT, b"D", file(b"/x/d5b0.ttf"), file(b"/x/D.ttf")) == [b"/x/D.ttf"]
    assert one(WantedKind.LOCALE, b"de_DE.UTF-8", locale, file(b"/usr/lib/locale/fr_FR.utf8")) == [locale.path]
    font = file(b"/usr/share/fonts/truetype/DejaVuSans-Bold.ttf")
    assert one(WantedKind.FONT, b"DejaVu Sans", font, file(b"/usr/share/fonts/Arial.ttf")) == [font.path]


ODD = Package(
    kind=PackageKind.PYTHON, name="a b; rm -rf /", version="1 $(x)", place=b"/opt/x y/lib/python3.11/site-packages"
)
HEAD = Removed(
    tool="slimagent 0",
    plan="dd",
    level="file",
    image="app",
    image_id="",
    paths=1,
    bytes=1,
    owners=(Owner(ODD, True), Owner(replace(ODD, kind=PackageKind.DPKG), False)),
    reasons=(Why("unused", "no test asked for it"), Why("folder-gone", "nothing is left in it")),
    leads=(),
)


def answers(gone: Gone) -> Missing:
    wanted = Wanted(WantedKind.PATH, gone.path)
    return answered(HEAD, (wanted,), search(lambda: (gone,), (), (wanted,)))


@pytest.mark.parametrize("owner", [-1, 0, 1])
@pytest.mark.parametrize("path", [b"/a b/$(x)", b'/new\nline"', b"/latin1-\xe9", b"/star*"])
def test_names_of_the_image_do_no_harm_when_pasted(path: bytes, owner: int) -> None:
    """Commands are words of a shell, and the rule is a profile that can be read."""
    (answer,) = answers(Gone(path, GoneKind.FILE, 1, 0, owner)).answers
    for command in (answer.restore, *answer.ways):
        for part in command.partition(" && ")[::2]:
            assert not {"rm", "$(x)"} & set(shlex.split(part))
    profile = load("x.toml", lambda name: f'description = "y"\n{answer.rule}\n')
    assert len(profile.rules.keep) + len(profile.rules.packages) == 1
    assert [
        each for line in lines(answers(Gone(path, GoneKind.FILE, 1, 0, owner))) for each in line if each == "\n"
    ] == []


@pytest.mark.parametrize(
    ("owner", "sentence"), [(0, "all that was in it went with its package"), (1, "all that was in it went")]
)
def test_an_empty_directory_is_no_reason(owner: int, sentence: str) -> None:
    """What was in it went for a reason of its own, which counts if it was found, too."""
    directory = Gone(b"/opt/m", GoneKind.DIRECTORY, 0, 1, owner)
    assert answers(directory).answers[0].reason == sentence
    wanted = (Wanted(WantedKind.PATH, b"/opt/m"), Wanted(WantedKind.PATH, b"/opt/m/x"))
    rows = (directory, Gone(b"/opt/m/x", GoneKind.FILE, 1, 0, 0))
    if owner == 0:
        (answer,) = answered(HEAD, wanted, search(lambda: rows, (), wanted)).answers
        assert answer.reason == "no test asked for it"


@pytest.mark.parametrize("kind", list(PackageKind))
@pytest.mark.parametrize("is_gone", [True, False])
def test_every_manager_has_its_way(kind: PackageKind, is_gone: bool) -> None:
    """But what a person installed by hand has none."""
    package = Package(kind=kind, name="x", version="1.0", place=b"/opt/x")
    found = ways(package, is_gone=is_gone)
    assert bool(found) == (kind != PackageKind.COMPONENT)
    assert all("x" in each for each in found)
