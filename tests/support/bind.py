# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Real BIND 9 servers for a test: a zone's primary that takes signed updates, a secondary of it, a resolver."""

from __future__ import annotations

import base64
import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query
import dns.tsig
import dns.update

from tests.support.processes import free_port, listens, running, short_folder

NAMED = "/usr/sbin/named"
ZONE = "shop.test"
OPTIONS = """
options {{
    directory "{folder}";
    pid-file none;
    session-keyfile none;
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    dnssec-validation no;
    allow-query {{ any; }};
    {more}
}};
controls {{ }};
"""
RECORDS = """$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
"""


@dataclass(frozen=True)
class Named:
    folder: Path
    port: int

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, name: str, kind: str, *, recursive: bool = False) -> tuple[int, list[str]]:
        """TTL and sorted values."""
        query = dns.message.make_query(f"{name}.{ZONE}." if name else f"{ZONE}.", kind)
        answer = dns.query.udp(query, "127.0.0.1", port=self.port, timeout=5)
        found = [rrset for rrset in answer.answer if rrset.rdtype == query.question[0].rdtype]
        return (found[0].ttl, sorted(rdata.to_text() for rdata in found[0])) if found else (0, [])

    @property
    def serial(self) -> int:
        return int(self.ask("", "SOA")[1][0].split()[2])


@dataclass(frozen=True)
class Primary(Named):
    """``xdr-failback`` may update the name ``www``, ``setup`` every name."""

    def key_file(self, name: str = "xdr-failback") -> Path:
        return self.folder / f"{name}.key"

    def put(self, name: str, ttl: int, kind: str, *values: str) -> None:
        """As another writer would, with a key that may do everything."""
        update = dns.update.UpdateMessage(ZONE, keyring=dns.tsig.Key("setup", secret("setup")))
        update.delete(name)
        if values:
            update.add(name, ttl, kind, *values)
        answer = dns.query.tcp(update, "127.0.0.1", port=self.port, timeout=5)
        assert answer.rcode() == 0


def secret(name: str) -> str:
    return base64.b64encode(name.ljust(32, ".").encode()).decode()


def key_text(name: str, base64_secret: str) -> str:
    """As tsig-keygen prints it."""
    return f'key "{name}" {{\n\talgorithm hmac-sha256;\n\tsecret "{base64_secret}";\n}};\n'


@contextlib.contextmanager
def primary(*notified: int) -> Iterator[Primary]:
    """``notified``: ports of the secondaries that are told of each change."""
    with short_folder() as folder:
        server = Primary(folder, free_port())
        for name in ("xdr-failback", "setup"):
            server.key_file(name).write_text(key_text(name, secret(name)))
            server.key_file(name).chmod(0o600)
        (folder / "zone").write_text(RECORDS)
        also = "".join(f"127.0.0.1 port {port}; " for port in notified)
        more = f"recursion no; notify explicit; also-notify {{ {also}}}; notify-delay 0;" if notified else "recursion no; notify no;"
        text = f"""
include "{server.key_file()}";
include "{server.key_file("setup")}";
zone "{ZONE}" {{
    type primary;
    file "zone";
    update-policy {{ grant xdr-failback name www.{ZONE}. ANY; grant setup zonesub ANY; }};
}};
"""
        with _serving(server, text, more):
            yield server


@contextlib.contextmanager
def secondary(of: int, port: int) -> Iterator[Named]:
    """``of``: the port of the primary; without being notified, it looks again after an hour."""
    with short_folder() as folder:
        server = Named(folder, port)
        text = f'zone "{ZONE}" {{ type secondary; file "zone"; primaries {{ 127.0.0.1 port {of}; }}; }};\n'
        with _serving(server, text, "recursion no; notify no;"):
            yield server


@contextlib.contextmanager
def resolver(of: int) -> Iterator[Named]:
    """Asks the server at port ``of`` and keeps what it hears for its TTL."""
    with short_folder() as folder:
        server = Named(folder, free_port())
        with _serving(server, "", f"recursion yes; forward only; forwarders {{ 127.0.0.1 port {of}; }};"):
            yield server


@contextlib.contextmanager
def _serving(server: Named, text: str, more: str) -> Iterator[None]:
    config = server.folder / "named.conf"
    config.write_text(OPTIONS.format(folder=server.folder, port=server.port, more=more) + text)
    program = server.folder / "named"  # a copy, for AppArmor lets the one of the package read /etc/bind alone
    shutil.copy2(NAMED, program)
    argv = [str(program), "-g", "-n", "1", "-c", str(config)]
    with running(argv, log=server.folder / "named.log", ready=lambda: listens("127.0.0.1", server.port)):
        yield
