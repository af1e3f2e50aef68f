# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The bench's arithmetic and verdicts, its volumes, and one real run on small ones."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from portal import PROJECT
from portal.bench import delta, peer, volumes
from portal.bench.ground import clear_leftovers
from portal.bench.limits import MIB, Limits
from portal.bench.rows import NAMES, PEER, Row, Taken, judged, rows, wanted
from portal.bench.scenes import scenes
from portal.bench.volumes import BLOCK, NEW, OLD, PAGE, STRETCH, Volume, pieces
from portal.bench.work import FSYNCS, Least, least, work
from portal.cli import app
from tests.support.delta_pair import quick_folder
from tests.support.processes import end, wait_until

LIMITS = Limits(
    cores=2,
    read_warm=4000,
    read_cold=1000,
    read_pieces=500,
    write=800,
    write_blocks=400,
    write_pages=100,
    fsync_s=0.001,
    hash=2000,
    hash_name="blake3",
    hashes={"blake3_1": 2000, "blake3_2": 4000},
    ssh=400,
    cipher="aes128-gcm@openssh.com",
    start_s=0.25,
    idle_bytes=19000,
)
NOTHING_LACKS = {"scan": "", "manifest": "", "tracker": ""}
TODAY = {"scan": "", "manifest": "no digests", "tracker": "no list"}

# -- volumes -----------------------------------------------------------------------------------------------------


@given(size=st.integers(1, 64), share=st.floats(0, 1), piece=st.sampled_from([PAGE, BLOCK]), seed=st.integers(0, 9))
def test_places_follow_from_the_seed_and_lie_within_the_volume(size: int, share: float, piece: int, seed: int) -> None:
    found = pieces(size * BLOCK, share, piece, seed)
    assert found == pieces(size * BLOCK, share, piece, seed)
    assert all(offset % piece == nbytes % piece == 0 and offset + nbytes <= size * BLOCK for offset, nbytes in found)
    assert all(sum(one) < other[0] for one, other in itertools.pairwise(found))
    there = size * BLOCK // piece
    assert volumes.total(found) == (max(1, min(there, round(there * share))) * piece if share else 0)


@given(extents=st.lists(st.tuples(st.integers(0, 40 * BLOCK), st.integers(1, 2 * BLOCK)), max_size=9))
def test_the_blocks_of_extents_are_those_they_touch(extents: list[tuple[int, int]]) -> None:
    touched = {at // BLOCK for offset, nbytes in extents for at in (*range(offset, offset + nbytes, BLOCK), offset + nbytes - 1)}
    assert {index for first, number in volumes.blocks_of(extents) for index in range(first, first + number)} == touched


@pytest.mark.parametrize("piece", [PAGE, BLOCK])
def test_a_change_touches_its_places_only_and_can_be_taken_back(tmp_path: Path, piece: int) -> None:
    size = 16 * BLOCK
    volume = Volume("v", size, 3, ((0, 4 * BLOCK), (8 * BLOCK, BLOCK)), pieces(size, 0.2, piece, 4))
    path = tmp_path / "v.img"
    volumes.lay(path, volume)
    old = path.read_bytes()
    for version in (OLD, NEW):
        volumes.write_patch(tmp_path / str(version), volume, version)
    volumes.apply_patch(tmp_path / str(NEW), volume, path)
    new = path.read_bytes()
    changed = {at for offset, nbytes in volume.changed for at in range(offset // PAGE, (offset + nbytes) // PAGE)}
    differs = {at for at in range(size // PAGE) if old[at * PAGE : (at + 1) * PAGE] != new[at * PAGE : (at + 1) * PAGE]}
    assert differs == changed
    volumes.apply_patch(tmp_path / str(OLD), replace(volume, changed=((0, BLOCK),)), path)  # the patch is read from its start
    again = tmp_path / "again.img"
    volumes.lay(again, volume)
    assert again.read_bytes() == old


def test_a_copy_keeps_holes_and_is_equal_until_a_byte_differs(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    volumes.lay(one, Volume("v", 9 * STRETCH + 5, 1, ((4 * STRETCH, BLOCK),)))
    volumes.copy(one, other)
    assert volumes.equal(one, other)
    assert volumes.allocated(other) <= STRETCH
    for cold in (True, False):
        volumes.settle(one, cold=cold)
    with other.open("r+b") as stream:
        stream.seek(9 * STRETCH + 4)
        stream.write(b"x")
    assert not volumes.equal(one, other)
    os.truncate(other, 9 * STRETCH)
    assert not volumes.equal(one, other)


def test_scenes_follow_from_the_size() -> None:
    found = scenes(2 << 30)
    assert found["aligned-1"].changed_bytes == 328 * BLOCK
    assert found["scattered"].changed_bytes == 5243 * PAGE
    assert {found[f"growth-{factor}"].changed_bytes for factor in ("0.5", "1", "2", "4")} == {64 * MIB}
    assert found["growth-4"].volumes[0].size == 8 << 30
    assert len(found["many"].volumes) == 50
    assert found["many"].used_bytes == found["single"].used_bytes == 3200 * MIB
    assert found["many"].changed_bytes == found["single"].changed_bytes
    assert found["aligned-0"].base == found["scattered"].base != found["sparse"].base


# -- rsync -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "nbytes"),
    [
        ("Total bytes sent: 1,234\nTotal bytes received: 56\n\nsent 1,234 bytes", 1290),
        ("Total file size: 9\nTotal bytes sent: 1234567\nTotal bytes received: 3\n", 1234570),
    ],
)
def test_the_bytes_of_rsync(said: str, nbytes: int) -> None:
    assert peer.wire_bytes(said) == nbytes


def test_statistics_of_another_form() -> None:
    with pytest.raises(XdrError, match="not understood"):
        peer.wire_bytes("Total bytes sent: 5\n")


# -- the limit ---------------------------------------------------------------------------------------------------

AMOUNTS: dict[str, Any] = {"used": 2000 * MIB, "changed": 20 * MIB, "piece": BLOCK, "cold": False, "first": False}


@pytest.mark.parametrize(
    ("mode", "amounts", "seconds", "by"),
    [
        # (4020 read / 4000 + 4020 hashed / 2000) / 2 + 20 sent / 400; 20 applied / 400
        ("scan", {}, (4020 / 4000 + 4020 / 2000) / 2 + 0.05 + 0.05, "reading and hashing"),
        ("scan", {"cold": True}, 4020 / 1000 + 40 / 800 + 0.05, "reading the disk"),
        ("manifest", {}, (2020 / 4000 + 2020 / 2000) / 2 + 0.05 + 0.05, "reading and hashing"),
        ("tracker", {}, (40 / 4000 + 40 / 2000) / 2 + 0.05 + 0.05, "ssh"),
        ("tracker", {"cold": True}, 40 / 500 + 40 / 800 + 0.05, "reading the disk"),
        ("tracker", {"piece": PAGE}, (40 / 4000 + 40 / 2000) / 2 + 0.05 + 0.2, "writing the volume"),
        ("tracker", {"changed": 0}, 0.0, "fsync"),
        ("scan", {"used": 200 * MIB, "first": True, "piece": STRETCH}, (200 / 4000 + 400 / 2000) / 2 + 0.5 + 0.25, "ssh"),
    ],
)
def test_the_arithmetic_of_the_limit(mode: str, amounts: dict[str, Any], seconds: float, by: str) -> None:
    found = least(work(mode, **{**AMOUNTS, **amounts}), LIMITS)
    assert found.seconds == pytest.approx(seconds + FSYNCS * 0.001)
    assert found.by == by


@given(
    mode=st.sampled_from(["scan", "manifest", "tracker"]),
    changed=st.integers(0, 1000),
    more=st.integers(0, 1000),
    cold=st.booleans(),
    first=st.booleans(),
)
def test_more_changed_bytes_never_need_less_time(mode: str, changed: int, more: int, cold: bool, first: bool) -> None:
    def seconds(mib: int) -> float:
        return least(work(mode, **{**AMOUNTS, "changed": mib * MIB, "cold": cold, "first": first}), LIMITS).seconds

    assert seconds(changed) <= seconds(changed + more)


# -- rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "ok", "why"),
    [
        (Row("r", "", 2.0, 1.9), True, None),
        (Row("r", "", 1.8, 1.9), False, "below its goal"),
        (Row("r", "", 1.8, 1.9, share=0.5, limited_by="ssh"), False, "the engine needs 2.0 times the machine's limit, which is set by ssh"),
        (
            Row("r", "", 7.8, 14, seconds=1.1, peer_seconds=8.8, limit_seconds=0.55, share=0.5, limited_by="ssh"),
            False,
            "the engine needs 2.0 times the machine's limit, which is set by ssh; at that limit it would be 16.0x",
        ),
        (Row("r", "", 1.8, 1.9, share=0.9, limited_by="ssh"), False, "at the machine's limit: ssh"),
        (Row("r", "", 0.6, 0.6, at_most=True), True, None),
        (Row("r", "", 0.7, 0.6, at_most=True), False, "above its goal"),
        (Row("r", "", 5.0, 3.0, ok=False, why="holes were lost"), False, "holes were lost"),
        (Row("r", "", None, 3.0, why="not there yet"), None, "not there yet"),
    ],
)
def test_the_verdict_of_a_row(row: Row, ok: bool | None, why: str | None) -> None:
    assert (judged(row).ok, judged(row).why) == (ok, why)


def measured(lacks: dict[str, str]) -> dict[tuple[str, str], Taken]:
    """rsync takes 10 s and 1000 bytes, everything else 4 s and 500 bytes, of which 400 are of changed blocks."""
    ours = Taken(4.0, 500, 40 * MIB, 100 * MIB, Least(2.0, "ssh"), changed_bytes=400)
    return {key: Taken(10.0, 1000) if key[1] == PEER else ours for key in wanted(NAMES, lacks)}


def test_every_goal_has_a_row() -> None:
    found = {row.name: row for row in rows(NAMES, measured(NOTHING_LACKS), NOTHING_LACKS)}
    extra = {f"scattered-{mode}-bytes" for mode in NOTHING_LACKS} | {"aligned-bytes", "share", "memory-source", "memory-target"}
    assert set(found) == {*NAMES, *extra}
    assert all(row.ratio is not None and row.ok is not None for row in found.values())
    ratios = {name: found[name].ratio for name in ("scan-1", "aligned-bytes", "share", "memory-target", "many-volumes", "growth-tracker")}
    assert ratios == {"scan-1": 2.5, "aligned-bytes": 0.5, "share": 0.5, "memory-target": 100.0, "many-volumes": 1.0, "growth-tracker": 1.0}
    assert [found[name].ok for name in ("scan-1", "tracker-10", "memory-source", "memory-target")] == [True, False, True, False]
    assert str(found["aligned-bytes"].why).endswith("the changed blocks alone, which do not compress, are 0.40")


def test_a_mode_that_the_engine_lacks_is_told_and_not_measured() -> None:
    assert not {who for _, who in wanted(NAMES, TODAY)} & {"tracker", "manifest"}
    assert not [scene for scene, _ in wanted(NAMES, TODAY) if scene.startswith("growth")]
    found = {row.name: row for row in rows(NAMES, measured(TODAY), TODAY)}
    assert (found["tracker-1-warm"].ratio, found["tracker-1-warm"].ok, found["tracker-1-warm"].why) == (None, None, "no list")
    assert (found["tracker-1-warm"].seconds, found["tracker-1-warm"].peer_seconds) == (None, 10.0)
    assert found["growth-tracker"].why == "no list"
    assert found["many-volumes"].why == "measured with the mode scan: no list"


def test_rsync_is_measured_once_for_all_rows_of_a_scene() -> None:
    assert wanted(("scan-1", "tracker-1-warm"), NOTHING_LACKS) == [("aligned-1", PEER), ("aligned-1", "tracker"), ("aligned-1", "scan")]
    assert wanted(("scan-1", "tracker-1-cold"), TODAY) == [("aligned-1", PEER), ("aligned-1", "scan"), ("aligned-1-cold", PEER)]


def test_lost_holes_fail_the_row() -> None:
    taken = {("sparse", PEER): Taken(10.0, 1000), ("sparse", "scan"): Taken(1.0, 500, lost_holes=5 * MIB)}
    row = rows(("sparse-copy",), taken, TODAY)[0]
    assert (row.ratio, row.ok) == (10.0, False)
    assert "holes were lost" in (row.why or "")


# -- the command -------------------------------------------------------------------------------------------------


def test_what_is_asked_for() -> None:
    assert delta.chosen("512MiB", "scan-1, sparse-copy", 3) == delta.Choice(512 * MIB, ("scan-1", "sparse-copy"), 3)
    assert delta.chosen("2GiB", "", 5) == delta.Choice()


@pytest.mark.parametrize("args", [["--size", "2"], ["--size", "1.5GiB"], ["--size", "x"], ["--rows", "nix"], ["--repeat", "0"]])
def test_what_cannot_be_measured_is_a_bad_option(args: list[str]) -> None:
    result = CliRunner().invoke(app, ["bench", "delta", *args])
    assert result.exit_code == 5
    assert "Traceback" not in result.output


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as one:
        yield one


def bench(folder: Path, *args: str) -> subprocess.Popen[str]:
    argv = [str(Path(sys.executable).parent / "xdr"), "bench", "delta", "--size", "8MiB", "--repeat", "1", *args]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(argv, cwd=PROJECT, env={**os.environ, "XDR_VAR": str(folder)}, text=True, start_new_session=True, **pipes)


def naming(folder: Path) -> list[str]:
    """Command lines of running programs that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in found if str(folder) in line]


def test_a_small_run_says_all_and_leaves_nothing(folder: Path) -> None:
    process = bench(folder, "--json")
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    document = json.loads(out)
    assert set(document) == {"machine", "asked", "limits", "rows"}
    assert document["limits"]["cores"] >= 1
    shape = {"name", "ratio", "goal", "seconds", "peer_seconds", "bytes", "peer_bytes", "limit_seconds", "share", "limited_by", "ok", "why"}
    assert all(shape <= set(row) for row in document["rows"])
    assert set(NAMES) <= {row["name"] for row in document["rows"]}
    assert all((row["ratio"] is None) == (row["ok"] is None) and (row["ok"] or row["why"]) for row in document["rows"])
    scan = next(row for row in document["rows"] if row["name"] == "scan-1")
    assert BLOCK < scan["bytes"] < 2 * BLOCK
    kept = [path for path in folder.iterdir() if path.name != "lock"]
    assert [path.name.split("-")[0] for path in kept] == ["delta"]
    assert json.loads(kept[0].read_text()) == document
    assert naming(folder) == []


@pytest.mark.parametrize(
    ("number", "at"), [(signal.SIGTERM, "target/volumes/*.img"), (signal.SIGINT, "limits.img"), (signal.SIGKILL, "limits.img")]
)
def test_interrupted_it_leaves_nothing(folder: Path, number: int, at: str) -> None:
    process = bench(folder, "--rows", "scan-1")
    try:
        wait_until(lambda: any(folder.glob(f"ground-*/{at}")) or process.poll() is not None, "it has come so far", 90)
        assert process.poll() is None
        assert naming(folder) != []
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    finally:
        end(process)  # type: ignore[arg-type]
    if number == signal.SIGKILL:
        clear_leftovers(folder)  # as the next bench does
    else:
        assert process.returncode == 1
        assert "interrupted" in errors
    wait_until(lambda: naming(folder) == [], "nothing runs there any more")
    assert [path.name for path in folder.iterdir()] == ["lock"]
