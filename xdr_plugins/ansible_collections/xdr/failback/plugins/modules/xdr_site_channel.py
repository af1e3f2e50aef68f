#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The module xdr_site_channel; the work is in module_utils/site_channel.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_site_channel
short_description: Make a host a site host with a key of its own and known peers
description:
  - Makes the state folder, writes C(site.json), makes the host's key for the site-to-site channel and returns its public part.
  - Lets the peers whose public keys are given run the agent under a restriction, and pins the peers' host keys.
  - Lines of other keys and hosts are left alone.
version_added: 0.1.0
author: The XDR developers
options:
  state_dir:
    description: Where this host keeps its plans, records and the agent; made with mode 0700.
    type: path
    required: true
  document:
    description: The contents of C(site.json), with the inventory name of the host as C(host).
    type: dict
    required: true
  key:
    description: The private key by which this host reaches its peers; made when missing, and it never leaves the host.
    type: path
    required: true
    no_log: false
  authorized_keys:
    description: The authorized_keys file of the account under which the peers log in.
    type: path
    required: true
  known_hosts:
    description: Where the peers' host keys are pinned.
    type: path
    required: true
  restriction:
    description: The options that precede a peer's key in O(authorized_keys).
    type: str
    required: true
  peers:
    description: The other hosts.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Inventory name.
        type: str
        required: true
      pin:
        description: How O(known_hosts) names it, C(address) or C([address]:port).
        type: str
        required: true
      host_key:
        description: Its public host key.
        type: str
        required: true
        no_log: false
      public_key:
        description: The public key of its agent; empty where it is not known, then the access it has is left as it is.
        type: str
        default: ""
        no_log: false
attributes:
  check_mode:
    description: Changes nothing and tells what it would.
    support: full
  diff_mode:
    description: Returns the three files before and after.
    support: full
"""

EXAMPLES = r"""
- name: Make the host's key, and learn its public part
  xdr.failback.xdr_site_channel:
    state_dir: /var/lib/xdr
    document: {host: fra-hv1, state_dir: /var/lib/xdr, volume_roots: [/srv/volumes], peers: {}}
    key: /var/lib/xdr/agent_ed25519
    authorized_keys: /home/xdr/.ssh/authorized_keys
    known_hosts: /var/lib/xdr/known_hosts
    restriction: restrict,command="/usr/bin/python3 /var/lib/xdr/agent/xdr-site-agent.pyz ssh --state-dir /var/lib/xdr"
  register: channel
"""

RETURN = r"""
public_key:
  description: The public part of the host's key, empty in check mode where there is none yet.
  type: str
  returned: success
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdr.failback.plugins.module_utils import site_channel
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

PEER: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "pin": {"type": "str", "required": True},
    "host_key": {"type": "str", "required": True, "no_log": False},
    "public_key": {"type": "str", "default": "", "no_log": False},
}
ARGUMENTS: dict[str, Any] = {
    "state_dir": {"type": "path", "required": True},
    "document": {"type": "dict", "required": True},
    "key": {"type": "path", "required": True, "no_log": False},
    "authorized_keys": {"type": "path", "required": True},
    "known_hosts": {"type": "path", "required": True},
    "restriction": {"type": "str", "required": True},
    "peers": {"type": "list", "elements": "dict", "default": [], "options": PEER},
}


def desired(params: dict[str, Any]) -> dict[Path, tuple[str, str]]:
    """Each file with its text before and after."""
    peers = [site_channel.Peer(**peer) for peer in params["peers"]]
    authorized, known = Path(params["authorized_keys"]), Path(params["known_hosts"])
    site = Path(params["state_dir"]) / "site.json"
    before = {path: site_channel.read_text(path) for path in (site, authorized, known)}
    return {
        site: (before[site], site_channel.document_text(params["document"])),
        authorized: (before[authorized], site_channel.with_peers(before[authorized], peers, params["restriction"])),
        known: (before[known], site_channel.with_pins(before[known], peers)),
    }


def apply(params: dict[str, Any], files: dict[Path, tuple[str, str]]) -> None:
    key = Path(params["key"])
    for folder in {key.parent, Path(params["state_dir"]) / "agent", *(path.parent for path in files)}:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    Path(params["state_dir"]).chmod(0o700)
    for path, (before, after) in files.items():
        if before != after:
            site_channel.replace_text(path, after)
    if not key.exists():
        site_channel.make_key(key, params["document"]["host"])


def main() -> None:
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    params = module.params
    try:
        files = desired(params)
        missing = not Path(params["key"]).exists()
        if not module.check_mode:
            apply(params, files)
        public = site_channel.public_key(Path(params["key"]))
    except XdrError as error:
        module.fail_json(**error.failure())
    changes = [(path, texts) for path, texts in files.items() if texts[0] != texts[1]]
    diff = [{"before_header": str(path), "after_header": str(path), "before": texts[0], "after": texts[1]} for path, texts in changes]
    module.exit_json(changed=missing or bool(changes), public_key=public, diff=diff)


if __name__ == "__main__":
    main()
