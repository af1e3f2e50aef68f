# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""Builds the site agent on the controller and has ansible.builtin.copy put it on the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.agent_archive import Built, build_once


class ActionModule(ActionBase):
    TRANSFERS_FILES = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec({"dest": {"type": "path", "required": True}})
        try:
            built = build_once(Path(constants.DEFAULT_LOCAL_TMP))
        except XdrError as error:
            return {"failed": True, **error.failure()}
        copied = self._copy(built, arguments["dest"], task_vars or {})
        return {**copied, "path": arguments["dest"], "sha256": built.sha256, "version": built.version}

    def _copy(self, built: Built, dest: str, task_vars: dict[str, Any]) -> dict[str, Any]:
        task = self._task.copy()
        task.args = {"src": str(built.path), "dest": dest, "mode": "0644"}
        copy = self._shared_loader_obj.action_loader.get(
            "ansible.builtin.copy",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        result: dict[str, Any] = copy.run(task_vars=task_vars)
        return result
