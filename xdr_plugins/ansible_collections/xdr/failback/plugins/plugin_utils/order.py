# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A plan in execution order, and what of it each host does: pure, on the compiled plan (plain JSON, docs/internals.md section 5)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

Compiled = Mapping[str, Any]
Variables = Mapping[str, Any]  # the inventory variables of one host

PLACEHOLDERS = ("{volume}", "{state_dir}", "{site_dir}")


def start_order(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Priority 1 first; priorities are unique, the schema sees to it."""
    return sorted(groups, key=lambda group: int(group["priority"]))


def stop_order(groups: list[dict[str, Any]]) -> list[str]:
    """Names of the groups, the exact reverse of the start."""
    return [group["name"] for group in reversed(start_order(groups))]


def finished(plan: dict[str, Any]) -> dict[str, Any]:
    """The compiled plan with its order and its hash, which depends on everything but where the file lies, and when a run may begin."""
    ordered = {**plan, "start_order": start_order(plan["start_order"]), "stop_order": stop_order(plan["start_order"])}
    content = json.dumps({key: value for key, value in ordered.items() if key not in ("file", "hash", "maintenance")}, sort_keys=True)
    return {**ordered, "hash": hashlib.sha256(content.encode()).hexdigest()[:16]}


def group_name(plan: str) -> str:
    """The inventory group of a plan's hosts."""
    return "xdr_" + plan.replace("-", "_")


def resources_for(plan: Compiled, site: str, host: str, group: str | None = None) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Group and resource of all that runs on the host when the site runs the plan, in start order."""
    for each in plan["start_order"]:
        if group in (None, each["name"]):
            for resource in each["resources"]:
                if site in resource["hosts"] and resource["hosts"][site] == host:
                    yield each, resource


def instances_for(plan: Compiled, group: str | None, site: str, host: str) -> list[dict[str, Any]]:
    """Items for xdr_instances, of one group or (None) of all, by name: the host looks their driver and timeouts up in its plan.json."""
    return [{"name": resource["name"]} for _, resource in resources_for(plan, site, host, group)]


def volumes_for(plan: Compiled, site: str, host: str) -> list[dict[str, Any]]:
    """The volumes that the host holds at that site, as the plan names them."""
    return [dict(volume) for _, resource in resources_for(plan, site, host) for volume in resource["volumes"]]


def health_for(plan: Compiled, group: str, site: str, host: str, variables: Variables) -> list[dict[str, Any]]:
    """Items for xdr_health, checked at the host's xdr_service_address."""
    address = variables.get("xdr_service_address", "127.0.0.1")
    return [
        {"name": resource["name"], "checks": resource["health"], "address": address}
        for _, resource in resources_for(plan, site, host, group)
        if resource["health"]
    ]


def ports_for(plan: Compiled, site: str, host: str, variables: Variables) -> list[dict[str, Any]]:
    """Items for xdr_site: the ports at which the health checks will look for the host's services."""
    address = variables.get("xdr_service_address", "127.0.0.1")
    return [
        {"name": resource["name"], "address": address, "port": check["tcp"] if check.get("tcp") else check["http"]["port"]}
        for _, resource in resources_for(plan, site, host)
        for check in resource["health"]
        if check.get("tcp") or check.get("http")
    ]


def load_balancers_for(plan: Compiled, host: str, variables: Variables) -> list[dict[str, Any]]:
    """Items for xdr_traffic: the balancers on this host, with socket and address from its variables where the plan leaves them out."""
    return [_balancer(balancer, variables) for balancer in plan["traffic"]["load_balancers"] if balancer["host"] == host]


def _balancer(balancer: Mapping[str, Any], variables: Variables) -> dict[str, Any]:
    item = {key: value for key, value in balancer.items() if key != "host" and value is not None}
    if "socket" not in item:
        item["socket"] = _variable(variables, "xdr_haproxy_socket")
    verify = balancer.get("verify")
    if verify:
        url = verify.get("url") or _base(variables) + (verify.get("path") or "/")
        item["verify"] = {"url": url, "header": verify["header"], "values": dict(verify["values"])}
    return item


def dns_for(plan: Compiled, host: str, variables: Variables) -> list[dict[str, Any]]:
    """Items for xdr_traffic: the DNS records that this host changes, each with the file of its key in the host's xdr_tsig_dir."""
    return [_dns(record, variables) for record in plan["traffic"].get("dns", []) if record["host"] == host]


def _dns(record: Mapping[str, Any], variables: Variables) -> dict[str, Any]:
    folder = PurePosixPath(variables.get("xdr_tsig_dir") or PurePosixPath(_variable(variables, "xdr_state_dir")) / "tsig")
    item = {key: value for key, value in record.items() if key != "host"}
    return {**item, "key_file": str(folder / f"{record['key']}.key")}


def _base(variables: Variables) -> str:
    address = str(_variable(variables, "xdr_balancer_address"))
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{_variable(variables, 'xdr_balancer_port')}"


def capacity_for(plan: Compiled, site: str, host: str, variables: Variables, needs_bytes: int | str) -> list[dict[str, Any]]:
    """Items for xdr_site: where the host's volumes and its spool lie, and how much must be free there."""
    needs = needs_bytes if isinstance(needs_bytes, int) else 0
    folders = {_variable(variables, "xdr_state_dir"): needs}
    for volume in volumes_for(plan, site, host):
        folders.setdefault(str(_absolute(volume["path"], variables).parent), needs)
    return [{"path": path, "needs_bytes": number} for path, number in folders.items()]


def hook_environment(plan: Compiled, hook: Mapping[str, Any], run_id: str, recovery_point: str = "") -> dict[str, str]:
    """What a hook finds in its environment: with one of a group, that group and its resources."""
    groups = [group for group in plan["start_order"] if hook["group"] in ("", group["name"])]
    return {
        "XDR_PLAN_NAME": plan["name"],
        "XDR_SITE": plan["sites"][hook["site"]]["name"],
        "XDR_GROUP_NAME": hook["group"],
        "XDR_RESOURCE_IDS": ",".join(resource["name"] for group in groups for resource in group["resources"]),
        "XDR_EVENT_ID": run_id,
        "XDR_RECOVERY_POINT": recovery_point,
    }


def plan_document(plan: Compiled, site: str, host: str, variables: Variables) -> dict[str, Any]:
    """plan.json of one host (docs/internals.md section 1); for the witness it has neither volumes nor instances."""
    other = {"primary": "dr", "dr": "primary"}.get(site, "")
    volumes, instances = {}, {}
    for group, resource in resources_for(plan, site, host):
        instances[resource["name"]] = {
            **resource["instance"],
            "group": group["name"],
            "priority": group["priority"],
            "start_timeout": resource["start_timeout"],
            "stop_timeout": resource["stop_timeout"],
        }
        for volume in resource["volumes"]:
            volumes[volume["name"]] = _registered(group, resource, volume, resource["hosts"][other], variables)
    return {
        "plan": plan["name"],
        "hash": plan["hash"],
        "site": site,
        "host": host,
        "witness": plan["witness"],
        "record_host": site == "witness" or plan["sites"][site]["record_host"] == host,
        "volumes": volumes,
        "instances": instances,
        **_lease(plan, site),
    }


def _lease(plan: Compiled, site: str) -> dict[str, Any]:
    """The terms for the site that a failover takes the plan from, and for the witness. DR needs none: nobody takes over from it unasked."""
    terms = plan.get("ownership", {}).get("lease")
    if not terms or site == "dr":
        return {}
    resources = [resource for group in plan["start_order"] for resource in group["resources"]]
    lease = {**terms, "stop_timeout": max(int(resource["stop_timeout"]) for resource in resources)}
    hosts = sorted({resource["hosts"]["primary"] for resource in resources})
    return {"lease": {**lease, "hosts": hosts} if site == "witness" else lease}


def _registered(
    group: Mapping[str, Any], resource: Mapping[str, Any], volume: Mapping[str, Any], peer: str, variables: Variables
) -> dict[str, Any]:
    path = str(_absolute(volume["path"], variables))
    return {
        "path": path,
        "driver": volume["driver"],
        "grows": volume["grows"],
        "resource": resource["name"],
        "group": group["name"],
        "quiesce": _filled(resource["quiesce"], path, _variable(variables, "xdr_state_dir")) if resource["quiesce"] else None,
        "unit": group["name"] if group["consistency_group"] else resource["name"],
        "peer": peer,
        "tracker": _tracker(volume["tracker"], variables),
    }


def _tracker(tracker: Mapping[str, Any], variables: Variables) -> dict[str, Any]:
    """With absolute paths. The image lies where volumes may lie, the sockets of an instance may be anywhere."""
    found = dict(tracker)
    if "image" in found:
        found["image"] = str(_absolute(found["image"], variables))
    root = PurePosixPath(_variable(variables, "xdr_volume_roots")[0])
    return found | {name: str(root / found[name]) for name in ("socket", "nbd") if name in found}


def _absolute(path: str, variables: Variables) -> PurePosixPath:
    """Relative paths lie below the host's first volume root. Raises XdrError for a path outside all of its roots."""
    roots = [PurePosixPath(root) for root in _variable(variables, "xdr_volume_roots")]
    absolute = roots[0] / path
    if not any(root in absolute.parents for root in roots):
        raise XdrError(
            f"the volume path {path} is outside the volume roots of the host ({', '.join(map(str, roots))})",
            where=_host(variables),
            todo="Correct the plan, or add the folder to xdr_volume_roots",
        )
    return absolute


def _variable(variables: Variables, name: str) -> Any:
    value = variables.get(name)
    if not value:
        raise XdrError(f"the inventory variable {name} is not set", where=_host(variables), todo="Set it for this host or its group")
    return value


def _host(variables: Variables) -> str:
    return str(variables.get("inventory_hostname", "inventory"))


def _filled(quiesce: Mapping[str, Any], volume: str, state_dir: str) -> dict[str, list[list[str]]]:
    values = dict(zip(PLACEHOLDERS, (volume, state_dir, str(PurePosixPath(state_dir).parent)), strict=True))

    def fill(text: str) -> str:
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        return text

    return {when: [[fill(argument) for argument in argv] for argv in quiesce[when]] for when in ("before", "after")}
