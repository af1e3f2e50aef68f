# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What an action will do, step by step in the order of its playbook: for previews, and for the hash that an approval binds to.

Pure. A step is ``{"name", "phases", "title", "told", "items", "unpredicted", "commit"}``: ``phases`` are those of the run's events that it
takes (their durations are known from past runs), ``items`` what is done to whom, ``{"site", "host", "group", "name", "does"}`` in order,
``unpredicted`` what check mode cannot tell of it, ``commit`` ``{"name": "C1" | "C2", "told", "no_return"}`` where a way back closes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils.step_items import (
    Course,
    Items,
    hooks,
    hosts,
    item,
    resources,
    traffic,
    volumes,
    witness,
)

Step = dict[str, Any]

OTHER = {"primary": "dr", "dr": "primary"}
NOT_FIRED = "hooks are not fired in check mode"
UP = "Whether the services start on these volumes, how long that takes, and what their health checks say"


def steps(course: Course) -> list[Step]:
    """The steps of the action from here; none for one that only looks."""
    return list(_STEPS[course.action](course)) if course.action in _STEPS else []


def _step(
    name: str,
    title: str,
    told: str,
    items: Items,
    unpredicted: str,
    phases: Iterable[str] | None = None,
    commit: Mapping[str, Any] | None = None,
) -> Step:
    taken = [name] if phases is None else list(phases)
    return {
        "name": name,
        "phases": taken,
        "title": title,
        "told": told,
        "items": items,
        "unpredicted": unpredicted,
        "commit": dict(commit) if commit else None,
    }


# -- steps that several actions take -------------------------------------------------------------------------------


def _check(course: Course, roles: tuple[str, ...] = ("primary", "dr")) -> Step:
    told = "The ways from the controller and from host to host are tried, and each host's health is looked at; nothing is changed"
    unpredicted = "Nothing: it does the same in check mode"
    return _step("check", "Test the sites", told, hosts(course, roles, "test the ways and the health"), unpredicted, ())


def _stop(course: Course, role: str) -> Step:
    named = {group["name"]: group for group in course.plan["start_order"]}
    items: Items = []
    for name in course.plan["stop_order"]:
        items += hooks(course, "pre_failback", name) + resources(course, role, [named[name]], lambda _: ("stop",))
    told = "The highest priority number first; each group is down before the next one is stopped. The outage begins"
    return _step(
        "stop_services",
        f"Stop the services in {course.site(role)}",
        told,
        items,
        "How long each takes to stop, and what it still writes until then",
    )


def _bring_up(course: Course, role: str) -> Step:
    def does(group: Mapping[str, Any]) -> Iterator[str]:
        yield "start"
        if any(resource["health"] for resource in group["resources"]):
            yield "health checks are left out" if group["name"] in course.skip else "check the health"

    items: Items = []
    for group in course.plan["start_order"]:
        items += hooks(course, "pre_failover", group["name"]) + resources(course, role, [group], does)
        items += hooks(course, "post_failback", group["name"]) + hooks(course, "post_recover", group["name"])
    items += hooks(course, "post_recover")
    told = "By priority; a group starts when the one before it is healthy. No client is led there yet"
    title = f"Start and check the services in {course.site(role)}"
    return _step("start_services", title, told, items, UP, ("start_instances", "health_checks"))


def _hand_over(course: Course, to: str, commit: Mapping[str, Any] | None, *, promote: bool = False) -> Step:
    point = f"put back recovery point {course.point}" if course.point else "make the newest complete recovery point its state"
    items = volumes(course, to, point) if promote or course.point else []
    items += [
        witness(course, f"offer the ownership to {course.site(to)}"),
        item(course.site(to), course.plan["sites"][to]["record_host"], "ownership", "accept it"),
        witness(course, "record the decision"),
    ]
    told = f"The right to run the plan goes to {course.site(to)}, with a new epoch"
    unpredicted = "Whether the witness and the site answer at that moment; without their answer everything stays fenced"
    return _step("hand_over", "Hand the ownership over", told, items, unpredicted, commit=commit)


def _switch(course: Course, to: str, commit: Mapping[str, Any] | None, *, phases: tuple[str, ...] = ("switch_traffic",)) -> Step:
    items = traffic(course, to) + hooks(course, "post_failback")
    unpredicted = f"Whether clients follow at once; {NOT_FIRED}" if items else "Nothing that it changes"
    return _step(
        "switch_traffic",
        f"Lead the clients to {course.site(to)}",
        "It is looked at from the clients' side, too",
        items,
        unpredicted,
        phases,
        commit,
    )


# -- the actions ---------------------------------------------------------------------------------------------------


def _move(course: Course) -> Iterator[Step]:
    to = "dr" if course.action == "failover" else "primary"
    source = OTHER[to]
    if course.enter == "stop":
        yield _preflight(course, source, to)
    if course.enter == "stop" and course.planned:
        yield _stop(course, source)
        yield _release(course, source)
        yield _final_sync(course, source, to)
        yield _verify(course, source)
    if course.enter != "start":
        yield _hand_over(course, to, _first_commit(course), promote=not course.planned)
    yield _bring_up(course, to)
    yield _switch(course, to, _last_commit(course))


def _preflight(course: Course, source: str, to: str) -> Step:
    fired = hooks(course, "pre_failback") + hooks(course, "pre_failover")
    items = hosts(course, (source, to) if course.planned else (to,), "check health, room and ways") + fired
    told = "All that can be checked before the downtime; the services go on"
    unpredicted = f"What comes of hooks: {NOT_FIRED}" if fired else "Nothing: it checks the same in check mode"
    return _step("preflight", "Check before the downtime", told, items, unpredicted)


def _release(course: Course, source: str) -> Step:
    record = item(course.site(source), course.plan["sites"][source]["record_host"], "ownership", "release it, and refuse every start")
    told = "No process may hold a volume open any more, and none is started there"
    return _step(
        "release", f"Fence the volumes in {course.site(source)}", told, [record], "Whether a process still holds a volume open then"
    )


def _final_sync(course: Course, source: str, to: str) -> Step:
    items = volumes(course, source, f"send the rest to {course.site(to)}")
    told = "What changed since the last cycle is sent"
    return _step(
        "final_sync",
        "Copy the last changes",
        told,
        items,
        "What the services write from now until they have stopped comes on top of the bytes foretold",
    )


def _verify(course: Course, source: str) -> Step:
    whole = "all of it" if not course.view.compared else "what was sent since the full compare"
    items = volumes(course, source, f"read {whole} back from both disks and compare")
    return _step("verify", "Prove both sides equal", "A difference rolls back", items, "Whether they are equal: they are read only then")


def _first_commit(course: Course) -> dict[str, Any]:
    primary, dr = course.site("primary"), course.site("dr")
    if course.action == "failover":
        told = (
            f"No rollback after this: {dr} owns the plan, a failover only goes forward. The way home is reverse replication and a failback"
        )
        return {"name": "C1", "told": told, "no_return": True}
    told = (
        f"Until here any failure or deadline rolls back by itself. From here on a rollback is a hand-over back to {dr}'s last state; "
        f"what {primary} wrote meanwhile is kept as recovery point before-rollback"
    )
    return {"name": "C1", "told": told, "no_return": False}


def _last_commit(course: Course) -> dict[str, Any]:
    if course.action == "failover":
        return {"name": "C2", "told": f"Clients write in {course.site('dr')} from here on", "no_return": False}
    told = (
        f"No rollback after this: clients write in {course.site('primary')} from here on. Going back is a new move with its own last copy"
    )
    return {"name": "C2", "told": told, "no_return": True}


def _rollback(course: Course) -> Iterator[Step]:
    if course.undo == "hand_back":
        given_back = course.view.offered_to("dr")
        if not given_back:
            yield _stop(course, "primary")
            items = volumes(course, "primary", "keep what it wrote as recovery point before-rollback")
            unpredicted = "Whether a process still holds a volume open then"
            yield _step(
                "hand_back", f"Fence the volumes in {course.site('primary')}", "Nothing that was written is lost", items, unpredicted
            )
        yield _hand_over(course, "dr", None)
    else:
        record = item(course.site("dr"), course.plan["sites"]["dr"]["record_host"], "ownership", "take the release back")
        declined = [item(course.site("primary"), course.plan["sites"]["primary"]["record_host"], "ownership", "decline the offer for good")]
        items = [*(declined if course.undo == "decline" else []), record]
        yield _step(
            "take_back",
            "Take the ownership back",
            f"{course.site('primary')} never owned it",
            items,
            "Whether the sites answer at that moment",
        )
    yield _bring_up(course, "dr")
    yield _switch(course, "dr", None, phases=("undo",))


def _reverse(course: Course) -> Iterator[Step]:
    yield _check(course)
    primary, dr = course.site("primary"), course.site("dr")
    items = resources(course, "primary", course.plan["start_order"], lambda _: ("see that it does not run",))
    yield _step("reverse", f"Fence {primary}", f"{primary} learns that {dr} owns the plan", items, "Nothing that it changes")
    yield _direction(course, "dr", "before-reverse")
    yield _cycle(course, "dr", "and every volume is compared whole; again until little is left")


def _direction(course: Course, source: str, point: str = "") -> Step:
    to = OTHER[source]
    kept = f"; what it overwrites is kept as recovery point {point}" if point else ""
    items = volumes(course, to, f"receive{kept}")
    told = f"What {course.site(to)} wrote and {course.site(source)} never got is overwritten" + (f", and kept as {point}" if point else "")
    return _step("direction", f"Let {course.site(to)} receive", told, items, "How much will be overwritten, and so kept")


def _cycle(course: Course, source: str, more: str = "") -> Step:
    to = course.site(OTHER[source])
    told = f"What changed goes over{', ' + more if more else ''}. The services go on"
    unpredicted = "What the services write meanwhile, and, of a volume that was not sent yet, how much differs"
    return _step("cycle", f"Copy to {to}", told, volumes(course, source, f"send to {to}"), unpredicted)


def _reprotect(course: Course) -> Iterator[Step]:
    yield _direction(course, "primary")
    yield _cycle(course, "primary", "and every volume is compared whole")
    record = item(course.site("primary"), course.plan["sites"]["primary"]["record_host"], "ownership", "record that the plan is ACTIVE")
    told = "Only with a consistent point of each volume that is younger than the RPO"
    yield _step("protect", "See that the plan is protected", told, [record], "Whether the first cycle ends within the RPO")


def _replicate(course: Course) -> Iterator[Step]:
    yield _cycle(course, course.view.owner or "primary")


def _start(course: Course) -> Iterator[Step]:
    role = course.view.owner or "primary"
    if course.view.epoch == 0:
        record = item(course.site(role), course.plan["sites"][role]["record_host"], "ownership", "become the first owner")
        yield _step("start", "Give the plan its first owner", "It gets epoch 1", [record], "Nothing that it changes")
    yield _bring_up(course, role)
    yield _switch(course, role, None, phases=("start",))


def _resolve(course: Course) -> Iterator[Step]:
    keep = course.keep or "primary"
    lost = OTHER[keep]
    yield _stop(course, lost)
    items = volumes(course, lost, "keep its state as recovery point split-brain")
    told = f"{course.site(lost)} gives up what it owns; nothing that it wrote is deleted"
    yield _step("resolve", f"Fence {course.site(lost)}", told, items, "Whether a process still holds a volume open then")
    told = f"From here on {course.site(lost)}'s data is only a recovery point: it is never merged into the other's"
    yield _hand_over(course, keep, {"name": "C1", "told": told, "no_return": True})
    yield _bring_up(course, keep)
    yield _switch(course, keep, None, phases=())


def _vouch(course: Course) -> Iterator[Step]:
    yield _step(
        "vouch",
        "Let the witness learn what is so",
        "No service is touched",
        [witness(course, "learn the newest epoch and its owner")],
        "Nothing that it changes",
    )


def _verify_primary(course: Course) -> Iterator[Step]:
    yield _check(course)


def _ttl(course: Course) -> Iterator[Step]:
    lowers = course.action == "lower_ttl"
    site, key = course.site(course.view.owner or "primary"), "lowered_ttl" if lowers else "ttl"
    items = [item(site, record["host"], record["name"], f"set the TTL to {record[key]} s") for record in course.plan["traffic"]["dns"]]
    title = "Lower the TTL of the DNS records" if lowers else "Put the TTL of the DNS records back"
    told = "Resolvers ask again that much sooner after the next move" if lowers else "The values stay as they are"
    yield _step(course.action, title, told, items, "How long each resolver keeps what it has by now")


_STEPS: Mapping[str, Callable[[Course], Iterator[Step]]] = {
    "failback": _move,
    "failover": _move,
    "rollback": _rollback,
    "reverse_replication": _reverse,
    "reprotect": _reprotect,
    "replicate": _replicate,
    "start": _start,
    "resolve": _resolve,
    "vouch": _vouch,
    "verify_primary": _verify_primary,
    "lower_ttl": _ttl,
    "restore_ttl": _ttl,
}
