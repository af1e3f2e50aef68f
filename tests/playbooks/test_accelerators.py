# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The role site_accelerators over the lab's hosts: afterwards their agents offer what it installed."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal import PROJECT
from portal.lab.lab import Lab
from tests.support.labs import built
from tests.support.playing import changes, play, run
from tests.support.wheels import wheel

pytestmark = pytest.mark.lab

PLAYBOOK = PROJECT / "playbooks" / "site_accelerators.yml"
SITE_PYTHON = "/usr/bin/python3"
HOSTS = ("fra-hv1", "ams-hv1", "edge1")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with built("fast") as one:
        yield one


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as somebody carries it to a controller without a package index, with a wheel of another machine in it."""
    asked = "import sys; print(*sys.version_info[:2])"
    theirs = subprocess.run([SITE_PYTHON, "-c", asked], capture_output=True, text=True, timeout=30, check=True).stdout.split()
    if theirs != [str(part) for part in sys.version_info[:2]]:
        pytest.skip("the wheels that are installed here are of another Python than the site hosts'")
    folder = tmp_path_factory.mktemp("wheels")
    for name in ("blake3", "zstandard"):
        own = wheel(name, folder)
        own.with_name(f"{name}-9.9-cp39-cp39-manylinux_2_17_mips64.whl").write_bytes(b"of another machine")
    return folder


def greeting(lab: Lab, host: str) -> dict[str, Any]:
    """The first frame of the host's agent."""
    state = lab.root / host / "state"
    argv = [SITE_PYTHON, str(state / "agent" / "xdr-site-agent.pyz"), "receive", "--state-dir", str(state)]
    said = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False).stdout
    header, _ = struct.unpack(">II", said[:8])
    document: dict[str, Any] = json.loads(said[8 : 8 + header])
    return document


def installed(lab: Lab) -> list[str]:
    return [str(path) for path in lab.root.glob("*/state/accelerators/*")]


def test_a_folder_without_wheels_is_refused_in_a_sentence(lab: Lab, tmp_path: Path) -> None:
    done = run(lab, PLAYBOOK, "-e", f"site_accelerators_wheels={tmp_path}")
    assert done.returncode != 0
    assert f"{tmp_path} on the controller has no wheel of blake3 or of zstandard for Python" in " ".join(done.stdout.split())
    assert not installed(lab)


def test_the_agents_offer_what_the_role_installed(lab: Lab, wheels: Path) -> None:
    before = {host: greeting(lab, host) for host in HOSTS}
    given = ("-e", f"site_accelerators_wheels={wheels}")
    assert changes(play(lab, PLAYBOOK, "--check", "--diff", *given)) > 0
    assert not installed(lab), "check mode changed something"
    assert changes(play(lab, PLAYBOOK, *given)) > 0
    assert changes(play(lab, PLAYBOOK, *given)) == 0, "the second run changed something"
    for host in HOSTS:
        offered = greeting(lab, host)
        assert offered["hashes"][0] == "blake3", before
        assert "zstd" in offered["compressions"]
