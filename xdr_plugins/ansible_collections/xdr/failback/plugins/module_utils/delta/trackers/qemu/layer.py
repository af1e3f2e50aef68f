# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The raw node between the instance and the image's node: what lies below it can be exchanged while the instance writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ....errors import XdrError
from .qmp import Qmp

OURS = "xdr-"  # how the names of our own nodes begin


@dataclass(frozen=True)
class Layer:
    """``options``: what ``blockdev-reopen`` must be told again, as it sets to its default what is left out."""

    name: str
    options: dict[str, Any]

    def over(self, node: str) -> dict[str, Any]:
        return {"driver": "raw", "node-name": self.name, "file": node, **self.options}


def layer_over(qmp: Qmp, node: str) -> Layer:
    """Raises XdrError where there is none that could be told all its options again."""
    nodes = {each["node-name"]: each for each in qmp.execute("query-named-block-nodes", {"flat": True})}
    above = [name for name in _above(qmp, node) if not name.startswith(OURS)]
    if len(above) != 1:
        raise _none("no raw node" if not above else "more than one node")
    found = nodes[above[0]]
    if found["drv"] != "raw":
        raise _none(f"a node of the driver {found['drv']}")
    if found["image"]["virtual-size"] != nodes[node]["image"]["virtual-size"]:
        raise _none("a raw node of another size")
    cache = {name: found["cache"][name] for name in ("direct", "no-flush")}
    return Layer(above[0], {"read-only": found["ro"], "discard": "unmap", "detect-zeroes": found["detect_zeroes"], "cache": cache})


def _above(qmp: Qmp, node: str) -> list[str]:
    """Names of the nodes whose ``file`` is this one."""
    graph = qmp.execute("x-debug-query-block-graph")
    names = {each["id"]: each["name"] for each in graph["nodes"] if each["type"] == "block-driver"}
    parents = [edge["parent"] for edge in graph["edges"] if names.get(edge["child"]) == node and edge["name"] == "file"]
    return [names[parent] for parent in parents if parent in names]


def _none(what: str) -> XdrError:
    todo = "Let the instance use the image through a node of the driver raw, with discard=unmap"
    return XdrError(f"{what} lies between the instance and its image, and a snapshot needs just one, of the driver raw", todo=todo)
