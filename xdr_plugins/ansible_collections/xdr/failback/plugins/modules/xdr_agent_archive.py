#!/usr/bin/python
# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Documentation of xdr_agent_archive; the work is in the action plugin of the same name, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xdr_agent_archive
short_description: Put the site agent on a host
description:
  - Builds the site agent from this collection on the controller, the same bytes for the same sources, and copies it to the host.
  - The file is replaced as a whole, so an agent that runs is not disturbed.
version_added: 0.1.0
author: The XDR developers
options:
  dest:
    description: Where the agent goes on the host; its folder must exist.
    type: path
    required: true
attributes:
  check_mode:
    description: As M(ansible.builtin.copy).
    support: full
  diff_mode:
    description: As M(ansible.builtin.copy).
    support: full
"""

EXAMPLES = r"""
- name: Install the site agent
  xdr.failback.xdr_agent_archive:
    dest: "{{ xdr_state_dir }}/agent/xdr-site-agent.pyz"
"""

RETURN = r"""
path:
  description: Where the agent is.
  type: str
  returned: success
sha256:
  description: Digest of the file, in hex.
  type: str
  returned: success
version:
  description: Version of the collection and a digest of the sources, as the agent's verb C(version) prints it.
  type: str
  returned: success
"""
