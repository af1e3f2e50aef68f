# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``xdr bench``: measures on this machine what the product promises, and the physical limits beside it."""
