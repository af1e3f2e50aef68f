# Copyright: the XDR developers
# GNU General Public License v3.0+ (see LICENSE)
"""The channels that people are reached by, named in plans; what is secret of them is in one file beside the inventory. Apprise sends.

``<inventory>.channels.yml``, or what XDR_CHANNELS names, readable by its owner alone::

    portal: https://xdr.example.com          # what links in messages begin with
    channels:
      ops-chat: slack://…                    # any URL of Apprise: mailto, json, slack, msteams …
      anna: {environment: XDR_CHANNEL_ANNA}  # or the variable that holds it
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ansible_collections.xdr.failback.plugins.module_utils.errors import XdrError
from ansible_collections.xdr.failback.plugins.plugin_utils.source import Source, SourceError, kind, read_source

from .censor import MASK
from .secrets import CHANNEL

VARIABLE = "XDR_CHANNELS"
SHORTEST = 4  # characters of a part of an URL that is kept out of what is told


def file_of(inventory: Path) -> Path:
    if named := os.environ.get(VARIABLE):
        return Path(named)
    inventory = inventory.resolve()
    return inventory.parent / f"{inventory.name}.channels.yml"


@dataclass(frozen=True)
class Channels:
    """``portal``: what links begin with, empty where there are none. The URLs are shown to nobody."""

    file: Path
    portal: str = ""
    urls: Mapping[str, str] = field(default_factory=dict, repr=False)

    def send(self, channel: str, title: str, body: str, calendar: bytes = b"") -> None:
        """Raises XdrError, code channel, that names the channel and never its URL. ``calendar``: a calendar file that mails bring along."""
        if channel not in self.urls:
            known = ", ".join(sorted(self.urls)) or "none"
            raise XdrError(f"there is no channel {channel!r}; it has: {known}", where=str(self.file), todo="Add it there", code="channel")
        _send(channel, self.urls[channel], title, body, calendar)


def load(inventory: Path) -> Channels:
    """Raises XdrError, SourceError: the file can be read by others, or is not what it should be. No file is no channels."""
    file = file_of(inventory)
    if not file.exists():
        return Channels(file)
    if (mode := stat.S_IMODE(file.stat().st_mode)) & 0o077:
        todo = f"It holds passwords: chmod 600 {file}"
        raise XdrError(f"others may read it (its mode is {mode:04o})", where=str(file), todo=todo, code="channel")
    source = read_source(file)
    for name in source.data:
        if name not in ("portal", "channels"):
            raise SourceError([source.problem((name,), "unknown field; accepted here: channels, portal")])
    channels = source.data.get("channels") or {}
    if not isinstance(channels, dict):
        raise SourceError([source.problem(("channels",), f"expected a mapping (name: URL), found {kind(channels)}")])
    return Channels(file, _portal(source), {name: _url(source, name, value) for name, value in channels.items()})


def _portal(source: Source) -> str:
    found = source.data.get("portal", "")
    if not isinstance(found, str) or (found and not re.fullmatch(r"https?://[^\s?#]+", found)):
        raise SourceError([source.problem(("portal",), "expected the portal's address, such as https://xdr.example.com")])
    return found.rstrip("/")


def _url(source: Source, name: str, value: Any) -> str:
    """What is wrong with one is told without it."""
    place = ("channels", name)
    if isinstance(value, dict):
        variable = value.get("environment")
        if set(value) != {"environment"} or not isinstance(variable, str) or not variable.startswith(CHANNEL):
            raise SourceError([source.problem(place, f"expected environment: the name of a variable that begins with {CHANNEL}")])
        value = os.environ.get(variable) or ""
        if not value:
            raise SourceError([source.problem((*place, "environment"), f"the variable {variable} is not set")])
    if not isinstance(value, str) or not re.match(r"[a-z][a-z0-9]*://", value):
        raise SourceError([source.problem(place, "expected an URL as Apprise knows it, such as mailtos://user:password@mail.example.com")])
    return value


def _send(channel: str, url: str, title: str, body: str, calendar: bytes) -> None:
    import apprise
    from apprise.attachment.memory import AttachMemory

    logging.getLogger("apprise").propagate = False  # its lines tell parts of an URL
    memory: Any = AttachMemory
    capture: Any = apprise.LogCapture  # both are without types
    target = apprise.Apprise(asset=apprise.AppriseAsset(app_id="XDR", app_desc="XDR failback", async_mode=False))
    if not target.add(url):
        raise XdrError(f"the URL of channel {channel} is none that Apprise knows", code="channel")
    mail = calendar and url.startswith("mailto")
    attached = memory(content=calendar, name="window.ics", mimetype="text/calendar") if mail else None
    with capture(level=logging.WARNING, fmt="%(message)s") as told:
        done = target.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT, attach=attached)
        why = told.getvalue()
    if not done:
        raise XdrError(f"channel {channel} did not take it: {masked(why, url) or 'Apprise does not say why'}", code="channel")


def masked(text: str, url: str) -> str:
    """The last lines that tell why, without any part of the URL but its kind."""
    parts = {part for whole in (url, unquote(url)) for part in re.split(r"[:/@?&=,]+", whole.partition("://")[2]) if len(part) >= SHORTEST}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, MASK)
    return "; ".join(text.split("\n")[:3]).strip("; ")[:300]
