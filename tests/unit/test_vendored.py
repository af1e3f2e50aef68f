# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The front end's libraries are those that were reviewed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[2] / "portal" / "static" / "vendor"
LISTED = json.loads((VENDOR / "vendored.json").read_text(encoding="utf-8"))


def test_each_file_is_the_one_that_is_listed() -> None:
    for one in LISTED:
        assert hashlib.sha256((VENDOR / one["file"]).read_bytes()).hexdigest() == one["sha256"], one["name"]
        assert (VENDOR / one["licence_file"]).is_file()


def test_no_other_file_is_there() -> None:
    listed = {name for one in LISTED for name in (one["file"], one["licence_file"])} | {"vendored.json"}
    assert {path.name for path in VENDOR.iterdir()} == listed
