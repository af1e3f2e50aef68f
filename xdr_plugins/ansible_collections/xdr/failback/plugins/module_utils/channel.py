# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The channel from this site host to a peer: the OpenSSH client, with pinned host keys and nothing of the user's own settings."""

from __future__ import annotations

import shlex
import subprocess

from .errors import NotReached, XdrError
from .site import Peer

CONNECT_TIMEOUT = 10  # seconds
# the fastest first on processors with AES (764 MiB/s against 498 of chacha20, measured on 2 cores); sshd takes the first it has
CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr"
_SSH_FAILED = 255  # ssh's own exit code for everything that is not the far command's


def argv(peer: Peer, verb: str, *args: str) -> list[str]:
    """The command that runs one verb of the peer's agent."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": peer.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "Ciphers": CIPHERS,
        "Compression": "no",
        "ConnectTimeout": str(CONNECT_TIMEOUT),
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "4",
    }
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    # ssh joins its words with blanks and the far side splits them with shlex, so each is quoted here
    far = [shlex.quote(word) for word in (verb, *args)]
    return ["ssh", "-F", "none", "-T", *flags, "-i", peer.key, "-p", str(peer.port), f"{peer.user}@{peer.address}", *far]


def run(peer: Peer, verb: str, *args: str, timeout: float) -> str:
    """What the verb printed. Raises NotReached (no answer, nothing known of what was done) or XdrError (host key, login, the verb)."""
    try:
        done = subprocess.run(
            argv(peer, verb, *args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotReached(
            f"no answer within {timeout:g} s", where=_where(peer), todo="Look at that host and the network between the sites"
        ) from error
    except OSError as error:
        raise _no_ssh(error) from error
    if done.returncode:
        raise failure(peer, done.returncode, done.stderr)
    return done.stdout


def open_channel(peer: Peer, verb: str, *args: str) -> subprocess.Popen[bytes]:
    """The verb with its input and output as unbuffered pipes."""
    try:
        return subprocess.Popen(
            argv(peer, verb, *args), bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, close_fds=True
        )
    except OSError as error:
        raise _no_ssh(error) from error


def failure(peer: Peer, code: int, errors: str) -> XdrError:
    """Why ssh or the verb ended with ``code``, in one sentence."""
    last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), "no reason was given")
    where = _where(peer)
    if code != _SSH_FAILED:
        return XdrError(f"the agent failed with code {code}: {last}", where=where, todo="Look at the agent on that host")
    if "host key" in errors.lower() or "REMOTE HOST IDENTIFICATION" in errors:
        todo = f"Find out why it changed; if it is right, pin it again in {peer.known_hosts} (role site_agent)"
        return XdrError("the host key is not the pinned one", where=where, todo=todo, code="host_key")
    if "Permission denied" in errors:
        todo = "See that the peer's authorized_keys has this host's key (role site_agent)"
        return XdrError(f"the login as {peer.user} was refused", where=where, todo=todo, code="login")
    return NotReached(f"no connection ({last})", where=where, todo="Look at that host and the network between the sites")


def _where(peer: Peer) -> str:
    return f"{peer.name} ({peer.address} port {peer.port})"


def _no_ssh(error: OSError) -> XdrError:
    return XdrError(f"ssh cannot be run ({error.strerror})", todo="Install the package openssh-client")
