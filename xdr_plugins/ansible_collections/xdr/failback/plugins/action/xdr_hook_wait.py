# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Controller side of a hook that is open: waits for a person's answer to a pause, or runs a playbook of the inventory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.xdr.failback.plugins.module_utils import bounded
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.module_utils.hook_marks import PAUSE
from ansible_collections.xdr.failback.plugins.module_utils.site import checked_name
from ansible_collections.xdr.failback.plugins.plugin_utils import answers

LOOK = 0.2  # seconds between two looks for an answer
INHERITED = ("PATH", "HOME", "LANG", "USER", "LOGNAME", "SSH_AUTH_SOCK", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "VIRTUAL_ENV")
INHERITED_ANSIBLE = ("ANSIBLE_CONFIG", "ANSIBLE_HOME", "ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_NOCOLOR")
RUN = "XDR_RUN_ID"  # by which the worker finds what a run has left behind


class ActionModule(ActionBase):  # type: ignore[misc]
    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "hook": {"type": "dict", "required": True},
                "until": {"type": "float", "required": True},
                "run_id": {"type": "str", "required": True},
                "answers": {"type": "str", "default": ""},
                "environment": {"type": "dict", "default": {}},
            }
        )
        variables = task_vars or {}
        if variables.get("ansible_check_mode"):
            return {"changed": False, "skipped": True}
        try:
            if arguments["hook"]["kind"] == PAUSE:
                return self._wait(arguments)
            return _play(arguments, variables)
        except XdrError as error:
            return {"changed": False, "ok": False, "outcome": error.sentence(), "output": ""}

    def _wait(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        hook, until = arguments["hook"], arguments["until"]
        folder = _folder(arguments)
        if not arguments["answers"]:
            left = max(0, round(until - time.time()))
            self._display.display(f"{hook['question']} Answer within {left} s: echo 'yes: WHY' > {folder / hook['name']}")
        while time.time() < until:
            found = answers.read(folder, hook["name"])
            if found:
                return {"changed": False, "ok": found.answer == answers.YES, "outcome": found.told, "output": ""}
            time.sleep(LOOK)
        return {"changed": False, "ok": False, "outcome": "deadline", "output": ""}


def _folder(arguments: Mapping[str, Any]) -> Path:
    """Where answers are looked for: the run's folder of the worker, or for a playbook that is run by hand one of this account."""
    if arguments["answers"]:
        return Path(arguments["answers"])
    folder = Path.home() / ".ansible" / "xdr-answers" / checked_name(arguments["run_id"], "run")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _play(arguments: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    """Run it as a process of its own, with the inventory of this one. Raises XdrError for one that is not there."""
    hook = arguments["hook"]
    path = Path(variables["inventory_dir"]) / "hooks" / hook["playbook"]
    if not path.is_file():
        raise XdrError("there is no such playbook", where=str(path), todo="Playbooks of hooks lie in hooks/ beside the inventory")
    sources = [word for source in variables["ansible_inventory_sources"] for word in ("-i", source)]
    program = Path(sys.executable).parent / "ansible-playbook"
    ended = bounded.run(
        [str(program), *sources, str(path)],
        _environment(arguments["environment"]),
        max(0.0, arguments["until"] - time.time()),
        folder=str(Path.cwd()),
        say=lambda line: None,
    )
    outcome = ended.told if ended.code == 0 else f"{ended.told}: {_failure(ended.output) or ended.last_line}"
    return {"changed": True, "ok": ended.code == 0, "outcome": outcome, "output": ended.output, "seconds": ended.seconds}


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Not ansible-runner's: its callback would mix the events of the two."""
    kept = {name: os.environ[name] for name in (*INHERITED, *INHERITED_ANSIBLE, RUN) if name in os.environ}
    return {**kept, **{name: str(text) for name, text in own.items()}}


def _failure(output: str) -> str:
    """What its failed task said, which is not in the last lines."""
    return next((line.strip()[:300] for line in output.splitlines() if line.startswith(("fatal: ", "ERROR"))), "")
