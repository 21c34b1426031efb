"""Kind `rstudio`: RStudio Server starts as jupyter-rsession-proxy starts it, and a session works as in a browser.

Parameters: `rserver` (the program; default as the proxy finds it), `quarto` and `pandoc` (true: they must be there,
false: leave them out; default: exercised where they are). Written from RStudio's sources. It was run with the real
rserver, built from the sources of August 2026, and never with a real rsession; the tests have a stand-in for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil

from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import Finding, of_items, skipped
from slimagent.checks.loopback import Client, RequestError, free_port
from slimagent.checks.processes import lives
from slimagent.checks.rstudio.page import LOADER, fault, permutation_fault, permutations, references
from slimagent.checks.rstudio.rpc import Browser, CallError, Session, browser, client_init, png_fault
from slimagent.checks.rstudio.server import (
    DIRECTORIES,
    SESSION_SECONDS,
    Place,
    has_account,
    locate,
    number,
    prepare,
    running,
    session_log,
)
from slimagent.checks.rstudio.tools import Tools
from slimagent.checks.server import NotReadyError, Server
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Item, Outcome

PARAMETERS: dict[str, type] = {"rserver": str, "quarto": bool, "pandoc": bool}
_ANSWER = 30.0  # seconds for one answer of a server that is ready
_SESSION = SESSION_SECONDS + 5.0  # seconds for an rsession to come up: it loads R; first rserver gives it up
_CONSOLE = 30.0  # seconds for a line at the console
_QUIT = 15.0  # seconds for a session to end
_LOOK = 0.05
_LATER = ("page", "assets", "session", "evaluate", "plot", "quit")


def run(spec: CheckSpec, context: Context) -> Finding:
    """Items: start, page, assets, a permutation each, session, evaluate, plot, quit, quarto, quarto render, pandoc."""
    deadline = time.monotonic() + spec.seconds
    rserver = locate(str(spec.parameters.get("rserver", "rserver")), DIRECTORIES, context.env)
    if not rserver:
        return skipped("rserver is not installed")
    if number(context.user) == 0:
        # By default root is below auth-minimum-user-id, and as root rserver leaves a key in /var/lib/rstudio-server.
        # Skipped whole: what was not exercised has to stay in the image.
        return skipped("RStudio has no sessions for root: run this check as an ordinary user")
    with temporary_directory(context.user) as directory:
        place = prepare(context, directory)
        served, log = _served(place, rserver, deadline)
        tools = Tools(
            place=place,
            rserver=rserver,
            deadline=deadline,
            quarto=_flag(spec, "quarto"),
            pandoc=_flag(spec, "pandoc"),
        )
        return of_items((*served, *tools.items()), log=log)


def _flag(spec: CheckSpec, name: str) -> bool | None:
    value = spec.parameters.get(name)
    return value if isinstance(value, bool) else None


def _served(place: Place, rserver: str, deadline: float) -> tuple[list[Item], str]:
    """The items that need the server, and if one failed what server and session wrote last."""
    user = browser(free_port())
    try:
        with running(place, rserver, user.client, deadline - time.monotonic()) as server:
            items = list(_Studio(server, user, deadline).items())
            if all(item.outcome is not Outcome.FAILED for item in items):
                return items, ""
            return items, "\n".join(filter(None, (server.output.last_lines(), session_log(place))))
    except NotReadyError as error:
        why, _, log = str(error).partition("\n")
        why = _with_cause(why, log)
        if not has_account(place.context):
            why += f"; user {number(place.context.user)} has no account, which rserver needs: add one to /etc/passwd"
    except OSError as error:
        why, log = f"{rserver}: {error.strerror or error}", ""
    rest = (Item(name=name, outcome=Outcome.SKIPPED, detail="the server did not start") for name in _LATER)
    return [Item(name="start", outcome=Outcome.FAILED, detail=why), *rest], log


def _with_cause(why: str, log: str) -> str:
    """What happened, and the line of a log that says why: rserver marks it so."""
    lines = [line.strip() for line in log.splitlines() if " ERROR " in line or line.lower().startswith("error")]
    return f"{why}: {lines[-1][:300]}" if lines else why


class _UnexercisedError(Exception):
    """There is nothing to exercise."""


@dataclass(slots=True)
class _Studio:
    """A running RStudio Server, asked one thing after the other."""

    server: Server
    browser: Browser
    deadline: float
    paths: list[str] = field(default_factory=list)
    session: Session | None = None
    processes: list[psutil.Process] = field(default_factory=list)

    @property
    def client(self) -> Client:
        return self.browser.client

    def items(self) -> Iterator[Item]:
        """Every item, in order."""
        yield Item(name="start", outcome=Outcome.PASSED)
        yield self._item("page", self._page)
        yield self._item("assets", self._assets)
        yield from self._permutations()
        yield self._item("session", self._open)
        yield self._item("evaluate", self._evaluate)
        yield self._item("plot", self._plot)
        yield self._item("quit", self._quit)

    def _item(self, name: str, step: Callable[[], str]) -> Item:
        try:
            return Item(name=name, outcome=Outcome.PASSED, detail=step())
        except _UnexercisedError as reason:
            return Item(name=name, outcome=Outcome.SKIPPED, detail=str(reason))
        except (RequestError, CallError) as error:
            return Item(name=name, outcome=Outcome.FAILED, detail=str(error))

    def _left(self, most: float = _ANSWER) -> float:
        return max(0.0, min(most, self.deadline - time.monotonic()))

    def _page(self) -> str:
        answer = self.client.get("/", self._left())
        text = answer.body.decode("utf-8", "replace")
        if LOADER not in text:
            raise RequestError(f"GET /: {answer.url} is not RStudio's page")
        self.paths = references(text, answer.url)
        return ""

    def _assets(self) -> str:
        if not self.paths:
            raise _UnexercisedError("there is no page")
        wrong = [why for why in (fault(self.client, path, self._left()) for path in self.paths) if why]
        if wrong:
            raise RequestError("; ".join(wrong[:5]))
        return f"{len(self.paths)} scripts, styles and images"

    def _permutations(self) -> Iterator[Item]:
        """An item for each of the programs from which the page's loader chooses one for the browser at hand."""
        loader = next((path for path in self.paths if path.partition("?")[0].endswith(LOADER)), "")
        try:
            names = permutations(self.client.get(loader, self._left()).body) if loader else []
        except RequestError:  # it is one of the assets
            names = []
        if not names:
            yield Item(name="permutations", outcome=Outcome.SKIPPED, detail="no loader names any")
        for name in names:
            why = permutation_fault(self.client, loader, name, self._left())
            yield Item(name=f"permutation {name}", outcome=Outcome.FAILED if why else Outcome.PASSED, detail=why)

    def _open(self) -> str:
        before = self._descendants()
        self.session = client_init(self.browser, self._left(_SESSION))
        self.processes = [each for each in self._descendants() if each not in before]
        return self.session.versions

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.server.process.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _opened(self) -> Session:
        if self.session is None:
            raise _UnexercisedError("there is no session")
        return self.session

    def _evaluate(self) -> str:
        self._opened().evaluate("6*7", "[1] 42", self._left(_CONSOLE))
        return "6*7 is 42"

    def _plot(self) -> str:
        path = self._opened().plot("plot(1:3)", self._left(_CONSOLE))
        why = png_fault(self.client.get(path, self._left()).body)
        if why:
            raise RequestError(f"GET {path}: {why}")
        return ""

    def _quit(self) -> str:
        deadline = time.monotonic() + self._left(_QUIT)
        self._opened().quit(self._left(_QUIT))
        while any(lives(each) for each in self.processes):
            if time.monotonic() >= deadline:
                raise CallError(f"quit_session: the session still runs after {_QUIT:g} s")
            time.sleep(_LOOK)
        return ""
