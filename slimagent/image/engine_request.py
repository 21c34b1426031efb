"""What a request to Docker's API asks for, read as the engine reads it. Pure.

Sources: the routes of Docker's daemon (api/server/router), whose paths its multiplexer compares after it has decoded
them; Go's encoding/json, which finds a field by its name in any case, and takes the last of several.
"""

from __future__ import annotations

import enum
import posixpath
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from slimagent.text.json_input import parsed_once


class Kind(enum.Enum):
    """What we do about a request: change it, hear of it, let it become a stream, or pass it on."""

    CREATE = r"/containers/create"
    EXECUTE = r"/containers/(.+)/exec"
    START = r"/containers/(.+)/(?:re)?start"
    BUILD = r"/build"
    STREAM = r"/containers/.+/attach(?:/ws)?|/exec/.+/start|/session|/grpc"
    OTHER = r".*"


_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
_VERSION = re.compile(r"/v[0-9.]+(?=/)")
_FIELDS = {
    Kind.CREATE: ("Image", "Entrypoint", "Cmd", "User", "Env", "WorkingDir", "Healthcheck", "Labels", "HostConfig"),
    Kind.EXECUTE: ("Cmd", "User", "Env", "WorkingDir"),
}
_BELOW: dict[str, tuple[str, ...]] = {
    "Labels": (),
    "HostConfig": ("Mounts", "CapAdd"),
    "Healthcheck": ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for, of which container as the client named it, and under which name for a new one."""

    kind: Kind
    container: str = ""
    name: str = ""


def asked(method: str, target: str) -> Asked:
    """What a request asks for, from its first line."""
    path, _, query = _ORIGIN.sub("", target).partition("?")
    path = _VERSION.sub("", posixpath.normpath(f"/{unquote(path)}").replace("//", "/"))
    for kind in Kind:
        found = re.fullmatch(kind.value, path, re.DOTALL)
        if found and (method == "POST" or kind in (Kind.STREAM, Kind.OTHER)):
            name = parse_qs(query, keep_blank_values=True).get("name", [""])[0]
            return Asked(kind=kind, container=found[1] if found.re.groups else "", name=name)
    return Asked(kind=Kind.OTHER)


def wanted(body: bytes, kind: Kind) -> dict[str, Any]:
    """The object in the body of a request that starts a process. Fields that we change have their usual names in it.

    Raises ValueError if it is none, or if the engine may read it in another way.
    """
    try:
        value = parsed_once(body)
    except ValueError as error:
        raise ValueError(f"its body is not plain JSON in UTF-8: {error}") from None
    named = _named("its body", value, _FIELDS[kind])
    for field, fields in _BELOW.items():
        if named.get(field) is not None:
            named[field] = _named(field, named[field], fields)
    return named


def _named(what: str, value: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    """An object whose keys are these fields where they are in any case. Raises ValueError if one is there twice."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")  # noqa: TRY004  # it is what a client sent
    known = {each.casefold(): each for each in fields}
    named: dict[str, Any] = {}
    for key, each in value.items():
        field = known.get(str(key).casefold(), str(key))
        if field in named:
            raise ValueError(f"{field} is there twice")
        named[field] = each
    return named
