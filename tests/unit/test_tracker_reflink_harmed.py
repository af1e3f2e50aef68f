# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The reflink tracker after bad luck: snapshots that are not as they were made, crashes, data that moves on the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers import extents
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.interface import Unknown
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.reflink import Reflink
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError

from tests.support.filesystems import Disk, kinds, mounted
from tests.support.images import FULL, SIZE, clones, content, image, made
from tests.support.processes import wait_until
from tests.support.strokes import play


@pytest.fixture(scope="module", params=kinds("xfs", "btrfs", "btrfs-nodatacow"))
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    with mounted(request.param) as one:
        yield one


@pytest.fixture
def volume(disk: Disk) -> Iterator[Path]:
    with image(disk) as path:
        yield path


# -- what it cannot tell -------------------------------------------------------------------------------------------


def written(path: Path) -> None:
    play(path, [("write", 9, 1, 1)])


def written_and_dated_back(path: Path) -> None:
    before = path.stat()
    written(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def copied(path: Path) -> None:
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def replaced(how: Callable[[Path], object]) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        path.unlink()
        how(path)

    return act


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        pytest.param(written, "snapshot one was changed or replaced", id="written"),
        pytest.param(written_and_dated_back, "snapshot one was changed or replaced", id="dated back"),
        pytest.param(copied, "snapshot one was changed or replaced", id="copied"),
        pytest.param(Path.unlink, "snapshot one cannot be opened", id="gone"),
        pytest.param(replaced(Path.mkdir), "snapshot one is not a regular file", id="folder"),
        pytest.param(replaced(os.mkfifo), "snapshot one is not a regular file", id="pipe"),
        pytest.param(replaced(lambda path: path.symlink_to("two")), "snapshot one cannot be opened", id="link"),
        pytest.param(lambda path: path.with_suffix(".json").unlink(), "there is no finished snapshot one", id="no note"),
        pytest.param(lambda path: path.with_suffix(".json").write_text("{"), "there is no finished snapshot one", id="half a note"),
        pytest.param(lambda path: path.with_suffix(".json").write_bytes(b"\xff"), "there is no finished snapshot one", id="no text"),
        pytest.param(lambda path: path.with_suffix(".json").write_text("[]"), "there is no finished snapshot one", id="another note"),
    ],
)
def test_a_snapshot_that_is_not_as_it_was_made(volume: Path, harm: Callable[[Path], None], why: str) -> None:
    tracker = Reflink(volume)
    tracker.mark("one")
    tracker.mark("two")
    harm(clones(volume) / "one")
    answer = tracker.changed("one")
    assert isinstance(answer, Unknown)
    assert why in answer.why
    if clones(volume).joinpath("one").is_dir():
        clones(volume).joinpath("one").rmdir()
    tracker.mark("one")
    assert tracker.changed("two") == []
    harm(clones(volume) / "one")  # as the newest it must not be read in the volume's stead
    with pytest.raises(XdrError, match=why):
        tracker.changed("two")
    with pytest.raises(XdrError, match=why):
        tracker.reader()


def test_an_unknown_mark_and_no_mark_at_all(volume: Path) -> None:
    tracker = Reflink(volume)
    with pytest.raises(XdrError, match="has no snapshot"):
        tracker.changed("one")
    with pytest.raises(XdrError, match="has no snapshot"):
        tracker.reader()
    tracker.keep("one")
    tracker.drop("one")
    tracker.forget()
    tracker.mark("one")
    assert tracker.changed("other") == Unknown("there is no finished snapshot other")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".json", "one.json", "a b", "x" * 201])
def test_a_mark_is_a_plain_name(tmp_path: Path, name: str) -> None:
    for act in (Reflink(tmp_path / "volume").keep, Reflink(tmp_path / "volume").mark):
        tmp_path.joinpath(".volume.xdr").mkdir(mode=0o700, exist_ok=True)
        with pytest.raises(XdrError, match="not a name of a mark"):
            act(name)


def test_a_folder_that_others_may_have_put_there(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    precious.joinpath("file").touch()
    tmp_path.joinpath("volume").touch()
    tmp_path.joinpath(".volume.xdr").symlink_to("precious")
    tracker = Reflink(tmp_path / "volume")
    acts: list[Callable[[], None]] = [lambda: tracker.mark("one"), lambda: tracker.keep("one"), lambda: tracker.drop("one"), tracker.forget]
    for act in acts:
        with pytest.raises(XdrError, match="not a folder of this account alone"):
            act()
    assert precious.joinpath("file").exists()


def test_what_a_crash_left_half_made_does_not_count(volume: Path) -> None:
    tracker = Reflink(volume)
    tracker.mark("one")
    clones(volume).joinpath("half").write_bytes(volume.read_bytes()[:FULL])
    clones(volume).joinpath(".half.json.17").write_text("{")
    again = Reflink(volume)
    assert content(again) == volume.read_bytes()
    assert again.changed("half") == Unknown("there is no finished snapshot half")
    again.mark("half")
    assert content(again) == volume.read_bytes()
    again.keep("half")
    assert sorted(path.name for path in clones(volume).iterdir()) == ["half", "half.json"]


MARKS = """\
import sys
from pathlib import Path
from ansible_collections.xdr.failback.plugins.module_utils.delta.trackers.reflink import Reflink
volume = Path(sys.argv[1])
for number in range(1, 10_000):
    with volume.open("r+b") as stream:
        stream.write(number.to_bytes(2, "big") * (stream.seek(0, 2) // 2 + 0 * stream.seek(0)))
    Reflink(volume).mark(f"m{number}")
    print(number, flush=True)
"""


@pytest.mark.parametrize("lines", range(1, 13))
def test_killed_at_any_moment_each_mark_is_whole_or_none(volume: Path, lines: int) -> None:
    os.truncate(volume, 4 * BLOCK)
    with python(MARKS, volume) as process:
        assert process.stdout
        said = [process.stdout.readline() for _ in range(lines)]
    whole = sorted(int(path.stem[1:]) for path in clones(volume).glob("m*.json"))
    assert whole[: len(said)] == list(range(1, lines + 1))
    tracker = Reflink(volume)
    for number in whole:
        assert isinstance(tracker.changed(f"m{number}"), list)
        assert clones(volume).joinpath(f"m{number}").read_bytes() == number.to_bytes(2, "big") * (2 * BLOCK)
    assert content(tracker) == whole[-1].to_bytes(2, "big") * (2 * BLOCK)


@pytest.mark.parametrize("kind", kinds("btrfs", "xfs"))
def test_a_mark_outlives_a_power_cut(kind: str) -> None:
    with mounted(kind) as disk:
        volume = made(disk.point / "orders.img")
        play(volume, [("sync", 0, 0, 0)])
        disk.point.joinpath("unsafe").write_bytes(b"1")
        Reflink(volume).mark("one")
        before = volume.read_bytes()
        disk.point.joinpath("unsafe").unlink()
        disk.cut_power()
        assert disk.point.joinpath("unsafe").exists()  # it was a power cut
        play(volume, [("write", 3 * BLOCK, 1, 1)])
        tracker = Reflink(volume)
        tracker.mark("two")
        assert tracker.changed("one") == [(3, 1)]
        assert clones(volume).joinpath("one").read_bytes() == before
        tracker.keep("two")
        disk.cut_power()
        assert sorted(path.name for path in clones(volume).iterdir()) == ["two", "two.json"]


MOVES = """\
import sys
from pathlib import Path
from tests.support.strokes import BLOCK, play
print(flush=True)
while True:
    play(Path(sys.argv[1]), [("share", 0, BLOCK, 20), ("share", 0, BLOCK, 22)])
"""


def test_a_file_that_is_moved_while_it_is_looked_at_gives_no_answer(volume: Path) -> None:
    def moved() -> bool:
        try:
            extents.differing(one.fileno(), other.fileno(), SIZE)
        except OSError as error:
            return error.strerror == "the file system moved it just then"
        return False

    with python(MOVES, volume) as process, volume.open("rb") as one, volume.open("rb") as other:
        assert process.stdout
        process.stdout.readline()
        wait_until(moved, "the two looks differ", 60)


@contextlib.contextmanager
def python(program: str, volume: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", program, str(volume)], stdout=subprocess.PIPE, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()
