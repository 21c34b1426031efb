"""The option that lets test runners mark their tests (docs/tests.md)."""

from __future__ import annotations

import click

by_test = click.option(
    "--by-test",
    is_flag=True,
    help="Let pytest and other test runners say which test uses which file (see docs/tests.md).",
)
