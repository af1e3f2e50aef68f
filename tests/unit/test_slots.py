# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Documents in two slots: the old one or the new one, whatever is torn or killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import slots
from ansible_collections.xdr.failback.plugins.module_utils.durable import together
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from hypothesis import given
from hypothesis import strategies as st

from tests.support.delta_pair import in_killed_child, quick_folder

LONG = {"sent": [[number, number] for number in range(700)]}


def write(path: Path, document: Any) -> None:
    together([slots.writing(path, document)])


@given(documents=st.lists(st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=900)), min_size=1, max_size=6))
def test_the_newest_document_is_read(documents: list[dict[str, Any]]) -> None:
    with quick_folder() as folder:
        for document in documents:
            write(folder / "below" / "state", document)
            assert slots.read(folder / "below" / "state") == document
        assert [path.name for path in (folder / "below").iterdir()] == ["state"]


def test_no_file_is_no_document_and_a_plain_one_gets_its_slots(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert slots.read(path) is None
    path.write_text(json.dumps({"cycle": 1}, indent=1))
    assert slots.read(path) == {"cycle": 1}
    write(path, {"cycle": 2})
    assert slots.read(path) == {"cycle": 2}


def test_a_document_that_fits_changes_no_name_and_one_that_does_not_gets_a_larger_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write(path, {"cycle": 1})
    inode, size = path.stat().st_ino, path.stat().st_size
    for cycle in range(2, 5):
        write(path, {"cycle": cycle})
        assert (path.stat().st_ino, path.stat().st_size) == (inode, size)
    write(path, LONG)
    assert slots.read(path) == LONG
    assert path.stat().st_size > size


@given(at=st.integers(0, 8191), newest=st.booleans())
def test_a_slot_that_was_torn_leaves_the_other_one(at: int, newest: bool) -> None:
    """The last of two writes is torn, or the one before it is damaged later."""
    with quick_folder() as folder:
        path = folder / "state"
        write(path, {"cycle": 1})
        before = path.read_bytes()
        write(path, {"cycle": 2})
        after = path.read_bytes()
        changed = [position for position in range(len(after)) if before[position] != after[position]]
        cut = min(at, len(after))
        path.write_bytes(after[:cut] + before[cut:])
        assert slots.read(path) in ({"cycle": 1}, {"cycle": 2})
        assert changed
        assert changed[0] // 4096 == changed[-1] // 4096, "one slot, and no sector of the other"
        start = changed[0] // 4096 * 4096
        damaged = start if newest else 4096 - start
        path.write_bytes(after[:damaged] + b"x" + after[damaged + 1 :])
        assert slots.read(path) == ({"cycle": 1} if newest else {"cycle": 2})


@pytest.mark.parametrize("damage", [b"", b"{", b"x" * 8192, b"0" * 64 + b"\n"])
def test_what_holds_no_whole_document_is_an_error(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(damage)
    with pytest.raises(XdrError, match="no whole document"):
        slots.read(path)
    with pytest.raises(XdrError, match="no whole document"):
        write(path, {"cycle": 1})


@pytest.mark.parametrize("fresh", [{"cycle": 2}, LONG])
def test_a_write_that_is_killed_at_any_call_leaves_old_or_new(tmp_path: Path, fresh: Any) -> None:
    path, found = tmp_path / "state", []
    for call in range(1, 20):
        write(path, {"cycle": 1})
        ended = in_killed_child(lambda: write(path, fresh), call)
        found.append(slots.read(path))
        if ended:
            break
    assert ended
    assert found[0] == {"cycle": 1}
    assert found[-1] == fresh
    assert all(document in ({"cycle": 1}, fresh) for document in found)
