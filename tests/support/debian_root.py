# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A small Debian with systemd in a folder, built once and kept in the account's cache for the next time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from ansible_collections.xdr.failback.plugins.module_utils.durable import locked

PACKAGES = ("dbus", "libpam-systemd", "openssh-server", "polkitd", "python3", "systemd")
DROPPED = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man")  # nothing there is needed


def debian_root() -> Path:
    """Nobody writes into it: it is the lower layer of what boots. Takes a minute the first time."""
    mirror, suite = _source()
    version = hashlib.sha256(" ".join((suite, *PACKAGES, *DROPPED)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xdr"
    made = cache / f"debian-{suite}-{version}"
    with locked(cache / "debian.lock", timeout=280):
        if not made.exists():
            _build(cache / f"{made.name}.part", made, suite, mirror)
    return made


def _build(part: Path, made: Path, suite: str, mirror: str) -> None:
    shutil.rmtree(part, ignore_errors=True)
    argv = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(part), mirror]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=270, check=False)
    log = part / "debootstrap" / "debootstrap.log"
    assert done.returncode == 0, done.stdout[-1000:] + (log.read_text(errors="replace")[-2000:] if log.exists() else done.stderr[-1000:])
    for folder in DROPPED:
        shutil.rmtree(part / folder, ignore_errors=True)
    (part / "etc" / "machine-id").write_text("")  # each boot makes one
    part.rename(made)


def _source() -> tuple[str, str]:
    """The mirror and the release from which this machine installs its own packages."""
    told = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines())
    release = told.get("VERSION_CODENAME", "").strip('"')
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(CODENAME) $(COMPONENT)", "Created-By: Packages"]
    lines = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.split("\n")
    found = [words[0] for words in map(str.split, lines) if len(words) == 4 and release in words[1:3] and words[3] == "main"]
    assert found, f"apt knows no source for main of {release or 'this release'}"
    return found[0], release
