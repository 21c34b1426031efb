"""Findings: command-line tools, extensions and build tools, which not every user of an image needs. Pure."""

from __future__ import annotations

import re
import stat
from collections import defaultdict
from collections.abc import Iterator

from slimagent.audit import edits
from slimagent.audit.asking import unasked, venv_of
from slimagent.audit.by_layer import IN_BASE, UNKNOWN, is_copied, is_of_base, left_out
from slimagent.audit.known import Known, Saving
from slimagent.model.audit import Finding, Risk
from slimagent.model.inventory import PackageKind
from slimagent.paths.algebra import name, to_text, within
from slimagent.text.counted import counted

# Programs that one installs for oneself and not for what the image runs, by what people call them.
TOOLS = {
    b"aws": "AWS CLI", b"az": "Azure CLI", b"gcloud": "Google Cloud CLI", b"rclone": "rclone", b"gh": "GitHub CLI",
    b"glab": "GitLab CLI", b"git-lfs": "git-lfs", b"opencode": "opencode", b"uv": "uv", b"kubectl": "kubectl",
    b"helm": "Helm", b"terraform": "Terraform", b"docker": "Docker CLI", b"hugo": "Hugo", b"mc": "MinIO client",
    b"azcopy": "AzCopy", b"s5cmd": "s5cmd", b"duckdb": "DuckDB CLI", b"claude": "Claude Code", b"codex": "Codex",
}  # fmt: skip
# Other software whose program has the same name, by the distribution's package: Midnight Commander, a synthesizer, a
# system tray, a script that calls another program.
_OTHERS = {b"mc": {"mc"}, b"helm": {"helm"}, b"docker": {"docker", "wmdocker", "podman-docker"}}
_BIN = re.compile(rb".*/bin/[^/]+", re.DOTALL)
_OF_PYTHON = (PackageKind.PYTHON, PackageKind.CONDA)
_BUILT_IN = b"/lib/vscode/extensions"
_CODE = re.compile(rb".*\.(?:js|cjs|mjs|wasm|py)", re.DOTALL)
_BUILD_SECTIONS = frozenset({"devel", "libdevel"})
_ENDS = re.compile(r"[;&|(){}`\n]")  # of a simple command of a shell
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "zsh"})
_GIVEN = re.compile(r"-\w*c")  # sh -ec "aws s3 ls"
# Words before the one that is called.
_BEFORE = frozenset(
    {"RUN", "if", "then", "elif", "else", "do", "while", "until", "!", "exec", "time", "sudo", "env", "nohup", "xargs"}
)
_SETS = re.compile(r"\w+=")
_SHARED = b"/usr/share"  # documentation, completions
_MOST = 6  # layers that a comment names
_STAGES = (
    "# in several stages: FROM BASE AS build, and RUNs with the compilers\n"
    "# then FROM BASE, and COPY --from=build with what was built, e.g. /opt/venv"
)
_BUILD_RULES = ("headers", "static-libraries", "build-files")


def tools(known: Known) -> Iterator[Saving]:
    """Command-line tools by the names of their programs, a finding for each installation."""
    found: defaultdict[bytes, set[int]] = defaultdict(set)
    for at, path in enumerate(known.inventory.paths):
        is_tool = name(path) in TOOLS and _BIN.fullmatch(path) and known.inventory.modes[at] & 0o111
        if is_tool and not _is_other(known, at):
            found[name(path)].add(at)
    for program, entries in found.items():
        for some in _installations(known, entries):
            yield from _tool(known, program, some)


def _is_other(known: Known, at: int) -> bool:
    """Whether a program is known to be other software than what the tool of its name is."""
    path, owners = known.inventory.paths[at], known.owners
    end = known.resolver.resolve(path).end
    numbers = (*owners.owners(at), *owners.owners(known.inventory.index.get(end or path, at)))
    packages = [owners.packages[each] for each in numbers]
    others = _OTHERS.get(name(path), ())
    return any(each.kind == PackageKind.DPKG and each.name.partition(":")[0] in others for each in packages)


def _installations(known: Known, entries: set[int]) -> list[set[int]]:
    """The same entries by installation: links with the program that they lead to, and all that one package owns."""
    leader: dict[object, object] = {}

    def lead(key: object) -> object:
        while leader.setdefault(key, key) != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    ends = {}
    for at in sorted(entries):
        end = known.resolver.resolve(known.inventory.paths[at]).end
        ends[at] = known.inventory.index.get(end, at) if end is not None else at
        for number in (*known.owners.owners(at), *known.owners.owners(ends[at])):
            leader[lead((number,))] = lead(ends[at])
    found: defaultdict[object, set[int]] = defaultdict(set)
    for at, end_of in ends.items():
        found[lead(end_of)].add(at)
    return list(found.values())


def _tool(known: Known, program: bytes, entries: set[int]) -> Iterator[Saving]:
    packages = {known.owners.of[at] for at in entries if known.owners.of[at] >= 0}
    going = {each for number in packages for each in known.going_with(number)}
    loose = [at for at in entries if known.owners.of[at] < 0]
    saves = known.sizes([*known.files_of(going), *loose])
    size = sum(saves.values())
    if not size:
        return
    risk, use = _use(known, entries, packages)
    if risk is Risk.LOW and not known.asked.keys().isdisjoint(going):
        risk = Risk.MEDIUM
    paths = [to_text(known.inventory.paths[at]) for at in sorted(entries)]
    by = sorted(known.owners.packages[each].label for each in packages)
    finding = Finding(
        kind="optional-tool",
        title=TOOLS[program],
        size=size,
        risk=risk,
        evidence=(f"{', '.join(paths[:3])} ({', '.join(by) or 'no package'})", *use),
        file="Dockerfile",
        edit="\n".join(_leave_out(known, program, entries)),
        subjects=(*by, *paths),
        layers=known.layers_of(entries),
    )
    yield Saving(finding, saves)


def _leave_out(known: Known, program: bytes, entries: set[int]) -> Iterator[str]:
    """Comments: how a tool is left out. A RUN that calls it must have it, but not in a layer.

    Nothing of a path is in them that cannot be written: then the tool is named alone.
    """
    by: defaultdict[int, list[int]] = defaultdict(list)
    for at in sorted(entries):
        layer = known.layers.of.get(known.inventory.paths[at], UNKNOWN)
        by[layer if is_copied(known, layer) or is_of_base(known, layer) else UNKNOWN].append(at)
    for layer, some in sorted(by.items()):
        if layer == UNKNOWN:
            yield from _not_made(known, program, some)
        elif is_of_base(known, layer):
            yield f"# layer {layer + 1} has it: {IN_BASE}"
        else:
            paths = [known.inventory.paths[at] for at in some]
            by_name = left_out(known, layer, paths[:_MOST], 0).lines
            yield from by_name or (f"# do not copy {TOOLS[program]} in layer {layer + 1}",)


def _not_made(known: Known, program: bytes, entries: list[int]) -> Iterator[str]:
    """The same for what a RUN installs, or nobody knows what."""
    paths = [known.inventory.paths[at] for at in entries]
    layers = [at for at in range(len(known.layers.layers)) if _calls(known, at, program.decode())]
    variable = f"INSTALL_{re.sub(r'[^A-Z0-9]', '_', program.decode().upper())}"
    if layers:
        numbers = ", ".join(str(at + 1) for at in layers[:_MOST])
        yield f"# called in layer {numbers}: install it in a stage of its own, and mount it in each RUN that calls it"
        if _is_alone(known, entries):
            source = next(filter(edits.is_writable, paths), b"/.../" + program)
            yield edits.line(
                "# RUN --mount=type=bind,from=STAGE,source={},target=/usr/local/bin/{} ...", source, program
            )
        else:
            yield "# its program needs what is installed with it: mount all of that where it was installed"
            yield "# RUN --mount=type=bind,from=STAGE,source=DIRECTORY,target=DIRECTORY ..."
    else:
        yield f"# leave its line out, or let who builds choose: ARG {variable}=false, and where it is installed"
        yield f'# if [ "${variable}" = true ]; then ...; fi'


def _is_alone(known: Known, entries: list[int]) -> bool:
    """Whether a program works without other files of its installation, as far as one can know.

    A script of an environment does not, nor what a link leads to, nor what a package brought with more than its
    documentation.
    """
    inventory, owners = known.inventory, known.owners
    programs = [at for at in entries if at not in inventory.targets]
    if not programs or any(venv_of(known, inventory.paths[at]) for at in programs):
        return False
    files = (each for at in programs for number in owners.owners(at) for each in owners.files[number])
    return all(
        within(inventory.paths[each], _SHARED) or each in programs or not stat.S_ISREG(inventory.modes[each])
        for each in files
    )


def _calls(known: Known, layer: int, program: str) -> bool:
    """Whether a RUN calls a program: as the first word of a command, and not only to see that it is there."""
    text = known.layers.layers[layer].command.replace("\\\n", " ")
    return not is_copied(known, layer) and any(_begins(each.split(), program) for each in _ENDS.split(text))


def _begins(words: list[str], program: str) -> bool:
    """Whether a simple command, or one in it that is given to a shell, begins with a program."""
    can_begin, is_shell = True, False
    for word, after in zip(words, [*words[1:], ""], strict=False):
        called = word.strip("\"'").rpartition("/")[2]
        if called in _SHELLS:
            can_begin, is_shell = False, True
        elif is_shell and _GIVEN.fullmatch(word):
            can_begin, is_shell = True, False
        elif can_begin and called == program and after != "--version":
            return True
        else:
            can_begin = can_begin and (called in _BEFORE or _SETS.match(word) is not None)
    return False


def _use(known: Known, entries: set[int], packages: set[int]) -> tuple[Risk, tuple[str, ...]]:
    """The risk of leaving a tool out, and what a trace says of its use.

    A test that imports every module of an environment opens files of a tool without running it. An interpreter opens
    the script that it runs, and some backends see only that.
    """
    if not known.traced:
        return Risk.MEDIUM, ()
    if any(known.executed[at] for at in entries):
        return Risk.HIGH, ("a test ran it",)
    if any(known.touched[at] for at in entries):
        return Risk.HIGH, ("a test opened the program",)
    if not any(known.used[each] for each in packages):
        return Risk.LOW, ("no test used it",)
    is_module = any(known.owners.packages[each].kind in _OF_PYTHON for each in packages if known.used[each])
    what = "imported its Python module" if is_module else "used other files of its package"
    return Risk.MEDIUM, (f"a test {what}; the program was not run",)


def extensions(known: Known) -> Iterator[Saving]:
    """Extensions that somebody installed; with a trace, only those that no test activated."""
    for number, package in known.packages():
        if package.kind != PackageKind.VSCODE or package.place.endswith(_BUILT_IN):
            continue
        files = known.owners.files[number]
        is_active = any(known.touched[at] and _CODE.fullmatch(known.inventory.paths[at]) for at in files)
        if is_active:
            continue
        going = known.going_with(number)
        finding = Finding(
            kind="extension",
            title=f"{package.name} {package.version}".strip(),
            size=known.size_of(going),
            risk=Risk.MEDIUM,
            evidence=("no test activated it",) if known.traced else ("installed; without a trace its use is unknown",),
            file="extensions.json",
            edit=unasked(package),
            subjects=(package.label,),
            layers=known.layers_of(files),
        )
        yield Saving(finding, known.sizes(known.files_of(going)))


def build_tools(known: Known) -> Iterator[Saving]:
    """Compilers, headers and static libraries: a build in several stages would leave them behind."""
    packages = {
        number
        for number, package in known.packages()
        if package.section.rpartition("/")[2] in _BUILD_SECTIONS and not known.used[number] and not package.essential
    }
    going = known.all_going_with(number for number in packages if _only_for(known, number, packages))
    if not going:  # headers and static libraries have findings of their own
        return
    cruft = [at for name_of in _BUILD_RULES for at in known.cruft.get(name_of, ())]
    entries = [at for at in cruft if not going.intersection(known.owners.owners(at))]
    saves = known.sizes([*known.files_of(going), *entries])
    others = sum(known.is_counted[at] for at in entries)
    names = sorted(known.owners.packages[each].label for each in going)
    finding = Finding(
        kind="build-tools",
        title="compilers, headers and static libraries",
        size=sum(saves.values()),
        risk=Risk.LOW if known.traced and known.asked.keys().isdisjoint(going) else Risk.MEDIUM,
        evidence=(
            f"{counted(len(going), 'package')} to build with, e.g. {', '.join(names[:5])}",
            f"{counted(others, 'header or static library', 'headers and static libraries')} of other packages",
        ),
        file="Dockerfile",
        edit=_STAGES,
        subjects=tuple(names),
        layers=known.layers_of(entries),
    )
    yield Saving(finding, saves)


def _only_for(known: Known, number: int, building: set[int]) -> bool:
    """Whether only other packages to build with require a package."""
    return known.requirers[number] <= building
