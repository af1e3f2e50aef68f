# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Run as a program: marks its pid as the start guard does, then becomes the command. Waits first while the file HOLD exists.

usage: guarded.py RUNNING_JSON HOLD COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    mark, hold, *command = sys.argv[1:]
    while Path(hold).exists():
        print("waiting for the witness", file=sys.stderr, flush=True)
        time.sleep(0.1)
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    Path(mark).parent.mkdir(parents=True, exist_ok=True)
    Path(mark).write_text(json.dumps({"pid": os.getpid(), "started": started}))
    os.execvp(command[0], command)  # noqa: S606  (as the guard does)


if __name__ == "__main__":
    main()
