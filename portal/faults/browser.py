# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""An operator's browser without JavaScript: logs in, opens a page, presses a button. A program of its own, for it runs in a node's network.

Standard input: ``{"url", "name", "password", "page": path, "post": path or "", "fields"}``. Standard output: ``{"status", "path", "text"}``
of the last answer.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlencode, urlsplit

TIMEOUT = 10.0


class Browser:
    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> dict[str, Any]:
        return self._open(path, None)

    def post(self, page: str, path: str, **fields: str) -> dict[str, Any]:
        """With the token of the page's form."""
        token = re.search(r'name="csrf" value="([^"]+)"', self.get(page)["text"])
        return self._open(path, urlencode({**fields, "csrf": token[1] if token else ""}).encode())

    def _open(self, path: str, body: bytes | None) -> dict[str, Any]:
        try:
            with self._opener.open(self._url + path, body, TIMEOUT) as answer:
                return _told(answer.status, answer.url, answer.read())
        except urllib.error.HTTPError as error:
            return _told(error.code, error.url, error.read())


def _told(status: int, url: str, content: bytes) -> dict[str, Any]:
    return {"status": status, "path": urlsplit(url).path, "text": content.decode()}


def main() -> None:
    asked = json.load(sys.stdin)
    browser = Browser(asked["url"])
    answer = browser.post("/login", "/login", name=asked["name"], password=asked["password"])
    if answer["path"] != "/login":
        answer = browser.post(asked["page"], asked["post"], **asked["fields"]) if asked["post"] else browser.get(asked["page"])
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
