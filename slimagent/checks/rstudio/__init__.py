"""Kind `rstudio`: RStudio Server starts as jupyter-rsession-proxy starts it, and a session works as in a browser.

Parameters: `rserver` (the program; default as the proxy finds it), `quarto` and `pandoc` (true: they must be there,
false: leave them out; default: exercised if there). Written from RStudio's sources. It was run with the real rserver,
built from the sources of August 2026, and never with a real rsession; the tests have a stand-in for both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from slimagent.checks import parameters
from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import (
    Finding,
    UnexercisedError,
    all_skipped,
    attempt,
    first_few,
    judged,
    of_items,
    skipped,
)
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
_SESSION = SESSION_SECONDS + 5.0  # seconds for an rsession to start; it loads R, and rserver gives up first
_CONSOLE = 30.0  # seconds for a line at the console
_QUIT = 15.0  # seconds for a session to end
_LOOK = 0.05
_LATER = ("page", "assets", "session", "evaluate", "plot", "quit")


def run(spec: CheckSpec, context: Context) -> Finding:
    """Items: start, page, assets, one per permutation, session, evaluate, plot, quit, quarto, quarto render, pandoc."""
    deadline = time.monotonic() + spec.seconds
    rserver = locate(parameters.string(spec, "rserver") or "rserver", DIRECTORIES, context.env)
    if not rserver:
        return skipped("rserver is not installed")
    if number(context.user) == 0:
        # By default root is below auth-minimum-user-id, and as root rserver leaves a key in /var/lib/rstudio-server.
        # The whole check is skipped, so that everything it would exercise stays in the image.
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
    """The items that need the server, and if one failed the last output of server and session."""
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
    return [judged("start", why), *all_skipped(_LATER, "the server did not start")], log


def _with_cause(why: str, log: str) -> str:
    """What happened, and the line of the log that says why, which rserver marks."""
    lines = [line.strip() for line in log.splitlines() if " ERROR " in line or line.lower().startswith("error")]
    return f"{why}: {lines[-1][:300]}" if lines else why


@dataclass(slots=True)
class _Studio:
    """A running RStudio Server that is exercised step by step."""

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
        yield judged("start", "")
        yield attempt("page", self._page)
        yield attempt("assets", self._assets)
        yield from self._permutations()
        yield attempt("session", self._open)
        yield attempt("evaluate", self._evaluate)
        yield attempt("plot", self._plot)
        yield attempt("quit", self._quit)

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
            raise UnexercisedError("no page")
        wrong = [why for why in (fault(self.client, path, self._left()) for path in self.paths) if why]
        if wrong:
            raise RequestError(first_few(wrong))
        return f"{len(self.paths)} scripts, styles and images"

    def _permutations(self) -> Iterator[Item]:
        """An item for each of the programs from which the page's loader chooses one for the browser."""
        loader = next((path for path in self.paths if path.partition("?")[0].endswith(LOADER)), "")
        try:
            names = permutations(self.client.get(loader, self._left()).body) if loader else []
        except RequestError:  # it is one of the assets
            names = []
        if not names:
            yield from all_skipped(["permutations"], "no loader names any")
        for name in names:
            yield judged(f"permutation {name}", permutation_fault(self.client, loader, name, self._left()))

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
            raise UnexercisedError("no session")
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
