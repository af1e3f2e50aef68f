# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""axe-core over a page in the browser: what it finds, one line each."""

from __future__ import annotations

import functools
from importlib import resources

from playwright.sync_api import Page

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
COLOURS = ("color-contrast", "link-in-text-block")  # the rules that another colour scheme may break
_RUN = """async (only) => {
  const told = await axe.run(document, {runOnly: only, resultTypes: ["violations"]});
  const why = (node) => node.any.concat(node.all, node.none).map((check) => check.message).join("; ");
  return told.violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target.join(" ")}: ${why(node)}`));
}"""


@functools.cache
def _script() -> str:
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, only: tuple[str, ...] = RULES) -> list[str]:
    """``only``: tags or rules."""
    if not page.evaluate("typeof axe !== 'undefined'"):
        page.evaluate(_script())
    return list(page.evaluate(_RUN, list(only)))
