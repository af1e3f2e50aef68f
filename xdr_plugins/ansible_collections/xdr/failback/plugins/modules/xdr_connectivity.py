#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_connectivity
short_description: Try the way from the controller to a site, or from site to site
version_added: 0.1.0
description:
  - Tries the connection, the host key, the login and a command, and tells for each way the time it took or which leg failed and why.
  - Host keys are always checked against the pinned ones. Nothing is changed.
author: The XDR developers
requirements:
  - paramiko (on the controller, with O(origin=controller))
options:
  origin:
    description:
      - V(controller) goes from here to O(targets) with paramiko; delegate the task to localhost.
      - V(site) goes from this site host to O(peers) over the site-to-site channel.
    type: str
    choices: [controller, site]
    required: true
  targets:
    description: Where to, from the controller.
    type: list
    elements: dict
    suboptions:
      name:
        description: The host's name in the inventory.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      port:
        description: The port of its sshd.
        type: int
        default: 22
      user:
        description: The account.
        type: str
        required: true
      key:
        description: Path of the private key.
        type: path
        required: true
      known_hosts:
        description: Path of the file with the pinned host keys.
        type: path
        required: true
  peers:
    description: Names of this host's peers.
    type: list
    elements: str
  measure:
    description: Those of O(peers) to which the latency of an open channel is measured, too.
    type: list
    elements: str
    default: []
  transfer_bytes:
    description: With O(measure), at most so many bytes go to each of them, for about half a second, to measure the throughput.
    type: int
    default: 0
  timeout:
    description: Seconds for each leg.
    type: float
    default: 10
  must_connect:
    description: Fail when a way does not connect.
    type: bool
    default: true
  plan:
    description: Name of the protection plan; not used, accepted as of the other modules.
    type: str
    required: false
  state_dir:
    description: The state folder of this host; needed with O(origin=site).
    type: path
    required: false
extends_documentation_fragment:
  - xdr.failback.site
attributes:
  check_mode:
    description: The same, as nothing is changed.
    support: full
  diff_mode:
    description: There is never a change.
    support: none
"""

EXAMPLES = r"""
- name: From here to a site host
  xdr.failback.xdr_connectivity:
    origin: controller
    targets:
      - name: fra-hv1
        address: 192.0.2.10
        user: xdr
        key: /etc/xdr/controller_key
        known_hosts: /etc/xdr/known_hosts
  delegate_to: localhost

- name: From site to site
  xdr.failback.xdr_connectivity:
    origin: site
    state_dir: /var/lib/xdr
    peers: [ams-hv1, edge1]
"""

RETURN = r"""
results:
  description: One entry for each target or peer.
  returned: always
  type: list
  elements: dict
  contains:
    from: {description: Where the way begins., type: str}
    to: {description: Where it ends., type: str}
    result:
      description: CONNECTED, or the leg that failed - TCP, SSH, HOST_KEY, LOGIN or AGENT (no command could be run over there).
      type: str
    ms: {description: "Milliseconds for a command over an open session; from a site, for a new session and the agent's ping.", type: float}
    tcp_ms: {description: Milliseconds to connect., type: float}
    ssh_ms: {description: "Milliseconds for handshake and login; from the controller only.", type: float}
    latency_ms: {description: "Milliseconds for a round trip over an open channel, the median of five; with O(measure).", type: float}
    bytes_per_s: {description: "Throughput of incompressible bytes in this direction; with O(transfer_bytes).", type: int}
    unmeasured: {description: "Why these could not be measured, else empty.", type: str}
    clock_s: {description: "By how many seconds the peer's clock is ahead of this host's; from a site only.", type: float}
    clock_error_s: {description: "By how much that may be wrong, half the time of the ping.", type: float}
    version: {description: "The version of the peer's agent; from a site only.", type: str}
    why: {description: "Why the leg failed and what to do, else empty.", type: str}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.xdr.failback.plugins.module_utils import login
from ansible_collections.xdr.failback.plugins.module_utils.arguments import SITE_ARGUMENTS
from ansible_collections.xdr.failback.plugins.module_utils.connectivity import from_site, measured, require_all
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.site import load_site

TARGET = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 22},
    "user": {"type": "str", "required": True},
    "key": {"type": "path", "required": True, "no_log": False},
    "known_hosts": {"type": "path", "required": True},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SITE_ARGUMENTS,
            "plan": {"type": "str"},
            "state_dir": {"type": "path"},
            "origin": {"type": "str", "choices": ["controller", "site"], "required": True},
            "targets": {"type": "list", "elements": "dict", "options": TARGET},
            "peers": {"type": "list", "elements": "str"},
            "measure": {"type": "list", "elements": "str", "default": []},
            "transfer_bytes": {"type": "int", "default": 0},
            "timeout": {"type": "float", "default": 10.0},
            "must_connect": {"type": "bool", "default": True},
        },
        required_if=[("origin", "controller", ("targets",)), ("origin", "site", ("peers", "state_dir"))],
        supports_check_mode=True,
    )
    parameters = module.params
    if parameters["origin"] == "controller" and login.PARAMIKO_MISSING:
        module.fail_json(msg=missing_required_lib("paramiko"), exception=login.PARAMIKO_MISSING, results=[])
    answer: dict[str, Any] = {"changed": False, "results": []}
    try:
        if parameters["origin"] == "controller":
            ways = login.from_controller(parameters["targets"], parameters["timeout"])
        else:
            site = load_site(Path(parameters["state_dir"]))
            ways = from_site(site, parameters["peers"], parameters["timeout"])
            ways = measured(site, ways, parameters["measure"], parameters["transfer_bytes"])
        answer["results"] = [way.to_json() for way in ways]
        if parameters["must_connect"]:
            require_all(answer["results"])
    except XdrError as error:
        module.fail_json(**answer, **error.failure())
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
