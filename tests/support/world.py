# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Three records that change only by the real transitions: what the gate and the state machine are tested on."""

from __future__ import annotations

from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.record import Record, mark_intent, transition

PLAN: dict[str, Any] = {
    "name": "shop",
    "hash": "h1",
    "file": "plans/shop.yml",
    "sites": {
        "primary": {"name": "frankfurt", "hosts": ["fra"], "record_host": "fra"},
        "dr": {"name": "amsterdam", "hosts": ["ams"], "record_host": "ams"},
    },
    "witness": "wit",
    "replication": {"ready_below": 1000},
    "failback": {"on_failed_health": "rollback"},
    "traffic": {"load_balancers": [], "dns": []},
    "start_order": [{"name": "db", "resources": [{"name": "orders-db", "volumes": [{"name": "orders"}]}]}],
}
HOST = {"primary": "fra", "dr": "ams", "witness": "wit"}


class World:
    def __init__(self) -> None:
        self.record = {site: Record(plan="shop", site=site, host=host) for site, host in HOST.items()}
        self.number = 0
        self.now = 100.0
        self.dead: set[str] = set()
        self.replication: dict[str, list[dict[str, Any]]] = {"primary": [], "dr": []}
        self.running: dict[str, list[dict[str, Any]]] = {}

    def runs(self, site: str) -> None:
        self.running[site] = [{"name": "orders-db", "pid": 7, "since": self.now}]

    def ask(self, site: str, request: str, **values: Any) -> None:
        self.now += 1
        self.record[site] = transition(self.record[site], {"request": request, **values}, self.now)

    def all(self, request: str, **values: Any) -> None:
        for site in self.record:
            if site not in self.dead:
                self.ask(site, request, **values)

    def claim(self, action: str) -> None:
        self.number += 1
        epoch = max(r.epoch for r in self.record.values())
        self.all("claimed", attempt=(epoch, self.number), run_id=f"run-{self.number}", action=action, plan_hash="h1", fresh=True)

    def phase(self, site: str, name: str) -> None:
        self.record[site] = mark_intent(self.record[site], name, self.now)

    def finish(self, status: str, outcome: str = "ok") -> None:
        self.all("marked", status=status, outcome=outcome)

    def source(self, site: str, lag: int | str, compared: bool = True) -> None:
        other = "dr" if site == "primary" else "primary"
        row = {"volume": "orders", "role": "source", "lag_bytes": lag, "lag_age_s": 2.0, "compared": {"cycle": 1} if compared else None}
        self.replication = {site: [row], other: [{**row, "role": "target"}]}

    def reads(self) -> dict[str, dict[str, Any]]:
        return {
            HOST[site]: {
                "reachable": site not in self.dead,
                "record": None if site in self.dead else record.to_json(),
                "registered": None,
                "replication": [] if site in self.dead else self.replication.get(site, []),
                "running": [] if site in self.dead else self.running.get(site, []),
            }
            for site, record in self.record.items()
        }

    # -- the story, one chapter each -------------------------------------------------------------------------

    def active(self) -> World:
        self.claim("start")
        self.all("founded", owner="primary")
        self.source("primary", 0)
        self.finish("ACTIVE")
        return self

    def failed_over(self) -> World:
        self.active()
        self.dead = {"primary"}
        self.claim("failover")
        for site, request in (("witness", "offered"), ("dr", "accepted"), ("witness", "decided")):
            self.ask(site, request, epoch=2, to="dr", how="attested", by="ann", text="power is off")
        self.finish("FAILED_OVER")
        self.dead = set()
        self.replication = {"primary": [], "dr": []}
        return self

    def falsely_failed_over(self) -> World:
        """The primary was said to be off, and its services ran on."""
        self.failed_over()
        self.runs("primary")
        self.runs("dr")
        return self

    def forked(self) -> World:
        """Both sites have accepted one and the same epoch."""
        self.falsely_failed_over()
        self.ask("primary", "accepted", epoch=2, how="attested", by="bob", text="amsterdam is off")
        return self

    def reversing(self, lag: int | str = 0, compared: bool = True) -> World:
        self.failed_over()
        self.claim("reverse_replication")
        self.ask("primary", "known", epoch=2, owner="dr")
        self.source("dr", lag, compared)
        self.finish("REVERSING")
        return self

    def stopped(self) -> World:
        self.reversing()
        self.claim("failback")
        self.all("marked", status="FAILING_BACK")
        self.ask("dr", "draining")
        return self

    def released(self) -> World:
        self.stopped()
        self.ask("dr", "released", to="primary")
        return self

    def offered(self) -> World:
        self.released()
        self.ask("witness", "offered", epoch=3, to="primary")
        return self

    def accepted(self) -> World:
        self.offered()
        self.ask("primary", "accepted", epoch=3)
        return self

    def decided(self) -> World:
        self.accepted()
        self.ask("witness", "decided", epoch=3)
        self.ask("dr", "known", epoch=3, owner="primary")
        return self

    def switching(self) -> World:
        self.decided()
        for site in HOST:
            self.phase(site, "switch_traffic")
        return self

    def home(self) -> World:
        self.switching()
        self.finish("FAILED_BACK")
        return self
