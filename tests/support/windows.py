# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The lab's plan with maintenance windows, and a real mail server and a real webhook to be told by."""

from __future__ import annotations

import contextlib
import email
import email.policy
import http.server
import json
import shutil
import threading
import zoneinfo
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from portal import PROJECT
from portal.plan_view import one_plan
from tests.support.processes import free_port

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
PLAN_FILE = "plans/webshop.yml"
PEOPLE = """\
  owners:
    - {name: Anna Weber, notify: anna, user: otto}
    - {name: Ben Koch}
  stakeholders: [{name: Sales, notify: sales}]
  notify: [ops]
"""


def environment(folder: Path, maintenance: str, start: str = "window") -> Path:
    """An inventory whose plan webshop has these fields in ``maintenance``."""
    made = Path(shutil.copytree(PROJECT / "inventories" / "lab", folder / "inventory"))
    file = made / PLAN_FILE
    text = file.read_text(encoding="utf-8").replace("soak: 0s}", f"soak: 0s, start: {start}}}")
    file.write_text(f"{text}\nmaintenance:\n{maintenance}", encoding="utf-8")
    return made


def recurring(begin: float, *, duration: str = "1h", rule: str = "FREQ=WEEKLY", name: str = "sunday-night") -> str:
    """One window that begins then (Unix seconds) for the first time."""
    start = datetime.fromtimestamp(begin, BERLIN).strftime("%Y-%m-%dT%H:%M:%S")
    return f'  windows: [{{name: {name}, rrule: "{rule}", start: "{start}", duration: {duration}, time_zone: Europe/Berlin}}]\n'


def plan(folder: Path, maintenance: str, start: str = "window") -> Mapping[str, Any]:
    return one_plan("webshop", environment(folder, maintenance, start))


def at(text: str) -> float:
    """Unix seconds of a time in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


class Mails:
    """What the mail server has taken."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], EmailMessage]] = []
        self.refuses = False

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        if self.refuses:
            return "451 come again later"
        assert isinstance(envelope.content, bytes)
        self.got.append(
            (list(envelope.rcpt_tos), email.message_from_bytes(envelope.content, _class=EmailMessage, policy=email.policy.default))
        )
        return "250 OK"

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for recipients, mail in self.got if recipients == [address]]


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body
    return str(body.get_content())


@contextlib.contextmanager
def mail_server() -> Iterator[tuple[Mails, int]]:
    """Yields what it has taken, and its port."""
    mails, port = Mails(), free_port()
    controller = Controller(mails, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield mails, port
    finally:
        controller.stop()


@contextlib.contextmanager
def webhook() -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Yields the documents that were posted to it, and its port."""
    posted: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield posted, server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def channels(folder: Path, mail_port: int, hook_port: int, portal: str = "http://portal.example.com") -> Path:
    """A file of channels: two by mail, one by webhook."""
    file = folder / "inventory.channels.yml"
    mail = f"mailto://127.0.0.1:{mail_port}?from=xdr@example.com&to="
    urls = f"  anna: {mail}anna@example.com\n  sales: {mail}sales@example.com\n  ops: json://127.0.0.1:{hook_port}/hook\n"
    file.write_text(f"portal: {portal}\nchannels:\n{urls}", encoding="utf-8")
    file.chmod(0o600)
    return file
