# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""``python -m portal.worker INVENTORY``: a worker in the foreground, which tells on stderr what it does."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from .worker import serve

if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("xdr").setLevel(logging.INFO)
    sys.exit(serve(Path(sys.argv[1])))
