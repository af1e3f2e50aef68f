# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Filters that turn a compiled plan into the arguments of modules; the work is in plugin_utils/order.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils import bandwidth, foretold, order, recovery_points


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "plan_document": order.plan_document,
            "instances_for": order.instances_for,
            "volumes_for": order.volumes_for,
            "health_for": order.health_for,
            "ports_for": order.ports_for,
            "load_balancers_for": order.load_balancers_for,
            "dns_for": order.dns_for,
            "capacity_for": order.capacity_for,
            "hook_environment": order.hook_environment,
            "bandwidth_hours": lambda plan: bandwidth.hours_in_utc(plan["replication"]),
            "volumes_with": recovery_points.volumes_with,
            "downtime_told": foretold.downtime,
            "rounds_told": foretold.rounds,
        }
