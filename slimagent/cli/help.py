"""The help of a command: its options in groups, and an example at the end that can be pasted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import click

# Groups of options, by the names of their parameters, in the order shown; all others come first.
_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "What may go": (
            *("level", "profile", "keep", "keep_packages", "keep_cruft", "starts", "compiling", "budget"),
            *("accepted", "accepted_changes", "repair", "search_runs", "search_minutes"),
        ),
        "GPU code": ("gpu_arch", "gpu_ptx", "gpu_owners"),
        "Stripping": ("strip", "strip_setuid", "unstripped"),
        "What is run": ("also", "user", "backend", "attach", "until_signal", "diary", "scopes", "mounted"),
        "How the image starts": ("no_start", "start_until", "start_seconds", "start_settle", "image_config"),
        "Containers": ("engine", "network", "volumes", "env", "gpus", "run_options", "no_privileges", "agent"),
        "As an image": ("oci", "oci_tag", "compression", "ready"),
        "In place": ("in_place", "journal", "remove_agent", "force"),
        "What went": ("removed", "removed_inside", "removed_digests"),
        "The result": ("gates", "history"),
        "Output": (
            "out",
            "output",
            "logs",
            "directory",
            "plan_file",
            "receipt",
            "keep_failed",
            "as_json",
            "form",
            "quiet",
        ),
    }
)
_FEW = 9  # options that need no groups


class Command(click.Command):
    """A command with an example in its help: lines as they are typed."""

    def __init__(self, *arguments: Any, example: str = "", **others: Any) -> None:
        super().__init__(*arguments, **others)
        self.example = example

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, in groups if there are many."""
        shown = [
            (each.name, record)
            for each in self.get_params(ctx)
            if isinstance(each, click.Option) and (record := each.get_help_record(ctx))
        ]
        titles = {name: title for title, names in _GROUPS.items() for name in names} if len(shown) > _FEW else {}
        for title in ("Options", *_GROUPS):
            if records := [record for name, record in shown if titles.get(name or "", "Options") == title]:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        _write_example(self.example, formatter)


class Group(click.Group):
    """A command with commands of its own, and an example in its help."""

    def __init__(self, *arguments: Any, example: str = "", **others: Any) -> None:
        super().__init__(*arguments, **others)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        _write_example(self.example, formatter)


def _write_example(example: str, formatter: click.HelpFormatter) -> None:
    if example:
        with formatter.section("Example"):
            formatter.write("".join(f"  {line}\n" for line in example.splitlines()))


def command(name: str | None = None, *, example: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command with an example in its help."""
    return click.command(name, cls=Command, example=example)
