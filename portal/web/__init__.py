# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The web process: pages, their streams, and the buttons, over the store. It never runs Ansible."""
