# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

from ansible_collections.xdr.failback.plugins.module_utils.site_channel import Peer, comment, with_peers, with_pins
from hypothesis import given
from hypothesis import strategies as st

RESTRICTION = 'restrict,command="agent"'
OLD = "ssh-ed25519 AAAAold xdr-agent@ams-hv1"
NEW = "ssh-ed25519 AAAAnew xdr-agent@ams-hv1"
LOGIN = "ssh-ed25519 AAAAlogin controller"


def peer(public_key: str = NEW) -> Peer:
    return Peer("ams-hv1", "[127.0.0.2]:2222", "ssh-ed25519 AAAAhost root@ams", public_key)


def test_a_new_key_replaces_the_old_one_and_leaves_other_lines_alone() -> None:
    text = with_peers(f"{LOGIN}\n{RESTRICTION} {OLD}\n", [peer()], RESTRICTION)
    assert text == f"{LOGIN}\n{RESTRICTION} {NEW}\n"


def test_a_peer_whose_key_is_not_known_keeps_its_access() -> None:
    before = f"{RESTRICTION} {OLD}\n"
    assert with_peers(before, [peer("")], RESTRICTION) == before


def test_another_restriction_replaces_the_line() -> None:
    assert with_peers(f"restrict {NEW}\n", [peer()], RESTRICTION) == f"{RESTRICTION} {NEW}\n"


def test_a_name_that_another_ends_with_is_not_mistaken() -> None:
    other = f"{RESTRICTION} ssh-ed25519 AAAA xdr-agent@old-ams-hv1"
    assert with_peers(f"{other}\n", [peer()], RESTRICTION).splitlines() == [other, f"{RESTRICTION} {NEW}"]
    assert comment("ams-hv1") in NEW


def test_a_changed_host_key_is_pinned_once() -> None:
    text = with_pins("[127.0.0.2]:2222 ssh-ed25519 AAAAwrong\n[127.0.0.9]:2222 ssh-ed25519 AAAAother\n", [peer()])
    assert text == "[127.0.0.9]:2222 ssh-ed25519 AAAAother\n[127.0.0.2]:2222 ssh-ed25519 AAAAhost\n"


@given(st.lists(st.text("abc ", min_size=1, max_size=8).map(str.strip).filter(bool), max_size=5))
def test_a_second_time_changes_nothing(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    once = with_peers(text, [peer()], RESTRICTION)
    assert with_peers(once, [peer()], RESTRICTION) == once
    pinned = with_pins(text, [peer()])
    assert with_pins(pinned, [peer()]) == pinned
