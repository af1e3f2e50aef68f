# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What the tracker qemu_bitmap needs of qemu: a monitor's client, a daemon, an image, its node and the node's bitmaps."""
