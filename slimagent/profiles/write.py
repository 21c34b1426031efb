"""A profile as TOML, for a person to go on with. Pure; the format: docs/profiles.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from slimagent.model.profile import CheckSpec, Parameter


def text(name: str, description: str, extends: Sequence[tuple[str, str]], checks: Iterable[CheckSpec]) -> str:
    """The TOML text of a profile; `extends` are the profiles that it stands on, each with the reason as a comment."""
    lines = [f"name = {_string(name)}", f"description = {_string(description)}", "extends = ["]
    lines += [f"    {_string(each)},  # {_comment(why)}" for each, why in extends]
    lines += [
        "]",
        '# variant = "standard"     # full, standard (the default) or minimal: how much may go',
        '# user = "jovyan"          # the user that runs the checks',
        "# compiling = true         # keep all that compiling needs, e.g. to install R packages from source",
        '# gpu = { architectures = ["sm_90"] }  # the GPUs that the image is for; code for others may go',
    ]
    for check in checks:
        lines += ["", "[[check]]", f"kind = {_string(check.kind)}", f"name = {_string(check.name)}"]
        lines += [f"seconds = {check.seconds:g}"]
        lines += [f"user = {_string(check.user)}"] if check.user else []
        lines += [] if check.alone is None else [f"alone = {_value(check.alone)}"]
        lines += [f"{key} = {_value(value)}" for key, value in check.parameters.items()]
    return "\n".join(lines) + "\n"


def _value(value: Parameter) -> str:
    if isinstance(value, tuple):
        inside = ", ".join(map(_string, value))
        return f"[{inside}]" if len(inside) < 100 else "[\n    " + ",\n    ".join(map(_string, value)) + ",\n]"
    if isinstance(value, str):
        return _string(value)
    return json.dumps(value)


def _string(value: str) -> str:
    """A basic string (TOML 1.0, "String"): JSON's escapes are TOML's too, and DEL has to be escaped besides."""
    known = value.encode("utf-8", "replace").decode("utf-8")  # a name that is no text cannot be said in TOML
    return json.dumps(known, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(value: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in value)
