# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What is wrong with a plan or a site, in plain words: facts are gathered, and each check is a pure function of them."""
