"""The scripts of the bus: Lua sources in `scripts/`, with the digests by which they are called."""

from __future__ import annotations

import hashlib
from pathlib import Path


class Scripts:
    """The Lua sources beside this file, by name; `engine` is a prelude of those that change an address."""

    def __init__(self) -> None:
        folder = Path(__file__).parent / "scripts"
        engine = (folder / "engine.lua").read_text()
        names = ("broadcast", "join", "claim", "lease")
        alone = {name: (folder / f"{name}.lua").read_text() for name in names}
        on_engine = {
            name: engine + (folder / f"{name}.lua").read_text()
            for name in ("submit", "settle", "commit", "relay", "tell")
        }
        self.sources = {**alone, **on_engine}
        self.sha = {
            name: hashlib.sha1(text.encode()).hexdigest().encode() for name, text in self.sources.items()
        }
