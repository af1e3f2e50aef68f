# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The client of a QMP monitor, against a monitor whose every byte is chosen."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu import qmp
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.qemu.qmp import Qmp, QmpRefused, connected
from ansible_collections.xdr.failback.plugins.module_utils.errors import NotReached

from tests.support.processes import short_folder

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'
READY = GREETING + b'{"return": {}}\r\n'
EVENT = b'{"event": "JOB_STATUS_CHANGE", "data": {}, "timestamp": {}}\r\n'


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours and the monitor's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_answers_are_found_among_events(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(READY + EVENT + b'{"return": [1, 2]}\r\n' + EVENT + b'{"error": {"class": "GenericError", "desc": "No such node"}}\r\n')
    monitor = Qmp(ours, "qemu")
    assert monitor.execute("query-block-exports") == [1, 2]
    with pytest.raises(QmpRefused, match="qemu: blockdev-del: No such node"):
        monitor.execute("blockdev-del", {"node-name": "x"})
    sent = [line.partition(b', "arguments"')[0] for line in theirs.recv(1 << 16).splitlines()]
    assert sent == [b'{"execute": "qmp_capabilities"', b'{"execute": "query-block-exports"', b'{"execute": "blockdev-del"']


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (b"", "another client may hold its monitor"),
        (GREETING, "another client may hold its monitor"),
        (GREETING[:20], "another client may hold its monitor"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no QMP monitor"),
        (b"[]\n", "no QMP monitor"),
        (b'{"return": {}}\n', "no QMP monitor"),
    ],
)
def test_what_is_no_monitor_or_keeps_silent(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, said: bytes, what: str
) -> None:
    monkeypatch.setattr(qmp, "ANSWERS_WITHIN", 0.05)
    ours, theirs = ends
    theirs.sendall(said)
    with pytest.raises(NotReached, match=what):
        Qmp(ours, "qemu")


def test_a_process_that_ends(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(READY)
    monitor = Qmp(ours, "qemu")
    theirs.close()
    with pytest.raises(NotReached, match="the qemu process does not answer"):
        monitor.execute("query-status")


def test_an_answer_without_end(ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "_LONGEST", 1000)
    ours, theirs = ends
    theirs.sendall(GREETING[:10] + b" " * 2000)
    with pytest.raises(NotReached, match="its answer is too long"):
        Qmp(ours, "qemu")


def test_where_nobody_listens() -> None:
    with short_folder() as folder:
        assert connected(folder / "none") is None
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(folder / "left"))
        assert connected(folder / "left") is None
        (folder / "file").touch()
        assert connected(folder / "file") is None
        with pytest.raises(NotReached, match="the QMP socket cannot be used"):
            connected(Path(folder, "x" * 120))
