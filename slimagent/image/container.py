"""What a container is started with, and the options of an engine's `create` that this comes to. Pure.

Sources: the reference of `docker create` and the manual page podman-create(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

# Options of an engine that put something over the image's own files.
# A short one may stand behind letters that take no value, and its value right behind it.
_MOUNTING = re.compile(r"--(?:volume|mount|tmpfs|volumes-from)(?![^=])|-[diPqt]*v")
_NETWORKING = re.compile(r"--(?:publish|publish-all|ip6?|mac-address|net|network)(?![^=])|-[ditP]*p|-[dit]*P")
_WITHOUT_VALUE = ("-P", "--publish-all")
_PRIVATE_NETWORKS = ("none", "bridge", "default")  # in which each container has ports of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What a container is started with.

    `mounts` are (directory here, place there, writable), `private` directories there that only root can enter. `entry`
    is a program with its arguments; empty for the image's own, which then gets `arguments`. `user` may be empty for the
    image's own, too. `volumes`, `env` and `run_options` are the user's, in the engine's own words; `agent_env`
    are variables for the agent, before which none of those counts; `gpus` as Docker's `--gpus`; `cap_add` names
    capabilities. `healthcheck`: whether the image's health check runs.
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
        """As words behind `create` of the engine of that name."""
        yield from ("--network", self.network)
        if self.user:
            yield from ("--user", self.user)
        if self.entry:
            yield from ("--entrypoint", self.entry[0])
        if not self.healthcheck:  # one that runs meanwhile is a visitor that nobody asked for
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
        elif self.gpus:  # Podman takes the names of the Container Device Interface
            yield from ("--device", f"nvidia.com/gpu={self.gpus}")
        yield from self.run_options
        yield from (f"--env={variable}" for variable in self.agent_env)  # of two of a name the last one counts
        yield from (self.image, *self.entry[1:], *self.arguments)

    def bare(self) -> Container:
        """A container of the same image for a job of ours: nothing over its files, no port, no address."""
        return Container(image=self.image, run_options=_without(_NETWORKING, _without(_MOUNTING, self.run_options)))

    def as_configured(self, image: str, run_options: tuple[str, ...] = ()) -> Container:
        """A container as `docker run` makes one of `image`: nothing of ours in it, nothing mounted."""
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
        """Whether two of it may run at a time: neither has a port or an address that the other one wants, too."""
        return self.network in _PRIVATE_NETWORKS and _without(_NETWORKING, self.run_options) == self.run_options


def _without(unwanted: re.Pattern[str], options: tuple[str, ...]) -> tuple[str, ...]:
    """An engine's options without some, each with its value."""
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
    """A field of a `--mount`, which is a line of comma-separated values (RFC 4180)."""
    return '"' + text.replace('"', '""') + '"' if any(each in text for each in ',"\n') else text
