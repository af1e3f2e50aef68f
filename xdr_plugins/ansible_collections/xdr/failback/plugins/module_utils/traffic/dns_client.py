# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""One DNS record at one server: what it is now, and a signed update of it (RFC 2136, TSIG). The only file that imports dnspython."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .. import dns_names
from ..errors import NotReached, XdrError
from .tsig import Key

try:
    import dns.exception
    import dns.flags
    import dns.message
    import dns.query
    import dns.rcode
    import dns.rdataclass
    import dns.rdatatype
    import dns.rrset
    import dns.tsig
    import dns.update
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

UPDATED_WITHIN = 5.0  # seconds
ASKED_FOR = (1.0, 3.0)  # seconds, for each try of a question: a datagram may be lost
FUDGE = 300  # seconds that the two clocks may differ, RFC 8945
# of each type two values that no record has in earnest: one of them is not in the record, and so can be taken out of it
NOWHERE = {"A": ("0.0.0.0", "255.255.255.255"), "AAAA": ("::", "100::"), "CNAME": ("nowhere.invalid.", "nobody.invalid.")}  # noqa: S104


@dataclass(frozen=True)
class RRset:
    """The values in their one form and sorted; none where the name has no such record, and the TTL is 0 then."""

    ttl: int
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.values)} (TTL {self.ttl} s)" if self.values else "nothing"


@dataclass(frozen=True)
class Client:
    """Asks for the record ``name`` (whole, with the dot at its end) of the type ``kind``."""

    zone: str
    name: str
    kind: str
    where: str  # for sentences

    @property
    def shown(self) -> str:
        """The record in sentences."""
        return f"{self.name.rstrip('.')} {self.kind}"

    def __post_init__(self) -> None:
        if MISSING:
            raise XdrError(
                "the Python package dnspython is not installed on this host",
                where=self.where,
                todo="Install it: apt install python3-dnspython",
            )

    def ask(self, server: str, *, recursive: bool = False) -> RRset:
        """What the server says. Without ``recursive`` it has to know by itself. Raises NotReached, and XdrError for a refusal."""
        host, port = dns_names.server(server)
        query = dns.message.make_query(self.name, self.kind)
        if not recursive:
            query.flags &= ~dns.flags.RD
        with self._heard(server):
            answer = _asked(query, host, port)
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            todo = "Let it answer this host" if recursive else f"See that it serves the zone {_plain(self.zone)}"
            raise XdrError(f"{server} answers {dns.rcode.to_text(answer.rcode())} for {self.shown}", where=self.where, todo=todo)
        if not recursive and not answer.flags & dns.flags.AA:
            raise XdrError(
                f"{server} has no authority for {_plain(self.zone)}",
                where=self.where,
                todo="Name the zone's authoritative servers in the plan",
            )
        return self._found(answer.answer, recursive)

    def _found(self, sections: Sequence[dns.rrset.RRset], recursive: bool) -> RRset:
        for rrset in sections:
            if rrset.name.to_text().lower() == self.name and dns.rdatatype.to_text(rrset.rdtype) in (self.kind, "CNAME"):
                if dns.rdatatype.to_text(rrset.rdtype) != self.kind:
                    raise XdrError(
                        f"{_plain(self.name)} is a CNAME and has no record of type {self.kind}",
                        where=self.where,
                        todo="Correct the record's type in the plan, or take the CNAME out of the zone",
                    )
                return RRset(rrset.ttl, tuple(sorted(dns_names.value(rdata.to_text(), self.kind) for rdata in rrset)))
        return RRset(0, ())

    def update(self, server: str, key: Key, before: RRset, after: RRset) -> None:
        """Make ``before`` to ``after``, or nothing at all where it is not what is there. Raises XdrError in all other cases."""
        update = self._update(key, before)
        update.delete(self.name, self.kind)
        if after.values:
            update.add(self.name, after.ttl, self.kind, *after.values)
        self._send(server, key, update, before)

    def try_update(self, server: str, key: Key, before: RRset) -> None:
        """Ask for an update of this record that changes nothing: a value is taken out which the server sees not to be in it.

        The server goes through everything that it does for a real one: signature, clock, permission, prerequisite.
        """
        update = self._update(key, before)
        update.delete(self.name, self.kind, next(value for value in NOWHERE[self.kind] if value not in before.values))
        self._send(server, key, update, before)

    def _update(self, key: Key, before: RRset) -> dns.update.UpdateMessage:
        try:
            update = dns.update.UpdateMessage(self.zone, keyring=dns.tsig.Key(key.name, key.secret, key.algorithm))
        except ValueError:
            what, todo = f"the secret of the key {key.name} is no base64", f"Make it anew: tsig-keygen {key.name}"
            raise XdrError(what, where=self.where, todo=todo) from None
        except (KeyError, NotImplementedError):
            what, todo = (
                f"this host does not know the algorithm {key.algorithm} of the key {key.name}",
                "Take one that both know: hmac-sha256",
            )
            raise XdrError(what, where=self.where, todo=todo) from None
        if before.values:
            update.present(self.name, self.kind, *before.values)
        else:
            update.absent(self.name, self.kind)
        return update

    def _send(self, server: str, key: Key, update: dns.update.UpdateMessage, before: RRset) -> None:
        """By TCP: a datagram that was repeated would meet what it had made itself."""
        host, port = dns_names.server(server)
        with self._heard(server, key):
            answer = dns.query.tcp(update, host, timeout=UPDATED_WITHIN, port=port)
        told = _refusals(_plain(self.name), _plain(self.zone), server, key, before)
        if answer.rcode() != dns.rcode.NOERROR:
            name = dns.rcode.to_text(answer.rcode())
            what, todo, code = told.get(name, (f"{server} answers {name} to the update", "Look at its log", "failed"))
            raise XdrError(what, where=self.where, todo=todo, code=code)

    @contextlib.contextmanager
    def _heard(self, server: str, key: Key | None = None) -> Iterator[None]:
        """What dnspython raises, in words."""
        try:
            yield
        except dns.tsig.PeerError as error:
            what, todo = _peer_error(error, server, key)
            raise XdrError(what, where=self.where, todo=todo) from None
        except (dns.tsig.BadTime, dns.tsig.BadSignature, dns.message.UnknownTSIGKey) as error:
            raise XdrError(
                f"the answer of {server} is not signed as it should be ({error})",
                where=self.where,
                todo=f"Compare the key {key.name if key else ''} and the clocks of both hosts",
            ) from None
        except (dns.exception.DNSException, OSError, EOFError) as error:
            reason = "no answer" if isinstance(error, dns.exception.Timeout) else str(error) or type(error).__name__
            raise NotReached(
                f"the DNS server {server} does not answer ({reason})",
                where=self.where,
                todo="Look at it, at the way to it, or correct the plan",
            ) from error


def _asked(query: dns.message.Message, host: str, port: int) -> dns.message.Message:
    for timeout in ASKED_FOR:
        with contextlib.suppress(*([dns.exception.Timeout] if timeout != ASKED_FOR[-1] else [])):
            answer: dns.message.Message = dns.query.udp_with_fallback(query, host, timeout=timeout, port=port)[0]
            return answer
    raise AssertionError  # the last one raises


def _plain(name: str) -> str:
    return name.rstrip(".")


def _refusals(name: str, zone: str, server: str, key: Key, before: RRset) -> dict[str, tuple[str, str, str]]:
    """By the server's answer to an update: what it means, what to do, and the code."""
    changed = (
        f"{name} is not any more what it was a moment ago ({before}): somebody else changes it; {server} was left as it is",
        "Find out who, then run it again: it goes on from what is there",
        "changed_since",
    )
    return {
        **dict.fromkeys(("NXRRSET", "YXRRSET", "NXDOMAIN", "YXDOMAIN"), changed),
        "REFUSED": (
            f"{server} refuses updates of {name} with the key {key.name}",
            f"Allow it in the zone {zone} there (update-policy or allow-update)",
            "failed",
        ),
        "NOTAUTH": (
            f"{server} does not take updates of the zone {zone}",
            "Name the zone's primary server first in the plan's servers, and see that the zone's name is right",
            "failed",
        ),
        "NOTZONE": (f"{name} is not in the zone {zone} of {server}", "Correct the zone in the plan", "failed"),
    }


def _peer_error(error: Exception, server: str, key: Key | None) -> tuple[str, str]:
    name = key.name if key else ""
    if isinstance(error, dns.tsig.PeerBadKey):
        return f"{server} does not know the key {name} (BADKEY)", "Give both the same name and algorithm, and let the server load it"
    if isinstance(error, dns.tsig.PeerBadSignature):
        return f"{server} has another secret for the key {name} (BADSIG)", "Copy the key file from the server"
    if isinstance(error, dns.tsig.PeerBadTime):
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            f"the clocks of {server} and of this host are more than {FUDGE} s apart (BADTIME); this one says {now:%Y-%m-%d %H:%M:%S} UTC",
            "Set the one that is wrong, and see that both follow a time server",
        )
    return f"{server} refuses the signature of the key {name} ({type(error).__name__})", "Compare the key and its algorithm on both"
