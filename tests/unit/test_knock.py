# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Whether an sshd answers: a real one, and what else may be found at a port."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.plugin_utils.knock import MOST, reason, sshd_answers

from tests.support.processes import free_port
from tests.support.sshd import known_hosts_line, make_key, sshd


def test_a_real_sshd_and_its_end(tmp_path: Path) -> None:
    with sshd(tmp_path) as server:
        assert sshd_answers(server.address, server.port, 20)
    assert not sshd_answers(server.address, server.port)


@pytest.mark.parametrize(
    ("says", "answers"),
    [
        (b"SSH-2.0-x\r\n", True),
        (b"a line of the site's own\r\nSSH-2.0-x\r\n", True),
        (b"HTTP/1.0 400 SSH-\r\n\r\n", False),
        (b"x" * (MOST + 1), False),
        (b"", False),
    ],
)
def test_what_is_at_the_port(says: bytes, answers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        told = threading.Thread(target=tell, args=(listener, says))
        told.start()
        assert sshd_answers("127.0.0.1", listener.getsockname()[1], 20) is answers
        told.join(20)


def tell(listener: socket.socket, says: bytes) -> None:
    line, _ = listener.accept()
    with line:
        line.sendall(says)


def test_what_accepts_and_stays_silent_does_not_hold_us_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not sshd_answers("127.0.0.1", listener.getsockname()[1], 0.1)


def test_nobody_there() -> None:
    assert not sshd_answers("127.0.0.1", free_port())
    assert not sshd_answers("no-such-host.invalid", 22)


LOST = "Data could not be sent to remote host '127.0.0.1'. Make sure this host can be reached over ssh: [Errno 32] Broken pipe"


@pytest.mark.parametrize(
    ("said", "wrong", "found"),
    [
        (LOST, "known_hosts", "Host key verification failed"),
        (LOST, "key", "Permission denied"),
        (LOST, "", LOST),  # it would let us in now
        (LOST, "nothing is known", LOST),
        ("Connection timed out", "key", "Connection timed out"),
    ],
)
def test_the_reason_that_ssh_gave_and_nobody_heard(tmp_path: Path, said: str, wrong: str, found: str) -> None:
    with sshd(tmp_path / "sshd") as server:
        target: dict[str, object] = {"name": "fra-hv1", **server.peer()}
        other = make_key(tmp_path / "other")
        if wrong == "known_hosts":
            server.known_hosts.write_text(known_hosts_line(server.address, server.port, other))
        if wrong == "key":
            target["key"] = str(tmp_path / "other")
        if wrong == "nothing is known":
            target["known_hosts"] = None
        assert reason(said, target) == found
