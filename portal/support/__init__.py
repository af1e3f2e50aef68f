# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What is sent to those who help: one archive, without secrets."""
