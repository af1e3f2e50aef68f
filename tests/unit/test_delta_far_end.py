# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The far end as another host has it: a process of its own, an older Python, no accelerators."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from ansible_collections.xdr.failback.plugins.module_utils.delta import preview
from ansible_collections.xdr.failback.plugins.module_utils.delta.blocks import BLOCK

from tests.support.delta_pair import Pair, content

ROOT = Path(__file__).parents[2]
SERVE = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ansible_collections.xdr.failback.plugins.module_utils.delta.receiver import serve
sys.exit(serve(Path(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer))
"""


@functools.cache
def oldest_python() -> str:
    """The path of a Python 3.9, the oldest that a site host may have; empty where this machine has none."""
    places = ["/usr/bin/python3.9", "/usr/local/bin/python3.9", *Path.home().glob(".pyenv/versions/3.9.*/bin/python")]
    return next((str(place) for place in places if Path(place).exists()), "")


INTERPRETERS = {"no-accelerators": [sys.executable, "-I", "-S"], **({"3.9": [oldest_python(), "-I", "-S"]} if oldest_python() else {})}


@pytest.fixture(params=INTERPRETERS)
def far(request: pytest.FixtureRequest) -> list[str]:
    """The command of a Python without any package."""
    return list(INTERPRETERS[request.param])


@pytest.fixture
def pair() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="xdr-", dir=Path(__file__).parent) as folder:
        pair = Pair(Path(folder), "orders", grows=True)
        pair.write(pair.source, "orders", content([1 + number % 5 for number in range(100)]))
        yield pair.ready("before-reverse")


def over(pair: Pair, far: list[str], **options: Any) -> dict[str, Any]:
    process = subprocess.Popen(
        [*far, "-c", SERVE, str(ROOT / "xdr_plugins"), str(pair.target.state_dir)], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with contextlib.closing(cast(BinaryIO, process.stdin)) as writer, contextlib.closing(cast(BinaryIO, process.stdout)) as reader:
        try:
            [result] = pair.send(reader, writer, **options)
        finally:
            writer.close()
            assert process.wait(30) == 0
    return dict(result)


def test_cycles_and_proofs_with_a_far_end_that_has_only_its_standard_library(pair: Pair, far: list[str]) -> None:
    assert over(pair, far, compare=True)["equal"]
    with pair.path(pair.source, "orders").open("r+b") as stream:
        for index in range(0, 60, 3):
            stream.seek(index * BLOCK + 100)
            stream.write(b"page")
    foretold = over(pair, far, work=preview.preview)
    assert (foretold["method"], foretold["predicted_bytes"]) == ("digests", 20 * BLOCK)
    result = over(pair, far, final=True, recovery_points=3, compression="zlib")
    assert (result["method"], result["blocks_changed"]) == ("digests", 20)
    assert result["bytes_sent"] < 20 * 2 * 4096
    assert over(pair, far, verify=True)["equal"]
    assert pair.both(pair.source) == pair.both(pair.target)
