# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Lets one run use the modules that an earlier one has packed."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import io
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import ansible
from ansible import constants
from ansible.executor.module_common import _CachedModule
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import module_utils_loader
from ansible.release import __version__
from ansible_collections.xdr.failback.plugins.plugin_utils import kept
from ansible_collections.xdr.failback.plugins.plugin_utils.bytecode import bytecode

DOCUMENTATION = """
name: module_cache
type: aggregate
short_description: Keep packed modules from run to run
description:
  - Before a module first runs, Ansible gathers it and all that it imports into one archive, which takes 0.15 to 0.4 s of CPU time.
    It keeps these archives for one run. This callback keeps those of Ansible and of this collection for the next one, 2 s of a
    failback, 0.4 s of them in the downtime.
  - What is kept has the bytecode of each Python file beside it. Without that, a host compiles them all before the module begins, which is
    half of the 0.15 s of CPU time that a task takes there. A host with another version of Python than the controller's compiles as before.
  - What is kept is found by the version of Ansible and Python and by the name, size and time of each file that may be in it.
  - Nothing is kept where there is a folder C(module_utils) beside the playbook or in C(DEFAULT_MODULE_UTILS_PATH), for files from
    there may be packed, too.
requirements: [enabled in C(callbacks_enabled)]
author: [The XDR developers]
"""

COLLECTION = Path(__file__).resolve().parents[2]
KEPT = ("ansible.modules.", "ansible_collections.xdr.failback.")
SETS = 4  # of packed modules: a few checkouts or versions side by side


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "xdr.failback.module_cache"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: object) -> None:
        folder = _kept()
        if folder and kept.is_private(folder):  # Ansible unpickles these files
            _copy(folder, _of_this_run(), shutil.copyfile)

    def v2_playbook_on_stats(self, stats: object) -> None:
        folder = _kept()
        if folder and _of_this_run().is_dir():
            with contextlib.suppress(OSError):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _copy(_of_this_run(), folder, _compiled)
                kept.prune(folder.parent, SETS)


def _kept() -> Path | None:
    """Where the packed modules of this state of the code are kept."""
    own = Path(ansible.__file__).parent
    if any(Path(path).is_dir() and not Path(path).is_relative_to(own) for path in module_utils_loader._get_paths(subdirs=False)):
        return None
    home: str = constants.config.get_config_value("ANSIBLE_HOME")
    return Path(home) / "xdr_modules" / _fingerprint()


def _fingerprint() -> str:
    files = sorted(path for folder in ("modules", "module_utils") for path in (COLLECTION / "plugins" / folder).rglob("*.py"))
    made_from = f"{__version__}\0{constants.__file__}\0{sys.version}\0{COLLECTION}\0{kept.of_files(files)}"
    return hashlib.sha256(made_from.encode()).hexdigest()[:32]


def _of_this_run() -> Path:
    return Path(constants.DEFAULT_LOCAL_TMP) / "ansiballz_cache"  # as in ansible.executor.module_common; elsewhere nothing is found


def _copy(source: Path, target: Path, copy: Callable[[Path, Path], object]) -> None:
    """Copy what is missing at the target, each file at once."""
    with contextlib.suppress(OSError):
        target.mkdir(parents=True, exist_ok=True)
        for file in _packed(source):
            if not (target / file.name).exists():
                fresh = target / f".{file.name}.{os.getpid()}"
                copy(file, fresh)
                fresh.replace(target / file.name)


def _compiled(source: Path, target: Path) -> None:
    """A packed module with the bytecode of its files beside them."""
    module = _CachedModule.load(str(source))
    packed = io.BytesIO(base64.b64decode(module.zip_data))
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in [name for name in archive.namelist() if name.endswith(".py")]:
            archive.writestr(f"{name}c", bytecode(name, archive.read(name)))
    dataclasses.replace(module, zip_data=base64.b64encode(packed.getvalue())).dump(str(target))


def _packed(folder: Path) -> Iterable[Path]:
    return (file for file in folder.iterdir() if file.name.startswith(KEPT) and not file.name.endswith((".lock", "-part")))
