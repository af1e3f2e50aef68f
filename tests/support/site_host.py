# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The state folder of a site host, as the role site_agent and the module xdr_plan would leave it; and calling modules on it."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.xdr.failback.plugins.module_utils import record as records
from ansible_collections.xdr.failback.plugins.module_utils.durable import write_json

MODULES = "ansible_collections.xdr.failback.plugins.modules"


@dataclass
class SiteHost:
    state_dir: Path
    plan: str = "webshop"
    site: str = "primary"

    def write_site(self, **fields: Any) -> None:
        document = {"host": "hv1", "state_dir": str(self.state_dir), "volume_roots": [], "boot_without_witness": "wait", "peers": {}}
        write_json(self.state_dir / "site.json", {**document, "supervisor_socket": "", **fields})

    def write_plan(self, **fields: Any) -> None:
        document = {"plan": self.plan, "hash": "h", "site": self.site, "host": "hv1", "witness": "w1", "record_host": True, "volumes": {}}
        write_json(self.plan_dir / "plan.json", {**document, "instances": {}, **fields})

    @property
    def plan_dir(self) -> Path:
        return self.state_dir / "plans" / self.plan

    def write_record(self, **fields: Any) -> None:
        own = {"epoch": 1, "owner": self.site, "standing": "accepted"}
        records.save(self.state_dir, records.Record(**{"plan": self.plan, "site": self.site, "host": "hv1", **own, **fields}))

    @property
    def record(self) -> records.Record:
        return records.load(self.state_dir, self.plan)

    def arguments(self, **more: Any) -> dict[str, Any]:
        return {"plan": self.plan, "state_dir": str(self.state_dir), **more}

    def changing(self, **more: Any) -> dict[str, Any]:
        """The arguments of a module that changes this host, with a good pair."""
        return self.arguments(epoch=1, attempt=1, run_id="r1", **more)


class ModuleCaller:
    """Runs a module's main() in this process and gives back what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, module: str, arguments: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
        main = importlib.import_module(f"{MODULES}.{module}").main
        self._capsys.readouterr()
        with patch_module_args({**arguments, "_ansible_check_mode": check, "_ansible_diff": True}), pytest.raises(SystemExit) as ended:
            main()
        answer: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        assert (ended.value.code != 0) == answer.get("failed", False)
        return answer


def site_host(folder: Path, **fields: Any) -> SiteHost:
    """A host of the site that owns the plan."""
    host = SiteHost(folder, **fields)
    host.write_site()
    host.write_plan()
    host.write_record()
    return host
