"""The commands, in the order in which people meet them. Each module is imported when its command is called."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType

import click

# By section: the name of a command, its module, and what it does.
SECTIONS: Mapping[str, tuple[tuple[str, str, str], ...]] = MappingProxyType(
    {
        "Slim an image": (
            ("image", "image", "Make a slim image from an image, and prove it."),
            ("dockerfile", "dockerfile", "Write a Dockerfile that slims and proves an image."),
            ("run", "run", "Trace, plan, export and verify in one container."),
        ),
        "Look into it": (
            ("audit", "audit", "List what is in an image, and what could be smaller."),
            ("report", "report", "Show what a run came to, also as an HTML page."),
            ("explain", "explain", "Say why a file or a package stays or goes."),
            ("reach", "reach", "Estimate what is missing for uses that no test covers."),
            ("missing", "missing", "Say what was removed that explains an error."),
            ("restore", "restore", "Bring removed files back, as they were."),
            ("gate", "gate", "Hold rules against the result of a run."),
            ("history", "history", "Keep the sizes of an image over time, and show them."),
            ("compare", "compare", "Say how two runs, or two images, differ, and why."),
            ("sbom", "sbom", "Write the bill of materials of an image."),
            ("detect", "profiles", "List what is installed here, and the checks for it."),
            ("check", "check", "Run the checks of a profile."),
            ("profiles", "profiles", "List the profiles that come with slimagent."),
            ("schema", "schema", "Print the JSON Schema of a document."),
        ),
        "Step by step": (
            ("trace", "trace", "Run a command and record every file it asks for."),
            ("merge", "merge", "Merge traces of one image into one trace."),
            ("plan", "plan", "Decide from a trace what the image can lose."),
            ("apply", "apply", "Carry out a plan: tar, image, directory or in place."),
            ("verify", "verify", "Run the tests again on the slim image, and compare."),
        ),
        "For containers": (
            ("bundle", "bundle", "Make an agent that runs in any Linux container."),
            ("start", "start", "Run the image's entrypoint as PID 1, and record it."),
            ("enter", "start", "Run a command in a container that is recorded."),
            ("export", "export", "Plan, and export what stays, in a new container."),
            ("take", "restore", "Export what a list names, in a new container."),
            ("differences", "trial", "List how a slim image differs from its plan."),
            ("trial", "trial", "Run tests without chosen files, in a throw-away container."),
            ("ports", "start", "Print which TCP ports answer here."),
        ),
    }
)
_MODULES = {name: module for section in SECTIONS.values() for name, module, _ in section}


class Commands(click.Group):
    """The group of all commands. It knows their names and summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in order."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command, and return the command; None for an unknown name."""
        if cmd_name not in _MODULES:
            return None
        module = importlib.import_module(f"slimagent.cli.{_MODULES[cmd_name]}")
        commands: tuple[click.Command, ...] = module.COMMANDS
        return next(each for each in commands if each.name == cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Do as any group does, and suggest a command for an unknown name."""
        if args[0] not in _MODULES and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], _MODULES)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean {' or '.join(near)}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, summary) for name, _, summary in section])


def import_all() -> None:
    """Import the modules of all commands, for callers that need them before a command is called."""
    for module in set(_MODULES.values()):
        importlib.import_module(f"slimagent.cli.{module}")
