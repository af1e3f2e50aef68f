# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""What a site's volumes hold, from files that real services wrote."""

from __future__ import annotations

from pathlib import Path

from portal.faults.volumes import SLOT, Held, of_database, of_ring, wrong
from tests.unit.test_lab_services import ask, free_port, make, service


def written(tmp_path: Path, numbers: range, slot: int = SLOT) -> tuple[Path, Path]:
    database, ring = tmp_path / "orders.img", tmp_path / "web.img"
    make(tmp_path, "--volume", f"orders:1:{database}", "--volume", f"image:1:{ring}")
    one, other = free_port("127.77.254.1"), free_port("127.77.254.1")
    with service("orders", database, one), service("api", ring, other, "--to", str(one), "--slot", str(slot)):
        for number in numbers:
            assert ask(other, "/orders", {"number": number})[0] == 200
    return database, ring


def test_each_order_is_found_in_database_and_ring(tmp_path: Path) -> None:
    database, ring = written(tmp_path, range(1, 6))
    assert of_database(database).numbers == (1, 2, 3, 4, 5)
    assert of_ring(ring) == Held((1, 2, 3, 4, 5))


def test_a_ring_that_went_round_keeps_the_newest(tmp_path: Path) -> None:
    slot = 8192  # a few of them, so that a hundred orders go round
    _, ring = written(tmp_path, range(1, 141), slot)
    held = of_ring(ring, slot)
    assert held.wrapped
    assert held.numbers == tuple(range(140 - ((1 << 20) // slot - 1) + 1, 141))
    assert wrong(held, range(1, 141), 140) == []


def test_what_does_not_agree_with_the_log() -> None:
    assert wrong(Held((1, 2, 3)), [1, 2, 3], 3) == []
    assert wrong(Held((1, 2, 4)), [1, 2, 3], 3) == ["1 lost (the first is 3)"]  # 4 was in hand as the writer ended
    assert wrong(Held((1, 2, 2, 3)), [1, 2, 3], 3) == ["1 twice (the first is 2)"]
    assert wrong(Held((1, 2, 3, 9)), [1, 2, 3], 3) == ["1 never sent (the first is 9)"]
    assert wrong(Held((5, 6), wrapped=True), [1, 5, 6], 6) == []
    assert wrong(Held((4, 6, 7), wrapped=True), [5, 6, 7], 7) == []  # 4 timed out, was written after 5, and 5 is overwritten
    assert wrong(Held((5, 7), wrapped=True), [4, 5, 6, 7], 7) == ["1 lost (the first is 6)"]
    assert wrong(Held((4, 5), wrapped=True), [1, 2], 5) == ["2 lost (the first is 1)"]
