# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The actions on a plan: which playbook each is, and how it is run from here."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.site import checked_name

from . import var_folder
from .hosts import Host, load_hosts
from .runs import RunRequest, new_run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.xdr.failback.plugins.plugin_utils.window import Window

    from .events import Event, Listener
    from .results import RunResult
    from .store.runs import Run


LONGEST = 500  # characters of an attestation, or of a reason
ALL_PLANS = "all-plans"  # what a run over all of them is filed under
TRANSFER = 8 << 20  # bytes, at most, that measure the throughput of a way


@dataclass(frozen=True)
class Action:
    """``exclusive``: it changes something, so it must be its plan's only run."""

    name: str  # as on the command line
    playbook: str
    help: str
    exclusive: bool = True


ACTIONS = {
    action.name: action
    for action in (
        Action("start", "start.yml", "Start a plan where it is owned; a new plan gets the primary site as its first owner."),
        Action("verify-primary", "verify_primary.yml", "Check that the primary site can take the plan back.", exclusive=False),
        Action("reverse-replication", "reverse_replication.yml", "Replicate from the DR site to the primary site."),
        Action("replicate", "replicate.yml", "Run one replication cycle, in the direction in which the plan replicates."),
        Action("failback", "failback.yml", "Bring the plan home to the primary site."),
        Action("failover", "failover.yml", "Run the plan on the DR site."),
        Action("reprotect", "reprotect.yml", "Protect the primary site from the DR site."),
        Action("rollback", "rollback.yml", "Undo a failback that has begun; services up on the DR site."),
        Action(
            "resolve", "resolve.yml", "Resolve a split brain: keep one side; the other's volumes are kept as recovery point split-brain."
        ),
        Action("lower-ttl", "lower_ttl.yml", "Lower the TTL of a plan's DNS records ahead of a move."),
        Action("restore-ttl", "restore_ttl.yml", "Put the TTL of a plan's DNS records back after a move."),
        Action("vouch", "vouch.yml", "Let a witness speak again whose record was put back from a backup or lost."),
        Action("status", "status.yml", "Read the state of a plan.", exclusive=False),
        Action("site-test", "site_test.yml", "Test the connectivity and health of every site.", exclusive=False),
        Action("diagnose", "diagnose.yml", "Find out what is wrong with a plan or a site.", exclusive=False),
    )
}


def attested(text: str, what: str = "an attestation") -> str:
    """What a person said, as it may go to Ansible, which would evaluate a template in it. Raises XdrError, code usage."""
    if len(text) > LONGEST or any(mark in text for mark in ("{{", "{%", "{#")):
        raise XdrError(f"{what} is plain text of at most {LONGEST} characters, without {{{{ or {{%", code="usage")
    return text.strip()


def recovery_point(name: str) -> str:
    """The name of a recovery point, as it may go to Ansible. Raises XdrError, code usage."""
    try:
        return checked_name(name, "recovery point")
    except XdrError as error:
        raise XdrError(error.what, todo="xdr status lists them", code="usage") from None


def side(name: str) -> str:
    """A site's role in the plan, as it may go to Ansible. Raises XdrError, code usage."""
    if name not in ("primary", "dr"):
        raise XdrError(f"{name!r} is no side of a plan", todo="It is primary or dr", code="usage")
    return name


def request(
    action: str,
    plan: str,
    inventory: Path,
    *,
    attestation: str = "",
    point: str = "",
    reason: str = "",
    by: str = "",
    keep: str = "",
    transfer: bool = False,
    check: bool = False,
) -> RunRequest:
    """The launch of an action. A check run changes nothing and shows the differences. ``by``: who gives the reason; ``transfer``: whether a
    look at the sites measures their throughput, too."""
    kind = ACTIONS[action]
    variables: dict[str, Any] = {"plan": plan} if plan else {}
    if attestation:
        variables["xdr_attestation"] = attested(attestation)
    if point:
        variables["xdr_recovery_point"] = recovery_point(point)
    if reason:
        variables |= {"xdr_reason": attested(reason, "a reason"), "xdr_by": attested(by, "a name")}
    if keep:
        variables["xdr_keep"] = side(keep)
    if transfer:
        variables["xdr_transfer_bytes"] = TRANSFER
    return RunRequest(
        action=action,
        plan=plan or ALL_PLANS,
        playbook=kind.playbook,
        inventory=inventory.resolve(),
        var=var_folder(inventory),
        extra_vars=variables,
        check=check,
        diff=check,
        exclusive=kind.exclusive and not check,
        run_id=new_run_id(action),
    )


def decided(wanted: RunRequest, arguments: Mapping[str, Any]) -> RunRequest:
    """The launch with what was decided when its run was asked for: the window of a failback, an approval, what an answer leaves out; and
    for a rollback that a deadline asked for, that it comes before the offer of ownership."""
    more: dict[str, Any] = {"xdr_before_offer": True} if arguments.get("before_offer") else {}
    if "window" in arguments:
        more["xdr_window"] = arguments["window"]
    if approved := arguments.get("approved"):
        more["xdr_approved"] = {name: approved[name] for name in ("hash", "parts", "override") if name in approved}
    if (answer := arguments.get("answer")) and answer["skips"]:
        more |= {"xdr_skip_checks": answer["skips"], "xdr_skip_reason": answer["reason"]}
    if answer and answer.get("hooks"):
        more |= {"xdr_skip_hooks": answer["hooks"], "xdr_skip_reason": answer["reason"]}
    if arguments.get("skip_hooks"):
        more |= {"xdr_skip_hooks": arguments["skip_hooks"], "xdr_skip_reason": arguments["reason"]}
    return replace(wanted, extra_vars={**wanted.extra_vars, **more})


def asked(
    action: str,
    plan: str,
    *,
    by: str,
    origin: str,
    attestation: str = "",
    point: str = "",
    reason: str = "",
    keep: str = "",
    check: bool = False,
    window: Window | None = None,
    occurrence: str = "",
    override: str = "",
    answer: Mapping[str, Any] | None = None,
    approved: Mapping[str, Any] | None = None,
    skip_hooks: Sequence[str] = (),
    site: str = "",
) -> Run:
    """The run of an action as the store keeps it (portal/store/runs.py), to be requested there.

    ``window``, ``occurrence``, ``override``: of a failback, as portal/windows.py admits it; ``site``: of a diagnosis without a plan.
    ``answer``: what portal/question.py makes of an answer to the question of a run that failed; ``approved``: what portal/approval.py
    gives along.
    """
    from .store.runs import SCHEDULE, Run

    arguments: dict[str, Any] = {"attestation": attested(attestation)} if attestation else {}
    if point:
        arguments["recovery_point"] = recovery_point(point)
    if reason:
        arguments["reason"] = attested(reason, "a reason")
    if skip_hooks:
        if not reason.strip():
            raise XdrError("leaving out a hook needs a reason", todo="Say why: --reason", code="usage")
        arguments["skip_hooks"] = [checked_name(name, "hook") for name in skip_hooks]
    if keep:
        arguments["keep"] = side(keep)
    if window:
        arguments["window"] = window.to_json()
    if occurrence:
        arguments["occurrence"] = occurrence
    if override:
        arguments["override_window"] = attested(override, "a reason")
    if answer:
        arguments["answer"] = dict(answer)
    if approved:
        arguments["approved"] = dict(approved)
    if site:
        arguments["site"] = site
    if action in ("site-test", "diagnose"):
        arguments["transfer"] = True  # a person waits for it; the looks of the background do it less often
    return Run(
        id=new_run_id(action),
        plan=plan or ALL_PLANS,
        action=action,
        check=check,
        exclusive=ACTIONS[action].exclusive and not check and origin != SCHEDULE,
        origin=origin,
        arguments=arguments,
        requested_by=by,
    )


def execute(wanted: RunRequest, on_event: Listener | None = None, stop: threading.Event | None = None) -> RunResult:
    """Run it, with the progress of the site hosts among its events. Raises XdrError (run_active)."""
    from .runner import launch  # here, so that the rest of the command line starts without it

    wanted = replace(wanted, run_id=wanted.run_id or new_run_id(wanted.action))
    return launch(wanted, on_event, feed=_progress(wanted) if wanted.exclusive else None, stop=stop)


def _progress(wanted: RunRequest) -> Callable[[Callable[[Event], None]], AbstractContextManager[object]]:
    from .tail import Tails

    group = f"xdr_{wanted.plan}".replace("-", "_")

    def hosts() -> list[Host]:
        return [host for host in load_hosts(wanted.inventory, project=wanted.project, var=wanted.var).values() if group in host.groups]

    def feed(add: Callable[[Event], None]) -> AbstractContextManager[object]:
        return Tails(hosts, wanted.run_id, lambda host, line: add({**line, "kind": "progress", "what": line.get("kind"), "host": host}))

    return feed
