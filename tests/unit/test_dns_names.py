# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

import pytest
from ansible_collections.xdr.failback.plugins.module_utils import dns_names


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:DB8::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
    ],
)
def test_a_server(text: str, address: str, port: int) -> None:
    assert dns_names.server(text) == (address, port)


@pytest.mark.parametrize(
    "text", ["", "ns1.shop.example", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.256", "[192.0.2.1", "192.0.2.1 53", "::1]:53"]
)
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ValueError, match="expected a server's address such as"):
        dns_names.server(text)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ("www", "www.shop.example."),
        ("@", "shop.example."),
        ("a.b", "a.b.shop.example."),
        ("WWW.shop.example.", "www.shop.example."),
        ("shop.example.", "shop.example."),
    ],
)
def test_a_record_in_its_zone(record: str, name: str) -> None:
    assert dns_names.absolute(record, "Shop.example") == name


@pytest.mark.parametrize("record", ["www.other.", "wwwshop.example.", "", "a..b", "-a", "a b", "x" * 64, ".".join(["x" * 60] * 5)])
def test_a_record_that_is_not_in_it(record: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        dns_names.absolute(record, "shop.example")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("A", "192.0.2.1", "192.0.2.1"), ("AAAA", "2001:DB8:0::1", "2001:db8::1"), ("CNAME", "Fra.shop.example", "fra.shop.example.")],
)
def test_values_have_one_form(kind: str, text: str, value: str) -> None:
    assert dns_names.value(text, kind) == value
