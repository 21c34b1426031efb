"""`slimagent audit` of a real image: what was planted in it is found, and the edit saves as much as was said."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimagent.documents import decode_audit
from slimagent.model.audit import Audit, Finding, Risk
from tests.container.conftest import BUNDLE
from tests.container.slimming import build, docker, identity, ours, remove, write_files

SITE = "/opt/venv/lib/python3.12/site-packages"
CONDA = "/opt/conda/lib/python3.12/site-packages"
META = "/opt/conda/conda-meta"
EXTENSION = "/opt/share/extensions/me.tool-1.0.0"


def noise(path: str, megabytes: int = 3, mode: str = "644") -> str:
    """A command that makes a file, and its directories, of bytes that are nowhere else."""
    made = f"mkdir -p {path.rpartition('/')[0]} && head -c {megabytes}000000 /dev/urandom > {path}"
    return f"{made} && chmod {mode} {path}"


def distribution(site: str) -> str:
    """A command that installs a distribution as pip does."""
    info = "bigmath-1.0.dist-info"
    rows = "".join(f"{each},,\\n" for each in ("bigmath/data.bin", f"{info}/METADATA", f"{info}/RECORD"))
    return (
        f"{noise(f'{site}/bigmath/data.bin')} && mkdir -p {site}/{info}"
        f" && printf 'Metadata-Version: 2.1\\nName: bigmath\\nVersion: 1.0\\n' > {site}/{info}/METADATA"
        f" && printf '{rows}' > {site}/{info}/RECORD"
    )


PACKAGE = {"name": "bigmath", "version": "1.0", "depends": [], "files": [f"{CONDA[11:]}/bigmath/data.bin"]}
RECORDED = f"mkdir -p {META} && echo '{json.dumps(PACKAGE)}' > {META}/bigmath-1.0-0.json"
MANIFEST = {"name": "tool", "publisher": "me", "version": "1.0.0", "engines": {"vscode": "*"}}
LISTED = (
    f"echo '{json.dumps(MANIFEST)}' > {EXTENSION}/package.json && echo '[]' > /opt/share/extensions/extensions.json"
)
QUARTO, BUNDLED = "/opt/quarto/bin/quarto", "/usr/lib/rstudio-server/bin/quarto/bin/quarto"

# What is planted: the RUN lines that do it, and those with the edit. The last ones are the cheapest to build again.
PLANTED: dict[str, tuple[list[str], list[str]]] = {
    "chown": (
        [noise("/srv/data/a", 4), "chown -R 1000:1000 /srv/data"],
        [f"{noise('/srv/data/a', 4)} && chown -R 1000:1000 /srv/data"],
    ),
    "cache": (
        [f"{noise('/var/cache/apt/archives/a.deb')} && touch /installed", "rm /var/cache/apt/archives/a.deb"],
        ["touch /installed"],
    ),
    "quarto": (
        [noise(BUNDLED, mode="755"), noise(QUARTO, mode="755")],
        [noise(QUARTO, mode="755")],
    ),
    "pip": (
        [f"{noise(f'{CONDA}/bigmath/data.bin')} && {RECORDED}", distribution(SITE)],
        [f"{noise(f'{CONDA}/bigmath/data.bin')} && {RECORDED}"],
    ),
    "extension": ([f"{noise(f'{EXTENSION}/dist/main.js')} && {LISTED}"], []),
    "aws": ([noise("/opt/aws-cli/bin/aws", mode="755")], []),
    "headers": ([noise("/usr/local/include/big.h")], []),
    "archive": ([noise("/usr/local/lib/libbig.a")], []),
    "byte-code": (
        [f"mkdir -p {SITE} && touch {SITE}/m.py && {noise(f'{SITE}/__pycache__/m.cpython-312.pyc')}"],
        [f"mkdir -p {SITE} && touch {SITE}/m.py"],
    ),
}


def dockerfile(edited: str = "") -> str:
    lines = [line for name, (before, after) in PLANTED.items() for line in (after if name == edited else before)]
    return "FROM scratch\nADD root.tar /\n" + "".join(f"RUN {line}\n" for line in lines)


def size(tag: str) -> int:
    return int(docker("image", "inspect", "-f", "{{.Size}}", tag))


@pytest.fixture(scope="module")
def planted(small: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The image, and the directory that it was built in."""
    context = tmp_path_factory.mktemp("planted")
    root = context / "root"
    (root / "bin").mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None  # `small` needs it, too
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "mkdir", "head", "chown", "chmod", "rm", "touch", "printf", "echo"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "dev").mkdir()
    subprocess.run(["tar", "--owner=0", "--group=0", "-cf", context / "root.tar", "-C", root, "."], check=True)
    tag = f"slimagent-test-audit:{secrets.token_hex(4)}"
    build(tag, context, dockerfile())
    yield tag, context
    remove(tag)


@pytest.fixture(scope="module")
def audited(planted: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """The audit from outside."""
    out = tmp_path_factory.mktemp("audit") / "audit.json"
    words = [sys.executable, "-m", "slimagent", "audit", planted[0], "--agent", str(BUNDLE), "-o", str(out), "--all"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(planted[0])
    assert ours() == set()
    return decode_audit(out.read_bytes())


def found(made: Audit, kind: str, about: str) -> Finding:
    """The only finding of a kind that speaks of something."""
    some = [
        each for each in made.findings if each.kind == kind and about in f"{each.title} {each.subjects} {each.evidence}"
    ]
    assert len(some) == 1, [(each.kind, each.title) for each in made.findings]
    return some[0]


WHAT = {
    "chown": ("copied-again", "/srv/data/a"),
    "cache": ("hidden", "a.deb"),
    "quarto": ("duplicate", "quarto"),
    "pip": ("duplicate", "bigmath"),
    "extension": ("extension", "me.tool"),
    "aws": ("optional-tool", "AWS CLI"),
    "headers": ("headers", "big.h"),
    "archive": ("static-libraries", "libbig.a"),
    "byte-code": ("byte-code", "m.cpython-312.pyc"),
}


@pytest.mark.parametrize("name", WHAT)
def test_the_edit_saves_what_was_said(planted: tuple[str, Path], audited: Audit, name: str) -> None:
    """The image is built again with the edit: it is smaller by the finding's bytes, within a twentieth."""
    finding = found(audited, *WHAT[name])
    tag = f"{planted[0]}-{name}"
    build(tag, planted[1], dockerfile(name))
    try:
        saved = size(planted[0]) - size(tag)
    finally:
        remove(tag)
    assert abs(saved - finding.size) <= finding.size / 20, (saved, finding)
    assert finding.edit


def test_layers_are_those_of_the_engine(planted: tuple[str, Path], audited: Audit) -> None:
    """In its order, with its sizes, and with the commands that made them."""
    digests = json.loads(docker("image", "inspect", "-f", "{{json .RootFS.Layers}}", planted[0]))
    assert [layer.digest for layer in audited.layers] == digests
    assert audited.carried == sum(layer.size for layer in audited.layers)
    assert abs(audited.carried - size(planted[0])) < 100_000
    assert "chown -R" in audited.layers[2].command


def test_what_costs_nothing_is_at_no_risk(audited: Audit) -> None:
    """Nobody misses a second copy in a layer below."""
    assert found(audited, *WHAT["chown"]).risk is found(audited, *WHAT["cache"]).risk is Risk.NONE


def test_an_image_that_is_not_here_is_a_usage_error() -> None:
    """With what to type."""
    words = [sys.executable, "-m", "slimagent", "audit", "no-such-image:x", "--agent", str(BUNDLE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "docker pull no-such-image:x" in done.stderr


def test_it_works_where_nothing_can_be_run(tmp_path: Path, small: str) -> None:
    """An image without a shell: nothing of it is run."""
    write_files(tmp_path, {"only": b"data"})
    tag = f"slimagent-test-audit:{secrets.token_hex(4)}"
    build(tag, tmp_path, "FROM scratch\nCOPY only /data/only\n")
    try:
        words = [sys.executable, "-m", "slimagent", "audit", tag, "--agent", str(BUNDLE), "--json", "--quiet"]
        done = subprocess.run(words, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        made = decode_audit(done.stdout)
        assert (made.size, made.files, len(made.layers)) == (4, 1, 1)
        assert identity(tag)
    finally:
        remove(tag)
