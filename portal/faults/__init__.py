# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The fault lab: a failback that is hit at a chosen place, and what an observer and a writer outside of it saw."""
