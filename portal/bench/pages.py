# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The pages that are measured: every one that the portal has, each with the plan and run that have most to show."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from ..web.app import READ
from ..web.auth import LOGIN_COOKIE
from ..web.visit import COOKIE, TOKEN_FIELD
from .estate import SITES
from .seed import Seeded

STREAMS = ("/stream", "/runs/{run}/stream")  # no pages: the row ``event age`` and ``viewers`` are of them
UNSEEDED = ("/plans/{plan}/runbook/versions/{version}", "/answer/{token}")  # of a version in git, and of a link that was sent
INCIDENT = "/incidents/{run}"
BESIDE = ("/?page=2", "/?q=r%3AREADY", "/runs?cycles=1", "/audit?before=500")  # pages of lists; each is one of ROUTES with a query
TIMEOUT = 120.0  # seconds for one page


@dataclass(frozen=True)
class Page:
    """``name``: its route, with the query; ``path``: what is asked for. ``known``: it is of who is logged in."""

    name: str
    path: str
    known: bool = True


@dataclass(frozen=True)
class Painted:
    """Milliseconds until the whole page was there: the first time, and of the times after the median and the worst; its bytes."""

    first: float
    median: float
    worst: float
    nbytes: int


def pages(seeded: Seeded) -> Iterator[Page]:
    """Every GET route but the streams and those of what is not seeded. Raises KeyError for one with a part that has no value here."""
    for path in READ:
        if path not in STREAMS + UNSEEDED:
            run = seeded.incident if INCIDENT in path else seeded.run
            yield Page(path, path.format(plan=seeded.plan, run=run, action="failback", site=SITES["primary"][0]), known=path != "/login")
    yield from (Page(path, path) for path in BESIDE)


class Browser:
    """One connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._cookies: dict[str, str] = {}

    def login(self, name: str, password: str) -> None:
        """Through the form, as a person does. Raises XdrError."""
        self._ask("GET", "/login")
        form = urlencode({TOKEN_FIELD: self._cookies[LOGIN_COOKIE], "name": name, "password": password})
        status, _ = self._ask("POST", "/login", form)
        if status != 303 or COOKIE not in self._cookies:
            raise XdrError(f"the portal let nobody in ({status})", where="the bench", todo="Try it again")

    def first(self) -> float:
        """Milliseconds until the page of all plans was there: a portal that has just begun reads them meanwhile."""
        return self._timed(Page("/", "/"))[0]

    @property
    def session(self) -> str:
        return self._cookies[COOKIE]

    def paint(self, page: Page, repeat: int) -> Painted:
        """Raises XdrError for a page that does not come."""
        first, nbytes = self._timed(page)
        took = [self._timed(page)[0] for _ in range(repeat)]
        return Painted(first, statistics.median(took), max(took), nbytes)

    def _timed(self, page: Page) -> tuple[float, int]:
        begin = time.perf_counter()
        status, body = self._ask("GET", page.path, known=page.known)
        took = (time.perf_counter() - begin) * 1000
        if status != 200:
            raise XdrError(f"the page {page.path} answered {status}", where="the bench", todo="This is a defect: report it")
        return took, len(body)

    def _ask(self, method: str, path: str, form: str = "", *, known: bool = True) -> tuple[int, bytes]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())} if known else {}
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, form or None, headers)
        answer = self._connection.getresponse()
        for line in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name] = value
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()
