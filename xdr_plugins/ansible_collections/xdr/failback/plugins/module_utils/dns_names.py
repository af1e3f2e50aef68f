# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Names, values and addresses of DNS as a plan writes them, in the one form in which they are compared. Pure, standard library only."""

from __future__ import annotations

import ipaddress
import re

TYPES = ("A", "AAAA", "CNAME")
PORT = 53
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


def domain(text: str) -> str:
    """``www.Shop.example`` as ``www.shop.example.``. Raises ValueError."""
    name = text.lower().rstrip(".")
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError(f"expected a domain name such as shop.example; found {text!r}")
    return name + "."


def absolute(record: str, zone: str) -> str:
    """The whole name of a record: ``www``, ``@`` (the zone itself) or a whole name with a dot at its end. Raises ValueError."""
    above = domain(zone)
    if record == "@":
        return above
    name = domain(record) if record.endswith(".") else domain(f"{record}.{above}")
    if name != above and not name.endswith("." + above):
        raise ValueError(f"{name} is outside the zone {above}; expected a name in it, such as www, @ or www.{above}")
    return name


def value(text: str, kind: str) -> str:
    """A value of a record of that type. Raises ValueError."""
    if kind == "CNAME":
        return domain(text)
    family = {"A": ipaddress.IPv4Address, "AAAA": ipaddress.IPv6Address}[kind]
    try:
        return str(family(text))
    except ValueError:
        version = {"A": "IPv4", "AAAA": "IPv6"}[kind]
        raise ValueError(f"expected an {version} address in a record of type {kind}; found {text!r}") from None


def server(text: str) -> tuple[str, int]:
    """Address and port of ``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1`` or ``[2001:db8::1]:5353``. Raises ValueError."""
    found = re.fullmatch(r"\[(?P<six>[0-9A-Fa-f:.]+)\](:(?P<six_port>\d{1,5}))?|(?P<four>[0-9.]+)(:(?P<four_port>\d{1,5}))?", text)
    host = (found["six"] or found["four"]) if found else text
    port = int((found["six_port"] or found["four_port"] or PORT) if found else PORT)
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        address = ""
    if not address or not 1 <= port <= 65535:
        raise ValueError(f"expected a server's address such as 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:5353; found {text!r}")
    return address, port
