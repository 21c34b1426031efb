"""The settings that a container is started with, and the options of an engine's `create` for them. Pure.

Sources: the reference of `docker create` and the manual page podman-create(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

# Engine options that mount something over the image's own files.
# A short option may follow letters that take no value, and its value may follow without a space.
_MOUNTING = re.compile(r"--(?:volume|mount|tmpfs|volumes-from)(?![^=])|-[diPqt]*v")
_NETWORKING = re.compile(r"--(?:publish|publish-all|ip6?|mac-address|net|network)(?![^=])|-[ditP]*p|-[dit]*P")
_WITHOUT_VALUE = ("-P", "--publish-all")
_PRIVATE_NETWORKS = ("none", "bridge", "default")  # each container has its own ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The settings that a container is started with.

    `mounts` are (path on the host, path in the container, writable). `private` are directories in the container that
    only root can enter. `entry` is a program with its arguments; if empty, the image's own entrypoint runs with
    `arguments`. An empty `user` means the image's own. `volumes`, `env` and `run_options` come from the user, in the
    engine's syntax. `agent_env` are variables for the agent, and override `env`. `gpus` is Docker's `--gpus`,
    `cap_add` names capabilities, and `healthcheck` says whether the image's health check runs.
    """

    image: str
    entry: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    user: str = "0:0"
    network: str = "none"
    private: tuple[str, ...] = ()
    mounts: tuple[tuple[str, str, bool], ...] = ()
    volumes: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    agent_env: tuple[str, ...] = ()
    gpus: str = ""
    run_options: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    healthcheck: bool = False

    def options(self, engine: str) -> Iterator[str]:
        """The arguments of `create` for the engine with that name."""
        yield from ("--network", self.network)
        if self.user:
            yield from ("--user", self.user)
        if self.entry:
            yield from ("--entrypoint", self.entry[0])
        if not self.healthcheck:  # it would run in the middle of our work
            yield "--no-healthcheck"
        for capability in self.cap_add:
            yield from ("--cap-add", capability)
        yield from (f"--mount=type=tmpfs,target={place},tmpfs-mode=0700" for place in self.private)
        for here, there, writable in self.mounts:
            fields = ("type=bind", f"source={here}", f"target={there}", *(() if writable else ("readonly",)))
            yield from ("--mount", ",".join(map(_field, fields)))
        for volume in self.volumes:
            yield from ("--volume", volume)
        for variable in self.env:
            yield from ("--env", variable)
        if self.gpus and engine == "docker":
            yield from ("--gpus", self.gpus)
        elif self.gpus:  # Podman takes Container Device Interface names
            yield from ("--device", f"nvidia.com/gpu={self.gpus}")
        yield from self.run_options
        yield from (f"--env={variable}" for variable in self.agent_env)  # if a name comes twice, the last one counts
        yield from (self.image, *self.entry[1:], *self.arguments)

    def bare(self) -> Container:
        """A container of the same image for slimagent's own work: no mounts over its files, no port, no address."""
        return Container(image=self.image, run_options=_without(_NETWORKING, _without(_MOUNTING, self.run_options)))

    def as_configured(self, image: str, run_options: tuple[str, ...] = ()) -> Container:
        """A container of `image` like the one that `docker run` makes: without the agent, without mounts."""
        return replace(
            self,
            image=image,
            user="",
            volumes=(),
            healthcheck=True,
            run_options=(*_without(_MOUNTING, self.run_options), *run_options),
        )

    @property
    def can_run_beside_another(self) -> bool:
        """Whether two such containers can run at once: they do not compete for a port or an address."""
        return self.network in _PRIVATE_NETWORKS and _without(_NETWORKING, self.run_options) == self.run_options


def _without(unwanted: re.Pattern[str], options: tuple[str, ...]) -> tuple[str, ...]:
    """Remove the options that match `unwanted`, and their values, from an engine's options."""
    words = iter(options)
    left = []
    for option in words:
        found = unwanted.match(option)
        if found is None:
            left.append(option)
        elif found[0] == option and option not in _WITHOUT_VALUE:
            next(words, None)
    return tuple(left)


def _field(text: str) -> str:
    """Quote a field of a `--mount`, which is a line of comma-separated values (RFC 4180)."""
    return '"' + text.replace('"', '""') + '"' if any(each in text for each in ',"\n') else text
