# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The lab: two real sites on this machine, on loopback addresses of their own."""
