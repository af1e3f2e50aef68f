# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The story: a site is lost, the plan runs on DR, and comes home while a client keeps writing.

What is said of lost orders, outages and equality is measured from outside: from the client's own log, from the orders database,
and from the volumes' files as they lie on disk.
"""

from __future__ import annotations

import contextlib
import getpass
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.durable import locked, read_json
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.state_machine import View, derive

from . import measure, render, units
from .actions import asked, execute, request
from .interrupts import Interrupted, deaf, interruptible
from .lab import orders
from .lab.client import Client
from .lab.lab import Lab
from .plan_view import one_plan
from .services import Services

if TYPE_CHECKING:
    from rich.console import Console

    from .events import Listener
    from .results import RunResult

PLAN = "webshop"
USER = "demo"
ATTENDED, UNATTENDED = "lab", "demo"  # two labs: a run without a person never takes away what a person works with
RATE = 15  # orders a second: an outage is seen to 70 ms, and the shop leaves the two cores to what is shown
WRITE = 0.3  # seconds for which the client writes between two events


def play(*, unattended: bool, as_json: bool) -> int:
    """Play the story; the exit code says whether anything was lost. The JSON document is the last thing on stdout."""
    lab = Lab.create(UNATTENDED if unattended else ATTENDED)
    on = render.console(stderr=as_json)
    keep = not unattended  # after a failure too: a person will want to look
    with interruptible(), _alone(lab):
        story = Story(lab, on, portal=not unattended)
        try:
            document = story.play()
        except (Interrupted, KeyboardInterrupt):  # the latter while a run is followed (portal/following.py)
            keep = False
            on.print("[yellow]Interrupted: taking everything down[/]")
            return 1
        finally:
            deaf()
            story.close(keep=keep)
    code = measure.verdict(document)
    if as_json:
        render.show_json(document)
    _epilogue(on, document, story if keep else None)
    return code


def take_down() -> int:
    """End what an earlier demo left, of either kind."""
    for name in (ATTENDED, UNATTENDED):
        lab = Lab.create(name)
        Services(lab.inventory, lab.inventory.parent).stop()
        if lab.root.exists():
            lab.down()
    render.console().print("The demo's lab is down")
    return 0


@contextlib.contextmanager
def _alone(lab: Lab) -> Iterator[None]:
    """Of all checkouts of this account: they share the place of the lab."""
    path = lab.root.with_name(f".{lab.name}.demo.lock")
    try:
        with locked(path, timeout=0.2):
            yield
    except XdrError as error:
        if error.where == str(path):
            raise XdrError(f"{error.what}: another demo plays", where=error.where, todo="Wait until it ends", code="run_active") from error
        raise


@dataclass
class Story:
    """``portal``: worker and portal run beside it, and what it does is asked of the worker, for a person to watch."""

    lab: Lab
    on: Console
    portal: bool = False
    runs: list[dict[str, Any]] = field(default_factory=list)
    login: str = ""  # where the portal is, and how to log in
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.client = Client("", self.lab.inventory.parent / "orders.jsonl")
        self.services = Services(self.lab.inventory, self.lab.inventory.parent)

    def play(self) -> dict[str, Any]:
        """The whole story as the document that ``--json`` prints."""
        self._build()
        self._protect()
        lost, failover = self._lose_primary()
        reverse = self._reverse()
        failback = self._come_home()
        equal = self._settle()
        view = self._state()
        numbers = orders.numbers_in_file(self.lab.volume("primary"))
        return {
            "plan": PLAN,
            "status": str(view.state),
            "owner": view.owner,
            "epoch": view.epoch,
            "orders": measure.counts(self._log(), numbers, lost),
            "failover": failover,
            "reverse_replication": reverse,
            "failback": failback,
            "verified_equal": equal,
            "runs": self.runs,
        }

    def close(self, *, keep: bool) -> None:
        """End the client, and unless the lab is to be kept, everything else that was started."""
        self.client.stop()
        if not keep:
            self.services.stop()
            self.lab.down()

    # -- the chapters ----------------------------------------------------------------------------------------

    def _build(self) -> None:
        self._tell("Building two sites, frankfurt and amsterdam, and a witness beside them")
        self.services.stop()  # whatever an earlier story left
        if self.lab.root.exists():
            self.lab.down()
        self.lab.up()
        self.client = Client(self.lab.balancer_url, self.lab.inventory.parent / "orders.jsonl", rate=RATE)
        self.client.log.unlink(missing_ok=True)
        if self.portal:
            self._open_portal()

    def _open_portal(self) -> None:
        from . import following
        from .store import accounts

        password = accounts.add(following.open_store(self.lab.inventory), USER, accounts.Role.dr_admin)
        address = self.services.start()
        self.login = f"[bold]The portal is open: {address}[/], log in as {USER} with the password {password}"
        self._tell(self.login)

    def _protect(self) -> None:
        self._tell("The web shop starts in frankfurt, and a client begins to order through the load balancer")
        self._run("start")
        self.client.start()
        self._write(until=10)
        self._tell("Replication to amsterdam: the first cycle copies everything and compares it, with the client writing")
        self._run("reprotect")
        self._write()

    def _lose_primary(self) -> tuple[set[int], dict[str, Any]]:
        """The numbers that the failover lost, and its figures."""
        self._tell("[bold red]Frankfurt is lost:[/] every process of the site is killed while the client orders")
        since = time.monotonic()
        self.lab.lose_site("primary")
        who = f"{getpass.getuser()}@{socket.gethostname()}"
        self._run("failover", attestation=f"the demo killed every process of the site, started by {who}")
        self._write(until=len(self._log().acks) + 5)
        log = self._log()  # read before the database: what it acknowledges later is no loss
        there = orders.numbers_of_service(self.lab.service_url("dr", "orders-db"))
        lost = set(orders.lost(log.acks, there))
        figures = measure.failover(log.acks, lost, since, time.monotonic())
        self._tell(
            f"Amsterdam took over: the client was without an answer for {units.seconds(figures['outage_s'])}; "
            f"{len(lost)} acknowledged orders of the last {units.seconds(figures['rpo_s'])} had not been replicated yet"
        )
        return lost, figures

    def _reverse(self) -> dict[str, Any]:
        self._tell("Frankfurt is back. Nothing of the shop starts there: its record says that amsterdam owns the plan")
        self.lab.return_site("primary")
        self._tell("Reverse replication, amsterdam to frankfurt; what frankfurt had written and amsterdam never got is kept aside")
        result = self._run("reverse-replication")
        self._write()
        return {"bytes": measure.sent(result), "seconds": result.seconds}

    def _come_home(self) -> dict[str, Any]:
        self._tell("[bold green]Failback:[/] stop in amsterdam, copy and prove the rest, hand over, start in frankfurt, move the traffic")
        since = time.monotonic()
        result = self._run("failback")
        self._write(until=len(self._log().acks) + 5)
        figures = measure.failback(result, self._log().acks, since, time.monotonic())
        self._tell(f"The plan is home: the client was without an answer for {units.seconds(figures['outage_s'])}")
        return figures

    def _settle(self) -> bool:
        self._tell("The client stops, frankfurt is protected by amsterdam again, and both sites are compared from outside")
        self._write()
        self.client.stop()
        self._run("reprotect")
        plan = one_plan(PLAN, self.lab.inventory)
        files = [volume["path"] for group in plan["start_order"] for one in group["resources"] for volume in one["volumes"]]
        unequal = measure.unequal([(self.lab.volume("primary", file), self.lab.volume("dr", file)) for file in files])
        self._tell(f"[bold red]Not equal:[/] {', '.join(unequal)}" if unequal else f"All {len(files)} volumes are equal, byte for byte")
        return not unequal

    # -- its means -------------------------------------------------------------------------------------------

    def _run(self, action: str, *, attestation: str = "") -> RunResult:
        with render.watching(f"  xdr run {action} {PLAN}", self.on) as listener:
            result = self._ask(action, attestation, listener) if self.portal else self._execute(action, attestation, listener)
        told = ("exit_code", "seconds", "changed", "state")
        self.runs.append({"action": action, "run_id": result.run_id, **{name: getattr(result, name) for name in told}})
        return _well(result)

    def _ask(self, action: str, attestation: str, listener: Listener) -> RunResult:
        from . import following

        wanted = asked(action, PLAN, by=following.me(), origin="command line", attestation=attestation)
        return following.execute(following.open_store(self.lab.inventory), self.lab.inventory, wanted, listener)

    def _execute(self, action: str, attestation: str, listener: Listener) -> RunResult:
        return execute(request(action, PLAN, self.lab.inventory, attestation=attestation), listener)

    def _state(self) -> View:
        """State, owner and epoch as the hosts' own records say, read from their files."""
        plan = one_plan(PLAN, self.lab.inventory)
        hosts = [plan["witness"], *(host for site in plan["sites"].values() for host in site["hosts"])]
        records = {host: read_json(self.lab.root / host / "state" / "plans" / PLAN / "ownership.json") for host in hosts}
        return derive(plan, {host: {"reachable": True, "record": record, "replication": []} for host, record in records.items()})

    def _write(self, until: int = 0) -> None:
        """Let the client write: for a while, or until so many orders are acknowledged."""
        if not until:
            time.sleep(WRITE)
        elif not self.client.wait_for(until, 30):
            raise XdrError("the client gets no orders acknowledged", where=self.client.url, todo=f"Read {self.client.log}")

    def _log(self) -> orders.Log:
        return orders.read_log(self.client.log)

    def _tell(self, text: str) -> None:
        self.on.print(f"[dim]{time.monotonic() - self.began:5.1f} s[/]  {text}")


def _well(result: RunResult) -> RunResult:
    """The result of a run that ended well; anything else ends the story."""
    if result.stopped:
        raise Interrupted
    if not result.ok:
        raise XdrError(result.error, where=f"run {result.run_id}", code="run_failed")
    return result


def _epilogue(on: Console, document: dict[str, Any], kept: Story | None) -> None:
    for line in measure.told(document):
        on.print(f"  {line}")
    if kept is None:
        return
    on.print(f"\nThe lab is still up. {kept.login}\nTry:")
    for command, what in (
        (f"./xdr status {PLAN}", "the state of the plan, as the hosts know it"),
        (f"./xdr run replicate {PLAN}", "a replication cycle"),
        (f"./xdr run failover {PLAN}", "a planned move to amsterdam, nothing is lost"),
        (f"./xdr run failback {PLAN} --check", "what a failback would do"),
        (f"./xdr plan show {PLAN}", f"the plan; edit {_short(kept.lab.inventory)}/plans/{PLAN}.yml"),
        ("./xdr demo --down", "take everything down"),
    ):
        on.print(f"  {command:<38} {what}")


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
