# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The README of each role, made from its argument_specs: ``python -m portal.role_docs`` writes them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROLES = Path(__file__).resolve().parent.parent / "roles"


def render(role: str, specs: dict[str, Any]) -> str:
    """The README of one role as Markdown."""
    return "\n".join(_lines(role, specs)) + "\n"


def _lines(role: str, specs: dict[str, Any]) -> Iterator[str]:
    yield f"# {role}"
    yield ""
    yield "<!-- Made from meta/argument_specs.yml by `python -m portal.role_docs`: edit there. -->"
    for name, spec in specs.items():
        yield ""
        if name != "main":
            yield f"## Entry point `{name}`\n"
        yield f"{spec['short_description']}."
        for paragraph in _paragraphs(spec.get("description")):
            yield f"\n{_marked(paragraph)}"
        yield from _options(spec.get("options") or {})


def _options(options: dict[str, Any]) -> Iterator[str]:
    if not options:
        return
    yield "\n| variable | type | default | what it is |"
    yield "| --- | --- | --- | --- |"
    for name, option in options.items():
        default = "required" if option.get("required") else f"`{option['default']!r}`" if "default" in option else ""
        kind = option.get("type", "str") + (f": {', '.join(map(str, option['choices']))}" if "choices" in option else "")
        yield f"| `{name}` | {kind} | {default} | {_marked(' '.join(_paragraphs(option.get('description'))))} |"


def _paragraphs(description: str | list[str] | None) -> list[str]:
    return [description] if isinstance(description, str) else list(description or [])


def _marked(text: str) -> str:
    """Ansible's C(x) and V(x) as Markdown."""
    for mark in ("C(", "V("):
        while mark in text:
            before, _, rest = text.partition(mark)
            word, _, after = rest.partition(")")
            text = f"{before}`{word}`{after}"
    return text


def pages() -> Iterator[tuple[Path, str]]:
    """Each role's README path and the text that it should have."""
    for specs in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        role = specs.parent.parent
        yield role / "README.md", render(role.name, YAML(typ="safe").load(specs)["argument_specs"])


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
