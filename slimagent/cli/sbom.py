"""`slimagent sbom`: the bill of materials of an image, before and after slimming."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from slimagent import __version__, documents
from slimagent.apply.export.components import package_layers
from slimagent.cli import options, terminal, writing
from slimagent.cli.help import command
from slimagent.errors import UnavailableError, UsageError
from slimagent.image.labels import identity
from slimagent.linux.files import write
from slimagent.model.bill import Bill
from slimagent.model.finished_run import FinishedRun
from slimagent.model.image_config import read_image_config
from slimagent.report.bill import bill, is_described
from slimagent.text.counted import counted
from slimagent.workflows.finished import Finished

_TOOL = f"slimagent {__version__}"
_COMMENT = f"{writing.FIRST_LINE} {__version__}"
_JSON, _XML = "json", "xml"
_OWN = writing.Own(
    "a bill of materials that slimagent wrote",
    re.compile(
        rb'\{\s*"bomFormat":\s*"CycloneDX",\s*"specVersion":\s*"[^"]*",\s*"metadata":\s*\{'
        rb'\s*"tools":\s*\{\s*"components":\s*\[\s*\{\s*"name":\s*"slimagent"'
        rb"|<\?xml[^>]*>\s*<!-- %b" % writing.FIRST_LINE.encode()
    ),
    "name another file, or give --overwrite",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The command line."""

    run: str
    output: str | None
    before: bool
    diff: bool
    form: str | None
    overwrite: bool
    as_json: bool

    @property
    def format(self) -> str:
        """JSON or XML: as asked, else by the name of the file."""
        return self.form or (_XML if (self.output or "").endswith(".xml") else _JSON)


@command(
    example="slimagent sbom slimagent-out -o slim.cdx.json\n"
    "slimagent sbom slimagent-out --before -o full.cdx.json\n"
    "slimagent sbom slimagent-out --diff"
)
@click.argument("run", metavar="OUT")
@click.option("-o", "--output", metavar="FILE", help="Write it here. [default: standard output]")
@click.option("--before", is_flag=True, help="List the image as it was before slimming.")
@click.option("--diff", is_flag=True, help="List what slimming removes instead.")
@click.option(
    "--format", "form", type=click.Choice((_JSON, _XML)), help="Form of the document. [default: by FILE, else json]"
)
@options.overwrite
@click.option("--json", "as_json", is_flag=True, help="Print the list of --diff as JSON.")
def sbom(**given: Any) -> int:
    """Write the bill of materials of a slim image, or of the image before slimming.

    OUT is the output directory of `slimagent image` or `slimagent run`, or a plan. The document is CycloneDX 1.6: each
    package that stays with its package URL, its licenses, its sizes, what it requires and why it stays.
    """
    asked = _Asked(**given)
    _require_sound(asked)
    _require_library()
    if asked.output is not None:
        writing.require_writable(asked.output, None if asked.overwrite else _OWN)
    run = Finished(asked.run).run()
    if asked.diff:
        _show_difference(run, as_json=asked.as_json)
        return 0
    made = _bill(run, before=asked.before)
    _write(made, asked)
    for note in _notes(run, before=asked.before):
        terminal.line(f"slimagent: note: {note}", err=True)
    if asked.output is not None:
        terminal.line(f"wrote {asked.output}: {len(made.packages):,} packages of {made.image}", err=True)
    return 0


def _require_sound(asked: _Asked) -> None:
    """Raise UsageError for options that do not go together."""
    if asked.diff:
        for name, given in (("--before", asked.before), ("--format", asked.form), ("-o", asked.output)):
            if given:
                raise UsageError(f"--diff and {name} cannot be used together", "leave one out")
    elif asked.as_json:
        raise UsageError("--json belongs to --diff", "a bill of materials is JSON without it; see --format")


def _require_library() -> None:
    """Raise UnavailableError if the optional libraries are not installed."""
    try:
        import cyclonedx.output  # noqa: F401
        import packageurl  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            f"`slimagent sbom` needs cyclonedx-python-lib, which is not installed ({error})",
            "install it: pip install 'slimagent[sbom]', or in a checkout: pip install '.[sbom]'",
        ) from None


def _bill(run: FinishedRun, *, before: bool) -> Bill:
    config = read_image_config(run.described, f"{run.path}/image.json") if run.described else None
    layers: Sequence[tuple[str, ...]] = ()
    if not before and run.receipt is not None and run.receipt.layers:
        layers = package_layers(run.plan)
    made = "" if run.receipt is None or not run.receipt.sha256 else f"sha256:{run.receipt.sha256}"
    return bill(
        run,
        before=before,
        tool=_TOOL,
        identity=(identity(run.described) if run.described else "") if before else made,
        architecture="" if config is None else config.architecture,
        layers=layers,
    )


def _write(made: Bill, asked: _Asked) -> None:
    from slimagent.report.sbom.cyclonedx import cyclonedx

    with warnings.catch_warnings():  # the library's own, e.g. about an image without packages: no reader can mend it
        warnings.simplefilter("ignore")
        data = cyclonedx(made, asked.format, _COMMENT)
    if asked.output is None:
        terminal.document(data.decode())
    else:
        write(asked.output, data)


def _notes(run: FinishedRun, *, before: bool) -> list[str]:
    """What the bill cannot say, because the documents do not."""
    notes = []
    if not is_described(run.plan):
        notes.append(
            "an earlier slimagent wrote the plan: it has no licenses, architectures and distribution, and package URLs "
            "of Debian packages lack them; run again for a full bill"
        )
    elif not run.plan.distribution.id and any(each.package.kind == "dpkg" for each in run.plan.packages):
        notes.append("the image has no os-release, so package URLs of Debian packages do not name the distribution")
    if not before and run.receipt is None:
        notes.append("receipt.json does not exist: this lists what stays by the plan")
    if not before and run.receipt is not None and run.receipt.left_alone:
        left = counted(len(run.receipt.left_alone), "path")
        notes.append(f"{left} of packages that go stayed in the image (receipt.json: left_alone)")
    return notes


def _show_difference(run: FinishedRun, *, as_json: bool) -> None:
    from slimagent.report.sbom.package_difference import difference_lines, package_difference

    found = package_difference(_bill(run, before=True), run.digest)
    if as_json:
        terminal.json(documents.encode_package_difference(found))
    else:
        terminal.lines(difference_lines(found))


COMMANDS = (sbom,)
