# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Plays one scenario from the kept state to its end, and judges it by what the observer and the writer's log say."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from ..lab.client import Client
from ..lab.lab import SITE_HOSTS
from ..lab.orders import Log, acknowledged, read_log
from . import ending, observer, operator, reports, volumes
from .ground import GROUPS, NEVER, PLAN, RESOURCES, SITE_OF, Ground
from .patience import wait_until
from .scenario import Scenario
from .scene import Scene
from .watch import Watch
from .web import WebScene

RATE = 8.0  # orders a second
ENDS_WITHIN = 300.0  # of a run, from the fault or its healing on
SERVES_WITHIN = 25.0
FIRST = 3  # orders before the run begins


def play(ground: Ground, scenario: Scenario) -> dict[str, Any]:
    """``outcome``: home, rolled back, or the named state in which it stayed; ``breaches``: the invariants that did not hold."""
    began = time.monotonic()
    ground.reset()
    epoch = (ground.record("dr") or {}).get("epoch")
    log = ground.var / "orders.jsonl"
    log.unlink(missing_ok=True)
    client = Client(ground.balancer_url, log, RATE, ground.network.inside(SITE_HOSTS["witness"]))
    scene = WebScene(ground) if scenario.kind.web else Scene(ground)
    told: dict[str, Any] = {"kind": scenario.kind.name, "step": scenario.place.step, "mark": scenario.place.mark}
    with Watch(ground.record) as watch:
        try:
            client.start()
            if not _acknowledges(log, FIRST):
                scene.notes.append("no order was acknowledged before the run")
            begun = time.monotonic()
            told |= _run(scene, scenario)
            scene.heal()
            actions, view = operator.settle(ground, scenario.kind.asks, lambda: observer.running(observer.read(ground.observed)), scene.var)
            serves = _acknowledges(log, 2)
            scene.notes += scene.shows(str(view.state)) if isinstance(scene, WebScene) else []
            documents = [scene.document(), *scene.documents, *actions]
        finally:
            client.stop()
            scene.close()
    sightings = observer.read(ground.observed)
    up = observer.running(sightings)
    told |= {"operator": actions, "state": str(view.state), "owner": view.owner, "epoch": view.epoch}
    told["outcome"] = _outcome(str(view.state), serves, up)
    ground.halt()
    breaches = scene.notes + watch.breaches + observer.breaches(sightings)
    breaches += observer.disorder(sightings, GROUPS, math.inf if scenario.kind.booted else begun)
    if view.epoch == epoch:
        breaches += observer.strangers(sightings, SITE_OF["primary"])
    breaches += [one["error"] for one in actions if one["exit_code"] == NEVER]
    told |= {"reported": reports.of(documents), "outage_s": round(reports.seen(read_log(log).acks, begun), 3)}
    if not scenario.kind.outside:
        breaches += reports.wrong(told["reported"], told["outage_s"], 1 / RATE)
    breaches += _unended(told, serves) + _lost(ground, up, read_log(log))
    if _came_home_by_itself(told):
        left = ground.ending()
        breaches += ending.differences(ground.undisturbed(), left)
    told |= {"breaches": breaches, "acknowledged": len(read_log(log).acks), "seconds": round(time.monotonic() - began, 1)}
    return told


def _acknowledges(log: Path, more: int) -> bool:
    """Whether so many more orders come to be acknowledged."""
    before = len(read_log(log).acks)
    return wait_until(lambda: len(read_log(log).acks) >= before + more, SERVES_WITHIN)


def _run(scene: Scene, scenario: Scenario) -> dict[str, Any]:
    kind = scenario.kind
    if kind.before:
        kind.before(scene, scenario.place)
    if kind.early:
        kind.strike(scene, scenario.place)
    scene.begin()
    reached = kind.early or scene.reaches(scenario.place)
    if reached and not kind.early:
        kind.strike(scene, scenario.place)
    if kind.lasts:
        if kind.early:
            scene.reaches(scenario.place)
        wait_until(lambda: scene.over, kind.lasts)
    if kind.lasts is not None:
        scene.heal()
    ended = wait_until(lambda: scene.over, ENDS_WITHIN)
    if not ended:
        scene.notes.append(f"the run had not ended {ENDS_WITHIN:g} s after the fault")
    asked = _ask_while_cut(scene) if kind.name in ("cut-controller-dr", "isolate-dr") else {}
    document = scene.document()
    return {
        "reached": reached and (bool(scene.hit) or not kind.hits),
        "hit": scene.hit,
        "exit_code": scene.exit_code,
        "error": str(document.get("error") or ""),
        **asked,
    }


def _ask_while_cut(scene: Scene) -> dict[str, Any]:
    """The source of the replication does not answer: its lag is not known."""
    status = scene.ground.xdr("status", PLAN)
    lag = status.get("replication_lag")
    if status.get("unreachable") and status.get("owner") != "primary" and lag != "unknown":
        scene.notes.append(f"the lag of a source that does not answer was told as {lag!r}")
    return {"asked": {"state": status.get("state"), "lag": lag}}


def _outcome(state: str, serves: bool, up: dict[str, set[str]]) -> str:
    everything = set(RESOURCES)
    if serves and state in operator.HOME and up.get("frankfurt") == everything:
        return "home"
    if serves and state in operator.BACK and up.get("amsterdam") == everything:
        return "rolled back"
    return state


def _unended(told: dict[str, Any], serves: bool) -> list[str]:
    if told["outcome"] in ("home", "rolled back"):
        return []
    return [f"it ended as {told['state']}" + ("" if serves else ", and no order is acknowledged")]


def _came_home_by_itself(told: dict[str, Any]) -> bool:
    """Whether failbacks, and nothing else, brought it home to the end."""
    actions = told["operator"]
    last = actions[-1]["exit_code"] if actions else told["exit_code"]
    return told["outcome"] == "home" and last == 0 and all(one["action"] == "failback" for one in actions)


def _lost(ground: Ground, up: dict[str, set[str]], log: Log) -> list[str]:
    """Each acknowledged order is once in every resource of the site that serves, and nothing that was never sent is there."""
    sites = [site for site, name in SITE_OF.items() if up.get(name)]
    if len(sites) != 1:
        return [f"services run at {' and '.join(sites) or 'no site'} at the end"]
    numbers = sorted(acknowledged(log.acks))
    held = volumes.of_site(ground.site_dir(sites[0]) / "volumes", RESOURCES)
    return [f"{name} at {sites[0]}: {text}" for name, one in held.items() for text in volumes.wrong(one, numbers, log.last)]
