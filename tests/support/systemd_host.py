# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""A host with a real systemd as process 1, in namespaces of its own. It can lose power and boot again."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from portal import PROJECT
from tests.support.debian_root import debian_root
from tests.support.delta_pair import quick_folder
from tests.support.filesystems import may_mount
from tests.support.processes import wait_until

CGROUPS = Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")
ENTER = 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"'
# Its folder and the checkout are at the same paths inside as outside. The kernel's settings are read-only: they are this machine's.
BOOT = """
lower=$1 folder=$2 checkout=$3 root=$2/root
mount --make-rprivate /
mount -t overlay -o "lowerdir=$lower,upperdir=$folder/upper,workdir=$folder/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    : >"$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
for path in "$folder/shared" "$checkout"; do
    mkdir -p "$root$path"
    mount --bind "$path" "$root$path"
done
mount -o remount,ro,bind "$root$checkout"
cd "$root"
mkdir -p .outside
pivot_root . .outside
umount -l .outside
exec env -i container=xdr PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=no
"""
WITH_THE_TEST = ("setpriv", "--pdeathsig", "KILL", "--")  # however that ends
NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child")


@dataclass
class SystemdHost:
    """``shared``: a folder that is at the same path inside. What is written to the disk survives ``cut_power``."""

    lower: Path
    folder: Path
    cgroup: Path
    _outside: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _init: int = 0

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    def boot(self) -> None:
        self.cgroup.mkdir(exist_ok=True)
        argv = ["/bin/sh", "-ec", ENTER, "enter", str(self.cgroup), *WITH_THE_TEST, "unshare", *NAMESPACES, "/bin/sh", "-ec", BOOT, "boot"]
        with (self.folder / "console").open("ab") as console:
            self._outside = outside = subprocess.Popen(
                [*argv, str(self.lower), str(self.folder), str(PROJECT)], stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        wait_until(lambda: self._booted() or outside.poll() is not None, "systemd has booted", 60)
        assert outside.poll() is None, (self.folder / "console").read_text(errors="replace")[-2000:]

    def cut_power(self) -> None:
        """Process 1 is killed, and by the kernel all others with it."""
        outside, self._outside = self._outside, None
        if outside:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init or outside.pid, signal.SIGKILL)
            outside.wait(30)
        self._init = 0
        wait_until(self._cgroup_gone, "all processes have ended")

    def argv(self, *words: str) -> list[str]:
        return ["nsenter", f"--target={self._init}", "--all", "--", "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in there, as root."""
        done = subprocess.run(
            self.argv(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False, start_new_session=True
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def show(self, unit: str, *properties: str) -> str:
        """``value value`` of the unit's properties."""
        lines = self.run("systemctl", "show", f"--property={','.join(properties)}", "--", unit).stdout.splitlines()
        told = dict(line.partition("=")[::2] for line in lines)
        return " ".join(told.get(name, "") for name in properties)

    def file(self, path: str, text: str) -> None:
        """On its disk."""
        there = Path(f"/proc/{self._init}/root{path}")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)

    def service(self, name: str, command: str, *, enabled: bool = False, **options: str) -> None:
        """A unit file of the administrator's; ``systemctl daemon-reload`` is the caller's."""
        lines = ["[Service]", f"ExecStart={command}", *(f"{key}={value}" for key, value in options.items())]
        self.file(f"/usr/local/lib/systemd/system/{name}", "\n".join([*lines, "[Install]", "WantedBy=multi-user.target", ""]))
        if enabled:
            self.run("systemctl", "enable", "--quiet", name)

    def shell(self) -> Path:
        """A program for ``ansible_shell_executable``: with the connection ``local``, Ansible's commands run in there."""
        path = self.folder / "shell"
        path.write_text(f'#!/bin/sh\nexec nsenter --target={self._init} --all -- /bin/sh "$@"\n')
        path.chmod(0o755)
        return path

    def _booted(self) -> bool:
        outside = self._outside
        assert outside
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
            self._init = int(children[0]) if children else 0
        if not self._init or Path(f"/proc/{self._init}/comm").read_text().strip() != "systemd":
            return False
        answer = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return answer in ("starting", "running", "degraded") and self.show("basic.target", "ActiveState") == "active"

    def _cgroup_gone(self) -> bool:
        """The groups that systemd has made go, from the innermost on, once nothing is in them."""
        for group in sorted((path for path in self.cgroup.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                group.rmdir()
        with contextlib.suppress(OSError):
            self.cgroup.rmdir()
        return not self.cgroup.exists()


@contextlib.contextmanager
def systemd_host() -> Iterator[SystemdHost]:
    """Booted once the caller boots it; gone at the end."""
    with quick_folder() as folder:
        for name in ("upper", "work", "root", "shared"):
            (folder / name).mkdir()
        host = SystemdHost(debian_root(), folder, _cgroups() / f"xdr-{uuid.uuid4().hex[:12]}")
        try:
            yield host
        finally:
            host.cut_power()


def _cgroups() -> Path:
    """This process's own group in the hierarchy that systemd uses."""
    root = next(path for path in CGROUPS if (path / "cgroup.controllers").exists())
    own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    return root / own.partition("::")[2].strip("/")


@functools.cache
def may_boot() -> bool:
    """Tried: root may be one in a container."""
    if os.geteuid() or not shutil.which("debootstrap") or not may_mount():
        return False
    try:
        group = _cgroups() / f"xdr-{uuid.uuid4().hex[:12]}"
        group.mkdir()
        group.rmdir()
        return subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, StopIteration):
        return False
