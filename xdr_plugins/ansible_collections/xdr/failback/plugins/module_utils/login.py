# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The controller's way to a site host, with paramiko: its legs one by one, each with its time.

Imported on the controller only; the host key is always checked against the known_hosts file of the target.
"""

from __future__ import annotations

import contextlib
import socket
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .connectivity import LegError, Stopwatch, Way, connect
from .parallel import each

PARAMIKO_MISSING: str | None = None  # the traceback of the import, for missing_required_lib
try:
    import paramiko
except ImportError:
    PARAMIKO_MISSING = traceback.format_exc()

HERE = "controller"


def from_controller(targets: Sequence[Mapping[str, Any]], timeout: float) -> list[Way]:
    """``targets``: ``[{"name", "address", "port", "user", "key", "known_hosts"}]``, tried all at once."""
    return each(lambda target: to_target(target, timeout), targets)


def to_target(target: Mapping[str, Any], timeout: float) -> Way:
    watch, tcp_ms, ssh_ms = Stopwatch(), None, None
    try:
        with connect(target["address"], target["port"], timeout) as sock:
            tcp_ms = watch.lap()
            with _logged_in(target, sock, timeout) as client:
                ssh_ms = watch.lap()
                _run_nothing(client, target, timeout)
                return Way(HERE, target["name"], "CONNECTED", ms=watch.lap(), tcp_ms=tcp_ms, ssh_ms=ssh_ms)
    except LegError as failed:
        return Way(HERE, target["name"], failed.leg, tcp_ms=tcp_ms, ssh_ms=ssh_ms, why=failed.why)


@contextlib.contextmanager
def _logged_in(target: Mapping[str, Any], sock: socket.socket, timeout: float) -> Iterator[paramiko.SSHClient]:
    """Raises LegError: LOGIN for our key, HOST_KEY for theirs, SSH for anything between."""
    where, user = f"{target['address']} port {target['port']}", target["user"]
    if not Path(target["key"]).is_file():
        raise LegError("LOGIN", f"the key {target['key']} for {user} at {where} does not exist. Make it, or correct the inventory")
    with contextlib.closing(paramiko.SSHClient()) as client:
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        _load_known_hosts(client, target, where)
        try:
            client.connect(
                target["address"],
                target["port"],
                user,
                sock=sock,
                key_filename=str(target["key"]),
                allow_agent=False,
                look_for_keys=False,
                timeout=timeout,
                banner_timeout=timeout,
                auth_timeout=timeout,
            )
        except paramiko.BadHostKeyException as error:
            why = f"{where} shows the host key {error.key.fingerprint}, {target['known_hosts']} pins another"
            raise LegError("HOST_KEY", f"{why}. Find out why it changed before you pin it anew") from None
        except paramiko.AuthenticationException as error:
            raise LegError(
                "LOGIN", f"{where} refused the login of {user} ({error}). See that its authorized_keys has the controller's key"
            ) from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise LegError(
                "SSH", f"{where} accepts connections, but no SSH session came up ({error or 'closed'}). Read sshd's log there"
            ) from None
        yield client


def _load_known_hosts(client: paramiko.SSHClient, target: Mapping[str, Any], where: str) -> None:
    try:
        client.load_host_keys(str(target["known_hosts"]))
    except OSError as error:
        raise LegError(
            "HOST_KEY", f"{target['known_hosts']} cannot be read ({error.strerror}). Pin the host keys of the sites there"
        ) from None
    name = target["address"] if target["port"] == 22 else f"[{target['address']}]:{target['port']}"
    if client.get_host_keys().lookup(name) is None:
        raise LegError("HOST_KEY", f"{target['known_hosts']} pins no host key for {where}. Add the one that its administrator tells you")


def _run_nothing(client: paramiko.SSHClient, target: Mapping[str, Any], timeout: float) -> None:
    where = f"{target['address']} port {target['port']}"
    try:
        _, stdout, _ = client.exec_command("true", timeout=timeout)
        stdout.channel.settimeout(timeout)
        stdout.read()
        status = stdout.channel.recv_exit_status()
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise LegError(
            "AGENT", f"{where} logged us in, but ran no command ({error or 'no answer'}). See the account's shell and sshd's log"
        ) from None
    if status:
        raise LegError("AGENT", f"{where} ran 'true' with exit status {status}. See the shell of {target['user']} there")
