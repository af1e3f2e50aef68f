# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

from pathlib import Path

import pytest

from portal.role_docs import ROLES, pages


def test_each_role_has_argument_specs() -> None:
    roles = {path.parent.parent.name for path in ROLES.glob("*/tasks/main.yml")}
    assert roles == {path.parent.name for path, _ in pages()}


@pytest.mark.parametrize(("path", "text"), list(pages()), ids=lambda value: value.parent.name if isinstance(value, Path) else "")
def test_role_readme_says_what_the_specs_say(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run: python -m portal.role_docs"
