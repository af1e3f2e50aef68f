# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Ownership leases of the primary site. There is no clock: a lease runs out whenever it likes, and its holder has stopped then.

What the arithmetic and the keepers promise is taken for granted here (unit/test_lease_grants.py, unit/test_lease_keeper.py); what
the witness grants, and when it lets an offer through, is the product's own code.
"""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.xdr.failback.plugins.module_utils import lease_grants
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from tests.model.host import Hosts
from tests.model.world import ASKING, NO_GUARD, PRIMARY, RUN_OUT, WITNESS, World


def grantable(hosts: Hosts, world: World, epoch: int) -> bool:
    """Whether the witness would grant the primary site a lease of the epoch now."""
    try:
        lease_grants.check_may_hold(hosts.record[world.hosts[WITNESS].record], "primary", epoch)
    except XdrError:
        return False
    return world.hosts[WITNESS].power != "off"


def covered(hosts: Hosts, world: World, record: int) -> bool:
    """Whether a start guard with this record has a lease, or gets one."""
    epoch = hosts.record[record].epoch
    return world.lease == epoch or grantable(hosts, world, epoch)


def awaited(hosts: Hosts, world: World, record: int) -> Iterator[tuple[str, World]]:
    """What comes next for a guard that has heard the witness, learnt this record, and has no lease of its epoch."""
    learnt = world.with_host(PRIMARY, record=record)
    epoch = hosts.record[record].epoch
    if grantable(hosts, world, epoch):
        yield f"the witness grants primary a lease of epoch {epoch}", learnt._replace(lease=epoch)
    elif world.hosts[WITNESS].power != "off":
        yield "the guard of primary refuses: no_lease", learnt.with_host(PRIMARY, guard=NO_GUARD)


def runs_out(world: World) -> Iterator[tuple[str, World]]:
    """It costs a fault where the site is well; in a partition, and with nothing that renews it, it comes by itself."""
    host = world.hosts[PRIMARY]
    if world.lease <= RUN_OUT:
        return
    renewed = host.power == "up" and (host.running or host.guard != NO_GUARD)
    if renewed and not world.faults:
        return
    again = ASKING if host.running else host.guard  # the keeper starts again what it has stopped
    after = world.with_host(PRIMARY, running=False, guard=again)
    yield "the lease of primary runs out", after._replace(lease=RUN_OUT, faults=world.faults - renewed)
