# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The delta sync: changed 64 KiB blocks of volumes, straight from site to site (docs/internals.md, section 4)."""
