"""Read what programs say when they do not find something. Pure.

Sources: strerror(3) for ENOENT; ld.so(8) and the dynamic loaders of musl and Android; CPython's importlib, codecs and
zoneinfo; R's `loadNamespace` and `library` with their translations; Node's loaders; java.lang; Perl's DynaLoader;
Ruby's `require`; Lua's `require`; bash, dash, zsh, fish, BusyBox, GNU coreutils; runc, crun, tini; git; GNU ld;
ncurses; strace(1). A text can name more than what is missing: only what a list of removed paths has is an answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from slimagent.model.missing import Wanted, WantedKind

LONGEST = 1 << 20  # bytes of a text, from its end: an error is the last thing that a program says
_MOST = 2000  # names
_QUOTES = "'\"`\u2018\u2019\u201c\u201d"
_QUOTE, _ANYTHING = f"[{_QUOTES}]", f"[^{_QUOTES}\\n]{{1,4096}}"
_WORD = rf"[^\s:{_QUOTES}]{{1,255}}"
# A line that says that something does not exist: its paths count.
_ABSENT = re.compile(
    r"no such file|not found|cannot open|can't open|could not open|unable to open|cannot access|cannot stat|"
    r"cannot load|can't load|unable to load|failed to load|not exist|doesn't exist|enoent|cannot find|could not find|"
    r"unable to access|error opening|couldn't open|not accessible|datei oder verzeichnis nicht gefunden|"
    r"aucun fichier ou dossier|no existe el (?:fichero|archivo)|file o directory non esistente",
    re.IGNORECASE,
)
_STRACE = " = -1 ENOENT"
_OCTAL = re.compile(r"\\(?:x([0-9a-f]{2})|([0-7]{1,3})|(.))")
_QUOTED = re.compile(f"{_QUOTE}({_ANYTHING}){_QUOTE}")
_ABSOLUTE = re.compile(rf"(?<![^\s{_QUOTES}:=(\[])(/[^\s{_QUOTES}:;,()\[\]<>|]{{1,4096}})")
_BEFORE = re.compile(rf"(?:^|[\s:])({_WORD}): (?:no such file or directory|(?:command )?not found)", re.IGNORECASE)
_FILE = re.compile(r"[^\s/]+\.[A-Za-z]\w{0,9}")  # a name that stands for a file: a header, a script, data
_LIBRARY = r"[^\s:'\"`]{1,255}?\.so(?:\.\d+){0,4}(?![\w.])"
_PROGRAM = re.compile(r"[A-Za-z0-9_\[][\w.+@-]{0,100}", re.ASCII)
_MODULE = re.compile(r"\w+(?:\.\w+){0,30}")
# The same in some of the languages that R and bash speak.
_NO_PACKAGE = (
    "there is no package called|es gibt kein Paket namens|aucun package nomm\u00e9|no hay paquete llamado|"
    "non c'\u00e8 alcun pacchetto chiamato"
)
_NO_COMMAND = "command not found|Kommando nicht gefunden|commande introuvable|orden no encontrada|comando non trovato"


def _python(found: re.Match[str]) -> Iterator[Wanted]:
    yield Wanted(WantedKind.PYTHON, _bytes(found[1].rstrip(".").removesuffix(".__main__")))


def _import(found: re.Match[str]) -> Iterator[Wanted]:
    """The module is there, and has no such name: only a submodule explains that."""
    yield Wanted(WantedKind.PYTHON, _bytes(f"{found[2]}:{found[1]}"))


def _codec(found: re.Match[str]) -> Iterator[Wanted]:
    yield Wanted(WantedKind.PYTHON, _bytes(f"encodings:{found[1].lower().replace('-', '_')}"))


def _distribution(found: re.Match[str]) -> Iterator[Wanted]:
    yield Wanted(WantedKind.PYTHON, _bytes(re.sub(r"[-.]+", "_", found[1])))


def _command(found: re.Match[str]) -> Iterator[Wanted]:
    name = found[1]
    if "/" in name:
        yield Wanted(WantedKind.PATH, _bytes(name))
    elif _PROGRAM.fullmatch(name) and not name.isdigit():
        yield Wanted(WantedKind.COMMAND, _bytes(name))


def _executed(found: re.Match[str]) -> Iterator[Wanted]:
    """A program that another one starts: it may lie in no directory of PATH."""
    yield from _command(found)
    if "/" not in found[1] and _PROGRAM.fullmatch(found[1]):
        yield Wanted(WantedKind.PATH, _bytes(found[1]))


def _library(found: re.Match[str]) -> Iterator[Wanted]:
    yield Wanted(WantedKind.PATH if "/" in found[1] else WantedKind.LIBRARY, _bytes(found[1]))


def _node(found: re.Match[str]) -> Iterator[Wanted]:
    name = found[1].removeprefix("node:")
    if name.startswith(("./", "../")) and found[2]:  # the first that required it is the one that did not find it
        name = f"{found[2].rpartition('/')[0]}/{name}"
    is_path = name.startswith(("/", "./", "../"))
    for ending in ("", ".js", ".json", "/index.js") if is_path else ("",):  # what Node tries in turn
        yield Wanted(WantedKind.PATH if is_path else WantedKind.NODE, _bytes(name + ending))


def _git(found: re.Match[str]) -> Iterator[Wanted]:
    """A command of git is a program of its own, on PATH or where git has them."""
    program = next(each for each in found.groups() if each).removeprefix("git-")
    name = _bytes(f"git-{program}")
    yield Wanted(WantedKind.COMMAND, name)
    yield Wanted(WantedKind.PATH, name)


def _linked(found: re.Match[str]) -> Iterator[Wanted]:
    """What `-lNAME` of a linker stands for."""
    yield Wanted(WantedKind.PATH, _bytes(f"lib{found[1]}.so"))
    yield Wanted(WantedKind.PATH, _bytes(f"lib{found[1]}.a"))


def _loaded_by_perl(found: re.Match[str]) -> Iterator[Wanted]:
    *above, last = found[1].split("::")
    yield Wanted(WantedKind.PATH, _bytes("/".join(("auto", *above, last, f"{last}.so"))))


def _feature(found: re.Match[str]) -> Iterator[Wanted]:
    """A feature of Ruby: its `require` adds the endings."""
    yield Wanted(WantedKind.PATH, _bytes(found[1]))
    if not found[1].endswith((".rb", ".so")):
        yield Wanted(WantedKind.PATH, _bytes(f"{found[1]}.rb"))
        yield Wanted(WantedKind.PATH, _bytes(f"{found[1]}.so"))


def _terminal(found: re.Match[str]) -> Iterator[Wanted]:
    name = found[1].rstrip(".")
    yield Wanted(WantedKind.PATH, _bytes(f"terminfo/{name[0]}/{name}"))


def _all_of(kind: WantedKind) -> Callable[[re.Match[str]], Iterator[Wanted]]:
    """Each quoted name of what was found."""
    return lambda found: (Wanted(kind, _bytes(each[1])) for each in _QUOTED.finditer(found[1]))


def _relative(before: str) -> Callable[[re.Match[str]], Iterator[Wanted]]:
    return lambda found: iter((Wanted(WantedKind.PATH, _bytes(before + found[1])),))


def _of(kind: WantedKind) -> Callable[[re.Match[str]], Iterator[Wanted]]:
    return lambda found: iter((Wanted(kind, _bytes(found[1])),))


def _java(found: re.Match[str]) -> Iterator[Wanted]:
    yield Wanted(WantedKind.JAVA, _bytes(found[1].replace("/", ".")))


def _form(text: str) -> re.Pattern[str]:
    """A pattern in which Q stands for a quote, A for anything but quotes, and W for a word that can be a path."""
    parts = {"Q": _QUOTE, "A": f"({_ANYTHING})", "W": f"({_WORD})"}
    return re.compile(re.sub(r"<([QAW])>", lambda found: parts[found[1]], text), re.MULTILINE)


# Each form of a message, and what it names. All are linear in the text.
_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Iterator[Wanted]]], ...] = (
    (_form(rf"No module named <Q>?({_MODULE.pattern})"), _python),
    (_form(r"cannot import name <Q>(\w+)<Q> from (?:partially initialized module )?<Q>([\w.]+)"), _import),
    (_form(r"unknown encoding: ([\w-]{1,100})"), _codec),
    (_form(r"No package metadata was found for <Q>?([\w.-]{1,200})"), _distribution),
    (_form(r"The <Q>([\w.-]{1,200})[^\n]{0,200} distribution was not found"), _distribution),
    (_form(rf"(?i)(?:{_NO_PACKAGE}) <Q>([\w.]+)"), _of(WantedKind.R)),
    (_form(r"package <Q>([\w.]+)<Q> required by "), _of(WantedKind.R)),
    (_form(r"dependenc(?:y|ies) ([^\n]{1,500}) (?:is|are) not available"), _all_of(WantedKind.R)),
    (_form(r"load failed for <Q>([\w.]+)"), _of(WantedKind.R)),
    (_form(rf"(?i)(?:^|[\s:])<W>: (?:{_NO_COMMAND})(?!: \S)"), _command),
    (_form(r"command not found: (\S{1,255})"), _command),
    (_form(rf"(?i)unknown command:? <Q>?([^\s{_QUOTES}]{{1,255}})"), _command),
    (_form(r": (?:line )?\d+: (?:eval: )?<W>: not found"), _command),
    (_form(r"^<W>: not found$"), _command),
    (_form(r"(?i)(?:^|[\s:])<W>: cannot exec: "), _command),
    (_form(r"(?i)cannot run <W>: no such file"), _command),
    (_form(r"(?i)(?:cannot|can't|trying to) exec(?:ute|vp)? <Q><W><Q>"), _executed),
    (_form(r"\bexec (\S{1,255}) failed: No such file"), _command),
    (_form(r"\bspawn (\S{1,255}) ENOENT"), _command),
    (_form(r"executable file <Q>([^\s]{1,255}?)<Q> not found"), _command),
    (_form(r"No such file or directory - (\S{1,255})"), _command),
    (_form(r"git: <Q>([\w-]{1,100})<Q> is not a git command|cannot (?:exec|run) <Q>?(git-[\w-]{1,100})"), _git),
    (_form(r"remote helper for <Q>?([\w-]{1,50})"), _relative("git-remote-")),
    (_form(r"which: no <W> in \("), _command),
    (_form(r"^(?:\S{0,100}/)?(?:sh|ash|dash|busybox): <W>: not found"), _command),
    (_form(r'exec: "([^"\n]{1,4096})": (?:executable file not found|stat )'), _command),
    (
        _form(r"(?:env|exec|nice|nohup|setsid|stdbuf|sudo): <Q>?<W><Q>?: (?:No such file|(?:command )?not found)"),
        _command,
    ),
    (_form(r"^[\w./-]{1,255}: <W>: No such file or directory"), _command),
    (_form(r"(?:^|: )<W>: cannot execute: required file not found"), _of(WantedKind.PATH)),
    (_form(r"failed to (?:run|execute|exec) (?:command |program )?<Q>?<W>"), _command),
    (_form(r"(?i)cannot run program <Q>?<W>"), _command),
    (_form(r"\[Errno 2\] No such file or directory: b?<Q><A>"), _command),
    (_form(r"(?i)^[^\s:]{1,255}: (?:cannot [a-z ]{1,30} )?(/[^:\n]{1,4096}): No such file"), _of(WantedKind.PATH)),
    (_form(rf"(?<![^\s:{_QUOTES}])([^\s:{_QUOTES}]{{1,4096}}): cannot open shared object file"), _library),
    (_form(r"Error loading shared library <W>:"), _library),
    (
        _form(
            rf"(?i)(?:open|load|find)(?: failed:)?(?: the)?(?: shared| dynamic)? library(?: file)?:? <Q>?({_LIBRARY})"
        ),
        _library,
    ),
    (_form(r"cannot find -l:?([\w.+-]{1,200})"), _linked),
    (_form(r"Cannot find (?:module|package) <Q><A><Q>(?:\s{0,5}\nRequire stack:\n- ([^\n]{1,4096}))?"), _node),
    (_form(r"(?:ClassNotFoundException|NoClassDefFoundError|load main class)[: ]+([\w$./]{1,500})"), _java),
    (_form(r"Can't locate ([\w/.-]{1,500}\.p[lm]) in @INC"), _of(WantedKind.PATH)),
    (_form(r"Can't locate loadable object for module ([\w:]{1,300}) in @INC"), _loaded_by_perl),
    (_form(r"cannot load such file -- (\S{1,500})"), _feature),
    (_form(r"\bno file <Q><A><Q>"), _of(WantedKind.PATH)),
    (_form(r"cannot change locale \(([^\s()]{1,100})\)"), _of(WantedKind.LOCALE)),
    (_form(r"\b(?:LANG|LC_[A-Z]+) = <Q><W><Q>"), _of(WantedKind.LOCALE)),
    (
        _form(r"(unsupported locale setting|_S_create_c_locale name not valid)"),
        lambda found: iter((Wanted(WantedKind.LOCALE, b""),)),
    ),
    (_form(r"cannot open locale definition file <Q>([\w@.-]{1,100})"), _relative("i18n/locales/")),
    (_form(r"<Q>?([\w+-]{1,100})<Q>?: unknown terminal type"), _terminal),
    (_form(r"(?i)(?:error opening terminal:|unknown terminal type:?) <Q>?([\w+-]{1,100})"), _terminal),
    (_form(r"(?i)(?:No time zone found with key|unknown time ?zone) <Q>?([\w/+-]{1,100})"), _of(WantedKind.TIME_ZONE)),
    (_form(r"UnknownTimeZoneError: <Q>?([\w/+-]{1,100})"), _of(WantedKind.TIME_ZONE)),
    (_form(r"Font family \[?<Q><A><Q>\]? not found"), _of(WantedKind.FONT)),
)


def wanted_in(text: bytes) -> tuple[Wanted, ...]:
    """What a text says is missing, each once, in the order of the text's forms. Reads its last mebibyte."""
    found = dict.fromkeys(_limited(_every(_decoded(text))))
    return tuple(each for each in found if each.name or each.kind is WantedKind.LOCALE)


def mentioned_in(text: bytes) -> tuple[Wanted, ...]:
    """What a text mentions, without saying that it is missing: absolute paths, or the one word that it is."""
    said = _decoded(text)
    paths = (match[1].rstrip(".") for match in _ABSOLUTE.finditer(said))
    found = (Wanted(WantedKind.PATH, _bytes(path)) for path in paths if path.strip("/"))
    return tuple(dict.fromkeys(_limited((*found, *_named(said.strip())))))


def _named(word: str) -> Iterator[Wanted]:
    """What a word alone can be the name of."""
    if _PROGRAM.fullmatch(word):
        for kind in (WantedKind.COMMAND, WantedKind.LIBRARY, WantedKind.PYTHON, WantedKind.R):
            yield Wanted(kind, _bytes(word))


def _decoded(text: bytes) -> str:
    return text[-LONGEST:].decode("utf-8", "surrogateescape")


def _every(said: str) -> Iterator[Wanted]:
    for form, names in _FORMS:
        for match in form.finditer(said):
            yield from names(match)
    for line in said.splitlines():
        if _STRACE in line:
            yield from (Wanted(WantedKind.PATH, _unescaped(each)) for each in _strings(line.partition(_STRACE)[0]))
        elif "= -1 E" not in line and _ABSENT.search(line):
            yield from _paths(line)


def _strings(call: str) -> Iterator[str]:
    """The strings in a line of strace. Not by a pattern: a string without an end would take it quadratic time."""
    inside: list[str] | None = None
    for part in call.split('"'):
        if inside is None:
            inside = []
            continue
        inside.append(part)
        if (len(part) - len(part.rstrip("\\"))) % 2:  # the quote is escaped, and belongs to the string
            continue
        yield '"'.join(inside)
        inside = None


def _paths(line: str) -> Iterator[Wanted]:
    """What a line that speaks of something absent names: whatever looks like a path or like a file's name."""
    for match in _QUOTED.finditer(line):
        if "/" in match[1] or _FILE.fullmatch(match[1]):
            yield Wanted(WantedKind.PATH, _bytes(match[1]))
    for match in _ABSOLUTE.finditer(line):
        yield Wanted(WantedKind.PATH, _bytes(match[1].rstrip(".")))
    for match in _BEFORE.finditer(line):
        if "/" in match[1] or _FILE.fullmatch(match[1]):
            yield Wanted(WantedKind.PATH, _bytes(match[1]))


def _limited(each: Iterable[Wanted]) -> Iterator[Wanted]:
    seen: set[Wanted] = set()
    for wanted in each:
        if len(seen) >= _MOST:
            return
        seen.add(wanted)
        yield wanted


def _bytes(text: str) -> bytes:
    return text.strip().encode("utf-8", "surrogateescape").replace(b"\0", b"")


def _unescaped(text: str) -> bytes:
    """A path as strace writes it: C's escapes, with octal or hexadecimal numbers."""
    letters = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f"}

    def one(match: re.Match[str]) -> str:
        code = int(match[1], 16) if match[1] else int(match[2], 8) & 0xFF if match[2] else -1
        return letters.get(match[3], match[3] or "") if code < 0 else bytes([code]).decode("latin-1")

    data = _OCTAL.sub(one, text) if text.isascii() else text
    return (data.encode("latin-1") if text.isascii() else _bytes(data)).replace(b"\0", b"")
