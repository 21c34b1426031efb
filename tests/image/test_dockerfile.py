"""Dockerfiles: any configuration, read by a real builder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from apply_images import IS_ROOT, exported, fill, plan_for
from command_line import slimagent
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from slimagent.apply import Tar, export
from slimagent.errors import RefusedError, UsageError
from slimagent.image.agent import held_back
from slimagent.image.dockerfile import Recipe, dockerfile, own_place, restore
from slimagent.image.dockerfile_words import NEWLINE, array, comment, folded, quoted
from slimagent.inventory.scan import scan
from slimagent.model.image_config import ImageConfig, read_image_config

TAG = "slimagent-test-dockerfile"
HOSTILE = "\"'\\$`#{}[]()<>|&;=,:!?* \t\n\r\x01\x7fäß日\u2028\u0085\U0001f600aZ09-_/.@%^~"
WORDS = (
    *(
        "$HOME",
        "${HOME:-x}",
        "\\$x",
        "\\\\",
        '\\"',
        "a\\",
        "\\n",
        "'",
        '"',
        "# no comment",
        "<<EOF",
        "1<<EOF",
        "--flag",
    ),
    *("\\\nb", "a\n# c\nb", "\n", "", " ", "[x]", '["x"]', "%d", "$", "$$", "${", "$(true)", "`true`", "a=b", "\t"),
)
VALUES = st.sampled_from(WORDS) | st.text(st.sampled_from(HOSTILE), max_size=12) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
)  # fmt: skip
# What an engine makes or touches in each container.
ENGINE = {b".dockerenv", b"dev", b"dev/console", b"dev/pts", b"dev/shm", b"etc", b"proc", b"sys"}
ENGINE |= {b"etc/hostname", b"etc/hosts", b"etc/resolv.conf", b"etc/mtab"}
KEYS = st.text(st.sampled_from("abcXYZ09_./-"), min_size=1, max_size=8) | VALUES.filter(bool)


def image_config(**config: Any) -> ImageConfig:
    return read_image_config(orjson.dumps({"Architecture": "amd64", "Os": "linux", "Config": config}))


def missing() -> str:
    if shutil.which("docker") is None:
        return "no docker"
    done = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


@pytest.fixture
def builder(tmp_path: Path) -> Path:
    """An empty build context, or a skip that says why there is no builder (under SLIMAGENT_TEST_STRICT a failure)."""
    if reason := missing():
        (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") else pytest.skip)(reason)
    return tmp_path


def built(context: Path, text: str) -> dict[str, Any]:
    """The configuration of an image that Docker's legacy builder makes of a Dockerfile."""
    (context / "Dockerfile").write_text(text, newline="")
    command = ["docker", "build", "--network=none", "--build-arg", f"{NEWLINE}=\n", "-q", "-t", TAG, str(context)]
    done = subprocess.run(command, env={**os.environ, "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + text
    inspected = subprocess.run(["docker", "image", "inspect", TAG], check=True, capture_output=True).stdout
    subprocess.run(["docker", "rmi", "-f", TAG], check=True, capture_output=True)
    config = orjson.loads(inspected)[0]["Config"]
    assert isinstance(config, dict)
    return config


def docker(*arguments: str) -> bytes:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    return subprocess.run(["docker", *arguments], env=environment, check=True, capture_output=True).stdout


def variables(config: dict[str, Any]) -> dict[str, str]:
    return dict(each.split("=", 1) for each in config["Env"] or ())


# Shrinking would build an image for each try.
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.reuse, Phase.generate])
@given(
    env=st.dictionaries(KEYS.filter(lambda key: "=" not in key), VALUES, min_size=40, max_size=80),
    labels=st.dictionaries(KEYS, VALUES, min_size=40, max_size=80),
    command=st.lists(VALUES, min_size=1, max_size=20),
    entrypoint=st.lists(VALUES, min_size=1, max_size=20),
    volumes=st.sets(VALUES.filter(lambda text: text.strip() == text != ""), max_size=8),
    test=st.lists(VALUES, min_size=1, max_size=9),
)
@pytest.mark.container
def test_a_real_builder_reads_back_every_value(
    builder: Path,
    env: dict[str, str],
    labels: dict[str, str],
    command: list[str],
    entrypoint: list[str],
    volumes: set[str],
    test: list[str],
) -> None:
    """Whatever the values hold: quotation marks, dollars, backslashes, line breaks, what looks like a comment."""
    config = image_config(
        Env=[f"{key}={value}" for key, value in {"PATH": "/bin", **env}.items()],
        Labels=labels,
        Cmd=command,
        Entrypoint=entrypoint,
        Volumes={each: {} for each in volumes},
        Shell=["/bin/sh", *command],
        Healthcheck={"Test": ["CMD", *test], "Interval": 90_000_000_000, "Timeout": 1_000_001, "Retries": 3},
        User="us er:$x\\",
        WorkingDir="/a b/$c\\d\"e'",
        StopSignal="SIGINT",
        ExposedPorts={"8888/tcp": {}, "53/udp": {}, "7000-7002/tcp": {}},
        OnBuild=['RUN   echo "$x" \\\\ # no', "ENV a=b"],
    )
    lines, notes = restore(config)
    found = built(builder, "\n".join(("FROM scratch", *lines)) + "\n")
    assert notes == ()
    assert variables(found) == {"PATH": "/bin", **env}
    for key, expected in config.config.items():
        if key not in ("Env", "ExposedPorts"):
            assert (found[key] or {}) == expected, key
    assert set(found["ExposedPorts"]) == {"8888/tcp", "53/udp", "7000/tcp", "7001/tcp", "7002/tcp"}


@pytest.mark.container
def test_values_longer_than_a_line_may_be_are_folded(builder: Path) -> None:
    """200 kB in a variable, a label and an array."""
    long = "".join(f"{number} #\\\"$'" for number in range(20_000))
    config = image_config(Env=["PATH=/bin", f"LONG={long}"], Labels={"long": long}, Cmd=["sh", "-c", long])
    lines, _ = restore(config)
    assert max(len(line) for each in lines for line in each.split("\n")) < 1 << 16
    found = built(builder, "\n".join(("FROM scratch", *lines)) + "\n")
    assert variables(found)["LONG"] == found["Labels"]["long"] == found["Cmd"][2] == long


@pytest.mark.container
def test_without_the_line_break_a_build_fails_and_says_so(builder: Path) -> None:
    """No image comes out that lacks it."""
    lines, _ = restore(image_config(Env=["A=a\nb"]))
    (builder / "Dockerfile").write_text("\n".join(("FROM scratch", *lines)) + "\n")
    command = ["docker", "build", "--network=none", str(builder)]
    done = subprocess.run(command, env={**os.environ, "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True)
    assert done.returncode != 0
    assert NEWLINE in done.stderr
    for each in reversed(re.findall(r"^ ---> ([0-9a-f]{12})$", done.stdout, re.MULTILINE)):
        docker("image", "rm", each)


@pytest.mark.parametrize(
    ("config", "note"),
    [
        ({"Env": ["PATH=/bin", "ALONE"]}, "the variable 'ALONE'"),
        ({"Env": ["PATH=/a", "PATH=/b"]}, "the first of several values of 'PATH'"),
        ({"Env": []}, "the missing PATH"),
        ({"Env": ["PATH=/b"], "Hostname": "h", "NewThing": 1}, "'Hostname', 'NewThing'"),
        ({"Env": ["PATH=/b"], "ExposedPorts": {"any": {}}}, "the exposed port 'any'"),
        ({"Env": ["PATH=/b"], "Healthcheck": {"Interval": 5}}, "no command"),
        ({"Env": ["PATH=/b"], "Healthcheck": {"Test": ["CMD-SHELL", "a\nb"]}}, "the shell form"),
        ({"Env": ["PATH=/b"], "OnBuild": ["RUN a\nb"]}, "ONBUILD 'RUN a\\nb'"),
    ],
)
def test_what_cannot_be_restored_is_said(config: dict[str, Any], note: str) -> None:
    """Nothing is left out in silence."""
    _, notes = restore(image_config(**config))
    assert len(notes) == 1
    assert note in notes[0]
    made = dockerfile(image_config(**config), Recipe(image="x", place="/agent"), "test")
    assert f"# Not restored: {notes[0]}" in made.text.split("\n")


def test_health_checks_in_each_form() -> None:
    """As the reference has them; the shell form where a line can hold it, else the same with the shell named."""

    def line(**check: Any) -> str:
        lines, _ = restore(image_config(Env=["PATH=/b"], Shell=["/bin/bash", "-c"], Healthcheck=check))
        return lines[-1]

    assert line(Test=["NONE"]) == "HEALTHCHECK NONE"
    assert line(Test=["CMD-SHELL", "curl -f $X || exit 1"]) == "HEALTHCHECK CMD curl -f $X || exit 1"
    assert line(Test=["CMD-SHELL", '["x"]']) == 'HEALTHCHECK CMD ["/bin/bash", "-c", "[\\"x\\"]"]'
    assert line(Test=["CMD", "a b"], Interval=3_600_000_000_000, StartInterval=1_500_000_000) == (
        'HEALTHCHECK --interval=1h --start-interval=1500ms CMD ["a b"]'
    )
    with pytest.raises(RefusedError):
        line(Test=["ELSE", "x"])


@pytest.mark.parametrize("image", ["", "-x", "a b", "a\nRUN x", "$x", "a\\"])
def test_a_name_that_is_none_is_refused(image: str) -> None:
    """Nothing gets into the file as something else than a name."""
    with pytest.raises(UsageError):
        dockerfile(image_config(), Recipe(image=image or " ", place="/agent"), "test")


@pytest.mark.parametrize("folder", ["/agent", "../agent", "a/../../b", "a\nb", "--from=x"])
def test_an_agent_outside_of_the_build_context_is_refused(folder: str) -> None:
    """COPY reaches nothing there."""
    with pytest.raises(UsageError):
        dockerfile(image_config(), Recipe(image="x", place="/agent", agent=folder), "test")


def test_an_image_with_instructions_for_others_is_not_built_from() -> None:
    """FROM would carry them out: the stages start from a copy of it, and only the last has them."""
    recipe = Recipe(image="x", place="/agent")
    made = dockerfile(image_config(Env=["PATH=/b"], OnBuild=["RUN evil"]), recipe, "test").text
    assert "FROM x" not in made
    assert made.count("COPY --from=x / /") == 1
    assert made.count("FROM original AS") == 2
    assert made.count("ONBUILD") == 2  # the comment and the instruction
    assert made.rstrip().endswith("ONBUILD RUN evil")


@given(st.text(), st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_no_value_leaves_its_line(text: str, values: list[str]) -> None:
    """A comment stays one, and an array one line."""
    assert all(line.startswith("# ") and len(line.splitlines()) >= 1 for line in comment(text))
    assert "\n" not in array(values)
    assert orjson.loads(array(values)) == values


@given(st.text(st.sampled_from('ab#\\" \t'), min_size=50, max_size=400))
def test_a_folded_line_unfolds_to_itself(text: str) -> None:
    """As the reader joins lines; with a limit that makes it fold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slimagent.image.dockerfile_words._LONGEST", 40)
        try:
            lines = folded(f"X{text}X").split("\n")
        except RefusedError:
            return
    assert all(line.endswith("\\") and not line.endswith("\\\\") for line in lines[:-1])
    assert not any(line[0] in "# \t" for line in lines[1:])
    assert "".join(line[:-1] for line in lines[:-1]) + lines[-1] == f"X{text}X"


def test_a_value_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(RefusedError):
        quoted("a\0b")


def test_variables_that_would_load_code_are_kept_from_the_agent() -> None:
    """I3: in the two stages in which it runs, and not in the image that is made; its programs get them back."""
    config = image_config(Env=["PATH=/bin", "LD_PRELOAD=/x.so"], Cmd=["x"])
    recipe = Recipe(image="x", place="/a", entry=("/a/lib/ld", "/a/start.py"), env=held_back(config.env))
    stages = re.split(r"^FROM ", dockerfile(config, recipe, "t").text, flags=re.M)
    ours = [stage for stage in stages if re.search(r"^\S+ AS (traced|slim)\n", stage)]
    last = stages[-1]
    assert len(ours) == 2
    for stage in ours:
        assert stage.index('SLIMAGENT_ENV_LD_PRELOAD="/x.so"') < stage.index("COPY") < stage.index("RUN")
        assert re.search(r"^ENV LD_PRELOAD=\"\" ", stage, flags=re.M)
    assert "SLIMAGENT_ENV" not in last and 'LD_PRELOAD="/x.so"' in last


def test_the_command_writes_it(tmp_path: Path) -> None:
    """From a file with the image's configuration: its user, its start, the level and the command are in it."""
    config = {"User": "jovyan", "Env": ["PATH=/bin"], "Entrypoint": ["tini", "--"], "Cmd": ["lab", "a b"]}
    (tmp_path / "image.json").write_bytes(orjson.dumps([{"Architecture": "amd64", "Os": "linux", "Config": config}]))
    (tmp_path / "mine.toml").write_text('name = "mine"\ndescription = "x"\n')
    arguments = ("dockerfile", "lab:x", "--image-config", "image.json", "--level", "file", "--profile", "./mine.toml")
    done = slimagent(*arguments, "-o", "Dockerfile", "--", "sh", "-c", 'echo "$HOME"', cwd=tmp_path)
    said = "wrote Dockerfile; next:\n  slimagent bundle agent\n  docker build -f Dockerfile -t TAG .\n"
    said += "  docker build -f Dockerfile --target documents -o slim-documents .    # the plan and the proof\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", said)
    text = (tmp_path / "Dockerfile").read_text()
    assert '"--user", "jovyan"' in text
    assert "\"tini -- lab 'a b'\"" in text
    assert '"--", "sh", "-c", "echo \\"$HOME\\""]' in text
    place = own_place((tmp_path / "image.json").read_bytes())
    assert f"COPY ./mine.toml {place}/profile.toml" in text
    assert set(re.findall(r"/\.slimagent[^/\s\"]*", text)) == {place}
    assert text.endswith('USER jovyan\nENTRYPOINT ["tini", "--"]\nCMD ["lab", "a b"]\n')


@pytest.mark.parametrize("name", ["traced", "slim", "Documents", "original", "0", "12"])
def test_an_image_that_is_named_like_a_stage_is_refused(name: str) -> None:
    """FROM and COPY --from would take the stage of that name or number, which has what the tests left."""
    for recipe in (Recipe(image=name, place="/.x"), Recipe(image="app", place="/.x", agent_image=name)):
        with pytest.raises(UsageError, match="name of a stage") as caught:
            dockerfile(ImageConfig(architecture="amd64", os="linux", config={}), recipe, "slimagent")
        assert caught.value.hint == f"write {name}:latest"


def test_a_profile_in_several_files_is_refused(tmp_path: Path) -> None:
    """The build gets one file."""
    (tmp_path / "image.json").write_bytes(orjson.dumps([{"Architecture": "amd64", "Os": "linux", "Config": {}}]))
    (tmp_path / "mine.toml").write_text('name = "mine"\ndescription = "x"\nextends = ["./other.toml"]\n')
    (tmp_path / "other.toml").write_text('name = "other"\ndescription = "x"\n')
    done = slimagent("dockerfile", "x", "--image-config", "image.json", "--profile", "./mine.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and "extends other files" in done.stderr


def test_what_may_go_is_passed_on(tmp_path: Path) -> None:
    """The options of `run` that decide reach the first stage, those of `apply` the second; defaults neither."""
    (tmp_path / "image.json").write_bytes(
        b'[{"Architecture": "amd64", "Os": "linux", "Config": {"Env": ["PATH=/bin"]}}]'
    )
    kept = ("--keep", "/srv/**", "--keep-package", "dpkg:vim", "--no-compiling", "--budget", "7", "--strip", "none")
    kept += ("--gpu-arch", "sm_90,h100", "--gpu-ptx", "keep", "--gpu-code-of", "python:nvidia-*")
    arguments = ("dockerfile", "x", "--image-config", "image.json")
    written = slimagent(*arguments, *kept, "--", "true", cwd=tmp_path).stdout
    words = [orjson.loads(each.replace("\\\n", "")) for each in re.findall(r"^RUN ((?:.*\\\n)*.*)", written, re.M)]
    assert [each in words[0] for each in kept] == [True] * len(kept)
    assert words[1][-2:] == ["--strip", "none"] and "--keep" not in words[1]
    plain = slimagent(*arguments, "--", "true", cwd=tmp_path).stdout
    assert "--strip" not in plain and "--budget" not in plain


def test_the_agent_is_where_the_image_cannot_have_anything(tmp_path: Path) -> None:
    """A name made from the image's content and the agent: the same for the same, another if one of them changes."""
    (tmp_path / "agent").mkdir()
    record = tmp_path / "agent/bundle.json"

    def place(**image: Any) -> str:
        described = {"Architecture": "amd64", "Os": "linux", "Config": {"Env": ["PATH=/bin"]}, **image}
        (tmp_path / "image.json").write_bytes(orjson.dumps([described]))
        done = slimagent("dockerfile", "x", "--image-config", "image.json", "--", "true", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (found,) = set(re.findall(r"/\.slimagent[^/\s\"]*", done.stdout))
        assert re.fullmatch(r"/\.slimagent-[0-9a-f]{32}", found)
        return str(found)

    first = place(Id="sha256:1", RootFS={"Layers": ["sha256:2"]})
    assert place(Id="sha256:1", RootFS={"Layers": ["sha256:2"]}, Metadata={"LastTagTime": "later"}) == first
    others = {place(Id="sha256:3"), place(RootFS={"Layers": ["sha256:2"]}), place(RootFS={"Layers": ["sha256:4"]})}
    versions = {"slimagent": "1", "architecture": "x86_64", "loader": "ld.so", "python": "3.11", "glibc": "2.36"}
    for size in (1, 2):
        record.write_bytes(orjson.dumps({"schema": "slimagent/bundle", "version": 1, "size": size, **versions}))
        others.add(place(Id="sha256:1"))
    assert len(others | {first}) == 6


def test_the_command_refuses_what_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "image.json").write_text("[]")
    done = slimagent("dockerfile", "x", "--image-config", tmp_path / "image.json")
    assert done.returncode == 2
    assert "image.json" in done.stderr
    assert not list(tmp_path.glob("Dockerfile*"))


@pytest.mark.container
@pytest.mark.skipif(not IS_ROOT, reason="owners, devices and capabilities need root")
def test_the_last_copy_keeps_every_corner(builder: Path) -> None:
    """`COPY --from=slim / /` by the legacy builder: what the image layer says is what the result says, path by path."""
    root = builder / "root"
    root.mkdir()
    fill(os.fsencode(root))
    tar, names = builder / "rootfs.tar", (TAG, f"{TAG}:copy")
    inventory = scan(os.fsencode(root))
    export(plan_for(inventory), "digest", inventory, Tar(os.fsencode(tar)))
    context = builder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f'FROM {TAG} AS slim\nFROM scratch\nCOPY --from=slim / /\nCMD ["none"]\n')
    try:
        docker("import", str(tar), TAG)
        docker("build", "--network=none", "-q", "-t", names[1], str(context))
        before, after = (exported(name) for name in names)
    finally:
        docker("rmi", "-f", *names)
    assert before.keys() == after.keys()
    for path, member in before.items():
        for what in ("mode", "uid", "gid", "size", "type", "linkname", "devmajor", "devminor"):
            assert getattr(after[path], what) == getattr(member, what), (path, what)
        if path not in ENGINE:
            assert int(after[path].mtime) == int(member.mtime), path
    assert after[b"bin/ping"].pax_headers == before[b"bin/ping"].pax_headers
    assert "SCHILY.xattr.security.capability" in after[b"bin/ping"].pax_headers
