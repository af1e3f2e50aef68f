# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The fields of a plan as its schema describes them, for those who write one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ansible_collections.xdr.failback.plugins.plugin_utils.plan import schema

Schema = Mapping[str, Any]

_KINDS = {"string": "text", "integer": "a whole number", "boolean": "true or false", "array": "a list", "object": "a mapping"}


@dataclass(frozen=True)
class Field:
    """``kind``: what is expected, in words; ``fields``: those of the mapping, or of each mapping in the list."""

    name: str
    about: str
    kind: str
    required: bool
    fields: tuple[Field, ...] = ()


@cache
def reference() -> tuple[Field, ...]:
    """All fields of a plan, from the top."""
    whole = schema()
    return _fields(whole, whole["$defs"])


def _fields(one: Schema, named: Schema) -> tuple[Field, ...]:
    """Those of a mapping; of one of several kinds of mappings those of all of them."""
    parts = [part for part in _branches(one, named) if "properties" in part]
    names = dict.fromkeys(name for part in parts for name in part["properties"])
    return tuple(_field(name, [part for part in parts if name in part["properties"]], len(parts), named) for name in names)


def _field(name: str, parts: list[Schema], kinds: int, named: Schema) -> Field:
    """The field of a mapping that is of one of so many kinds, of which these have it."""
    found = [part["properties"][name] for part in parts]
    required = [name in part.get("required", ()) for part in parts].count(True) == kinds
    kind = " or ".join(dict.fromkeys(_kind(each, named) for each in found))
    return Field(name, found[0].get("description", ""), kind, required, _fields(found[0], named))


def _branches(one: Schema, named: Schema) -> Iterator[Schema]:
    """What a schema may stand for: it itself, what it refers to, its alternatives, and the items of a list."""
    if "$ref" in one:
        yield from _branches(named[one["$ref"].rpartition("/")[2]], named)
    elif "anyOf" in one or "oneOf" in one:
        for each in one.get("anyOf", one.get("oneOf", ())):
            yield from _branches(each, named)
    elif one.get("type") == "array":
        yield from _branches(one.get("items", {}), named)
    else:
        yield one


def _kind(one: Schema, named: Schema) -> str:
    if "$ref" in one:
        return _kind(named[one["$ref"].rpartition("/")[2]], named)
    choices = one.get("anyOf", one.get("oneOf"))
    if choices:
        return " or ".join(dict.fromkeys(_kind(each, named) for each in choices if each.get("type") != "null"))
    if "enum" in one or "const" in one:
        return " or ".join(map(str, one.get("enum", [one.get("const")])))
    kinds = one.get("type", "string")
    return " or ".join(_KINDS.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))
