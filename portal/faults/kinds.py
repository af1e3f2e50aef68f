# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The kinds of faults: how each strikes, how long it lasts, and where in a failback it makes sense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..lab.lab import SITE_HOSTS
from .ground import PLAN
from .network import CONTROLLER
from .places import BEFORE_C1, Place, everywhere
from .scene import FLAPS, HANGS, REFUSES, Scene

Strike = Callable[[Scene, Place], None]

ANYWHERE = everywhere()
EARLY = everywhere(BEFORE_C1)
UNTIL_END = None  # the fault lasts until the run has ended by itself
LATE = 3.0  # seconds; less than a stop may take
AWHILE = 6.0  # seconds; longer than it takes ssh to notice a dead link
MINUTE = 60.0
HOUR = 3600
SLOW, CRAWL = 1000, 48  # kbit/s
TINY = 16 * 1024  # bytes of a disk that is full

FRA, AMS, EDGE = SITE_HOSTS["primary"], SITE_HOSTS["dr"], SITE_HOSTS["witness"]


@dataclass(frozen=True)
class Kind:
    """``lasts``: seconds, at most to the end of the run; None: to its end. ``asks``: what the operator does with an open failback.
    ``before``: done ahead of the run. ``early``: it strikes before the run begins, and lasts from its place on. ``booted``: a host boots,
    its services may come up by priority without health checks."""

    name: str
    strike: Strike
    places: tuple[Place, ...] = ANYWHERE
    lasts: float | None = 0.0
    asks: str = "failback"
    before: Strike | None = None
    early: bool = False
    booted: bool = False
    hits: bool = False  # it is no fault where it finds no process to hit
    web: bool = False  # the failback is begun on the page, and a worker has it
    outside: bool = False  # it takes the services from the clients by itself, of which no run can know


def _kill_worker(scene: Scene, _: Place) -> None:
    scene.kill(scene.worker)


def _kill_playbook(scene: Scene, _: Place) -> None:
    scene.kill(scene.playbook())


def _kill_controller(scene: Scene, _: Place) -> None:
    scene.kill(scene.controller())


def _freeze_worker(scene: Scene, _: Place) -> None:
    scene.freeze(scene.worker)


def _freeze_playbook(scene: Scene, _: Place) -> None:
    scene.freeze(scene.playbook_tree())


def _kill_portal(scene: Scene, _: Place) -> None:
    scene.kill(scene.portal)


def _freeze_portal(scene: Scene, _: Place) -> None:
    scene.freeze(scene.portal)


def _replace_controller(scene: Scene, _: Place) -> None:
    """The frozen one wakes when another controller has taken the plan over and has rolled back, or has been refused that."""
    scene.freeze(scene.controller())
    other = scene.ground.var / "other"
    _adopt(scene, other)
    scene.documents.append(scene.ground.xdr("run", "rollback", PLAN, var=other))


def _adopt(scene: Scene, var: Path) -> None:
    told = scene.ground.xdr("adopt", PLAN, var=var)
    if told["exit_code"] or (told["run"] and not told["adopted"]):
        scene.notes.append(f"another controller did not learn of the run: {told.get('error')}")


def _back_up(scene: Scene, _: Place) -> None:
    scene.backup = scene.ground.var / "backup.sqlite"
    scene.must("backup", str(scene.backup), "--force")


def _restore_controller(scene: Scene, _: Place) -> None:
    """It is lost for good. A new one begins from its last backup, which knows nothing of this run, and asks the sites."""
    scene.kill(scene.controller())
    scene.var = scene.ground.var / "other"
    scene.must("restore", str(scene.backup))
    _adopt(scene, scene.var)


def _kill_module(scene: Scene, place: Place) -> None:
    scene.kill(scene.modules(place.site))


def _freeze_module(scene: Scene, place: Place) -> None:
    scene.freeze(scene.modules(place.site))


def _crawl(scene: Scene) -> None:
    scene.ground.network.slow(FRA, AMS, CRAWL)


def _kill_sender(scene: Scene, _: Place) -> None:
    _crawl(scene)
    scene.kill(scene.modules("dr"))


def _kill_receiver(scene: Scene, _: Place) -> None:
    _crawl(scene)
    scene.kill(scene.receivers())


def _freeze_receiver(scene: Scene, _: Place) -> None:
    _crawl(scene)
    scene.freeze(scene.receivers())


def _kill_sshd(scene: Scene, place: Place) -> None:
    scene.kill(scene.sessions(place.site))


def _freeze_sshd(scene: Scene, place: Place) -> None:
    scene.freeze(scene.sessions(place.site))


def _lose_request(scene: Scene, place: Place) -> None:
    scene.ground.network.cut_way(CONTROLLER, SITE_HOSTS[place.site])


def _lose_reply(scene: Scene, place: Place) -> None:
    scene.ground.network.cut_way(SITE_HOSTS[place.site], CONTROLLER)


def _cut(one: str, other: str) -> Strike:
    return lambda scene, _: scene.ground.network.cut(one, other)


def _cut_way(one: str, other: str) -> Strike:
    return lambda scene, _: scene.ground.network.cut_way(one, other)


def _isolate(node: str) -> Strike:
    return lambda scene, _: scene.ground.network.isolate(node)


def _slow_links(scene: Scene, _: Place) -> None:
    for one, other in ((FRA, AMS), (CONTROLLER, FRA), (CONTROLLER, AMS), (CONTROLLER, EDGE)):
        scene.ground.network.slow(one, other, SLOW)


def _clock(seconds: int) -> Strike:
    return lambda scene, place: scene.clock_jumps(SITE_HOSTS[place.site], seconds)


def _controller_clock(seconds: int) -> Strike:
    return lambda scene, _: scene.clock_jumps(CONTROLLER, seconds)


def _fill_disk(scene: Scene, _: Place) -> None:
    scene.ground.small_disk(TINY)
    scene.later(scene.ground.unmount)


def _remove_volume(scene: Scene, _: Place) -> None:
    scene.ground.volume("primary").unlink(missing_ok=True)


def _truncate_volume(scene: Scene, _: Place) -> None:
    scene.truncate(scene.ground.volume("primary", "shop-api.img"))


def _stop_hangs(scene: Scene, _: Place) -> None:
    scene.freeze(scene.service("dr", "shop-api"))


def _start_fails(scene: Scene, _: Place) -> None:
    scene.impostor("primary", "shop-api", REFUSES)


def _flapping(scene: Scene, _: Place) -> None:
    scene.impostor("primary", "shop-api", FLAPS)


def _never_healthy(scene: Scene, _: Place) -> None:
    scene.impostor("primary", "shop-api", HANGS)


def _lose_socket(scene: Scene, _: Place) -> None:
    scene.away(scene.ground.balancer_socket)


def _reboot(site: str) -> Strike:
    def strike(scene: Scene, _: Place) -> None:
        scene.ground.lose_site(site)
        scene.ground.return_site(site)
        scene.ground.boot(site)

    return strike


def _click_twice(scene: Scene, _: Place) -> None:
    code = scene.ground.xdr("run", "failback", PLAN)["exit_code"]
    if code != 11 and not scene.over:
        scene.notes.append(f"a second failback beside the first ended with {code}, not with 11 (another run is active)")


def _press_twice(scene: Scene, _: Place) -> None:
    scene.press("failback")


def _press_rollback(scene: Scene, _: Place) -> None:
    scene.press("rollback")


def _message(message: str) -> Strike:
    def strike(scene: Scene, _: Place) -> None:
        from .. import following
        from ..store import runs

        store = following.open_store(scene.ground.inventory)
        try:
            if active := runs.active(store, PLAN):
                runs.send(store, active.id, message, by="faults", origin="command line")
        finally:
            store.close()

    return strike


def _edit_plan(scene: Scene, _: Place) -> None:
    scene.edit_plan()
    scene.later(scene.ground.reset_plan)


def _at(*steps: str, mark: str = "intent") -> tuple[Place, ...]:
    return tuple(Place(step, mark) for step in steps)


_FINAL_SYNC = everywhere(("final_sync",))
_TO_C1 = (*EARLY, *_at("offer", "accept"))
_LONG = ("stop_services", "final_sync", "offer", "accept", "start_instances")
_ASKS_WITNESS = ("release", "offer", "accept", "decide", "start_instances", "switch_traffic")
_PRESSED = ("stop_services", "final_sync", "offer", "accept", "start_instances")
_CUTS = ("stop_services", "release", "final_sync", "verify", "offer", "accept", "start_instances", "switch_traffic")

KINDS = {
    kind.name: kind
    for kind in (
        Kind("kill-worker", _kill_worker, hits=True),
        Kind("kill-playbook", _kill_playbook, hits=True),
        Kind("kill-controller", _kill_controller, hits=True),
        Kind("kill-controller-rollback", _kill_controller, asks="rollback", hits=True),
        Kind("freeze-worker", _freeze_worker, lasts=AWHILE, hits=True),
        Kind("freeze-playbook", _freeze_playbook, lasts=AWHILE, hits=True),
        Kind("freeze-worker-minute", _freeze_worker, _at(*_LONG), lasts=MINUTE, hits=True),
        Kind("freeze-playbook-minute", _freeze_playbook, _at(*_LONG), lasts=MINUTE, hits=True),
        Kind("freeze-module-minute", _freeze_module, _at(*_LONG), lasts=MINUTE, hits=True),
        Kind("kill-portal", _kill_portal, _at(*_CUTS), lasts=AWHILE, hits=True, web=True),
        Kind("freeze-portal-minute", _freeze_portal, _at(*_LONG), lasts=MINUTE, hits=True, web=True),
        Kind("restart-controller", _kill_controller, everywhere(), hits=True, web=True),
        Kind("clock-ahead", _clock(HOUR), lasts=UNTIL_END),
        Kind("clock-behind", _clock(-HOUR), lasts=UNTIL_END),
        Kind("controller-clock-ahead", _controller_clock(HOUR), _at(*_CUTS), lasts=UNTIL_END),
        Kind("controller-clock-behind", _controller_clock(-HOUR), _at(*_CUTS), lasts=UNTIL_END),
        Kind("replace-controller", _replace_controller, asks="rollback", hits=True),
        Kind("kill-module", _kill_module, hits=True),
        Kind("freeze-module", _freeze_module, lasts=AWHILE, hits=True),
        Kind("kill-sender", _kill_sender, _FINAL_SYNC, hits=True),
        Kind("kill-receiver", _kill_receiver, everywhere(("final_sync", "verify")), hits=True),
        Kind("freeze-receiver", _freeze_receiver, _FINAL_SYNC, lasts=AWHILE, hits=True),
        Kind("kill-sshd", _kill_sshd, hits=True),
        Kind("reply-lost", _lose_reply, everywhere(marks=("intent",)), lasts=UNTIL_END),
        Kind("cut-controller-primary", _cut(CONTROLLER, FRA), _at(*_CUTS), lasts=UNTIL_END),
        Kind("cut-controller-dr", _cut(CONTROLLER, AMS), _at(*_CUTS), lasts=UNTIL_END),
        Kind("cut-sites", _cut(FRA, AMS), _at(*_CUTS), lasts=UNTIL_END),
        Kind("one-way-to-primary", _cut_way(AMS, FRA), _at("stop_services", "release", "final_sync", "verify"), lasts=UNTIL_END),
        Kind("one-way-to-dr", _cut_way(FRA, AMS), _at("stop_services", "release", "final_sync", "verify"), lasts=UNTIL_END),
        Kind("isolate-witness", _isolate(EDGE), _at(*_CUTS), lasts=UNTIL_END, outside=True),
        Kind("isolate-primary", _isolate(FRA), _at(*_CUTS), lasts=UNTIL_END, outside=True),
        Kind("isolate-dr", _isolate(AMS), _at(*_CUTS), lasts=UNTIL_END, outside=True),
        Kind("slow-links", _slow_links, _at(*_CUTS), lasts=UNTIL_END),
        Kind("disk-full", _fill_disk, _at("stop_services", "release"), lasts=UNTIL_END),
        Kind("volume-removed", _remove_volume, (*_TO_C1, Place("decide", "intent"))),
        Kind("volume-truncated", _truncate_volume, (*_at("stop_services", "release", "final_sync"), Place("final_sync", "done"))),
        Kind("stop-never-ends", _stop_hangs, _at("stop_services"), lasts=UNTIL_END, early=True, hits=True, outside=True),
        Kind("start-fails", _start_fails, _at("start_instances"), lasts=UNTIL_END, early=True),
        Kind("never-healthy", _never_healthy, _at("health_checks"), lasts=UNTIL_END, early=True),
        Kind("balancer-socket-gone", _lose_socket, _at("stop_services", "accept", "start_instances", "switch_traffic"), lasts=UNTIL_END),
        Kind("freeze-receiver-minute", _freeze_receiver, _FINAL_SYNC, lasts=MINUTE, hits=True),
        Kind("freeze-sshd-minute", _freeze_sshd, _at(*_LONG), lasts=MINUTE, hits=True),
        Kind("request-lost", _lose_request, everywhere(marks=("intent",)), lasts=UNTIL_END),
        Kind("cut-controller-witness", _cut(CONTROLLER, EDGE), _at(*_ASKS_WITNESS), lasts=UNTIL_END),
        Kind("cut-primary-witness", _cut(FRA, EDGE), _at(*_ASKS_WITNESS), lasts=UNTIL_END, outside=True),
        Kind("cut-dr-witness", _cut(AMS, EDGE), _at(*_ASKS_WITNESS), lasts=UNTIL_END, outside=True),
        Kind("stop-ends-late", _stop_hangs, _at("stop_services"), lasts=LATE, early=True, hits=True, outside=True),
        Kind("health-flaps", _flapping, _at("health_checks"), lasts=UNTIL_END, early=True),
        Kind("restore-controller", _restore_controller, before=_back_up, hits=True),
        Kind("press-twice", _press_twice, _at("stop_services", "accept"), web=True),
        Kind("press-rollback", _press_rollback, _at(*_PRESSED), asks="rollback", web=True),
        Kind("reboot-dr", _reboot("dr"), booted=True, outside=True),
        Kind("reboot-primary", _reboot("primary"), booted=True, outside=True),
        Kind("click-twice", _click_twice, _at("stop_services", "verify", "accept", "start_instances")),
        Kind("rollback-asked", _message("rollback"), everywhere(), asks="rollback"),
        Kind("stop-asked", _message("stop"), everywhere()),
        Kind("plan-edited", _edit_plan, _at("stop_services", "final_sync", "accept", "start_instances"), lasts=UNTIL_END),
    )
}
