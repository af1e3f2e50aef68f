# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Becomes another program after writing down who it is: ``child.py CHILD.JSON PROGRAM [ARGUMENT…]``.

Standard library only and run by path, so that it costs next to nothing. The record is there before the program's
first instruction: whoever finds a run's folder can tell which process belongs to it.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    target, program = sys.argv[1], sys.argv[2:]
    started = int(Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
    fresh = Path(target + ".new")
    fresh.write_text(json.dumps({"pid": os.getpid(), "started": started}), encoding="utf-8")
    fresh.replace(target)
    os.execvp(program[0], program)  # noqa: S606 - an argv list, no shell


if __name__ == "__main__":
    main()
