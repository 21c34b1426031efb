"""Read what programs say when they do not find something. Pure.

Sources: strerror(3) for ENOENT; ld.so(8) and the dynamic loader of musl; CPython's importlib and zoneinfo; R's
`loadNamespace` and `library`; Node's loaders; java.lang; bash, dash, zsh, BusyBox, GNU coreutils; runc;
strace(1); perl. A text can name more than what is missing: only what a list of removed paths has is an answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from slimagent.model.missing import Wanted, WantedKind

_LONGEST = 1 << 20  # bytes of a text
_MOST = 2000  # names
_QUOTES = "'\"`\u2018\u2019\u201c\u201d"
_QUOTE, _ANYTHING = f"[{_QUOTES}]", f"[^{_QUOTES}\\n]{{1,4096}}"
_WORD = rf"[^\s:{_QUOTES}]{{1,255}}"
# A line that says that something does not exist: its paths count.
_ABSENT = re.compile(
    r"no such file|not found|cannot open|can't open|could not open|unable to open|cannot access|cannot stat|"
    r"cannot load|can't load|unable to load|failed to load|not exist|doesn't exist|enoent|cannot find|could not find|"
    r"unable to access",
    re.IGNORECASE,
)
_STRACE = " = -1 ENOENT"
_OCTAL = re.compile(r"\\(?:x([0-9a-f]{2})|([0-7]{1,3})|(.))")
_QUOTED = re.compile(f"{_QUOTE}({_ANYTHING}){_QUOTE}")
_ABSOLUTE = re.compile(rf"(?<![^\s{_QUOTES}:=(\[])(/[^\s{_QUOTES}:;,()\[\]<>|]{{1,4096}})")
_BEFORE = re.compile(rf"(?:^|[\s:])({_WORD}): (?:no such file or directory|(?:command )?not found)", re.IGNORECASE)
_FILE = re.compile(r"[^\s/]+\.[A-Za-z]\w{0,9}")  # a name that stands for a file: a header, a script, data
_PROGRAM = re.compile(r"[A-Za-z0-9_\[][\w.+@-]{0,100}", re.ASCII)
_MODULE = re.compile(r"\w+(?:\.\w+){0,30}")


def _python(found: re.Match[str]) -> Iterator[Wanted]:
    yield Wanted(WantedKind.PYTHON, _bytes(found[1].rstrip(".").removesuffix(".__main__")))


def _import(found: re.Match[str]) -> Iterator[Wanted]:
    yield Wanted(WantedKind.PYTHON, _bytes(f"{found[2]}.{found[1]}"))


def _command(found: re.Match[str]) -> Iterator[Wanted]:
    name = found[1]
    if "/" in name:
        yield Wanted(WantedKind.PATH, _bytes(name))
    elif _PROGRAM.fullmatch(name):
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
    is_path = name.startswith(("/", "./", "../"))
    for ending in ("", ".js", ".json", "/index.js") if is_path else ("",):  # what Node tries in turn
        yield Wanted(WantedKind.PATH if is_path else WantedKind.NODE, _bytes(name + ending))


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
    (_form(r"there is no package called <Q>([\w.]+)"), _of(WantedKind.R)),
    (_form(r"load failed for <Q>([\w.]+)"), _of(WantedKind.R)),
    (_form(r"(?i)(?:^|[\s:])<W>: command not found"), _command),
    (_form(r"command not found: (\S{1,255})"), _command),
    (_form(r": (?:line )?\d+: <W>: not found"), _command),
    (_form(r"^<W>: not found$"), _command),
    (_form(r"(?i)(?:^|[\s:])<W>: cannot exec: "), _command),
    (_form(r"(?i)cannot run <W>: no such file"), _command),
    (_form(r"(?i)cannot execute <Q><W><Q>"), _executed),
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
    (_form(r"<W>: cannot open shared object file"), _library),
    (_form(r"Error loading shared library <W>:"), _library),
    (_form(r"Cannot find (?:module|package) <Q><A>"), _node),
    (_form(r"(?:ClassNotFoundException|NoClassDefFoundError|load main class)[: ]+([\w$./]{1,500})"), _java),
    (_form(r"Can't locate ([\w/.-]{1,500}\.p[lm]) in @INC"), _of(WantedKind.PATH)),
    (_form(r"cannot change locale \(([^\s()]{1,100})\)"), _of(WantedKind.LOCALE)),
    (_form(r"\bLC_ALL = <Q><W><Q>"), _of(WantedKind.LOCALE)),
    (_form(r"(unsupported locale setting)"), lambda found: iter((Wanted(WantedKind.LOCALE, b""),))),
    (_form(r"(?i)(?:No time zone found with key|unknown time ?zone) <Q>?([\w/+-]{1,100})"), _of(WantedKind.TIME_ZONE)),
    (_form(r"UnknownTimeZoneError: <Q>?([\w/+-]{1,100})"), _of(WantedKind.TIME_ZONE)),
    (_form(r"Font family <Q><A><Q> not found"), _of(WantedKind.FONT)),
)


def wanted_in(text: bytes) -> tuple[Wanted, ...]:
    """What a text says is missing, each once, in the order of the text's forms. Reads a mebibyte of it at most."""
    said = text[:_LONGEST].decode("utf-8", "surrogateescape")
    found = dict.fromkeys(_limited(_every(said)))
    return tuple(each for each in found if each.name or each.kind is WantedKind.LOCALE)


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
