"""The functions of the bus: the Lua sources in `scripts/`, as one library that is loaded into the server.

Its name is made of its text: processes of two versions use one server side by side, and what is found under
the name is never another text.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

FUNCTIONS = (
    *("submit", "settle", "commit", "relay", "tell", "broadcast", "join", "claim", "lease"),
    *("room", "saved", "put", "take"),
)


class Library:
    """The library beside this file: `engine` comes first, each function is in a file of its name."""

    def __init__(self) -> None:
        folder = Path(__file__).parent / "scripts"
        engine = (folder / "engine.lua").read_text()
        parts = [f"do\n{(folder / f'{name}.lua').read_text()}end\n" for name in FUNCTIONS]
        code = "\n".join([engine, *parts])
        digest = hashlib.sha256(code.encode()).hexdigest()[:12]
        self.name = f"tandem_{digest}"
        self.source = f"#!lua name={self.name}\nlocal PREFIX = 'tandem_{digest}_'\n{code}"
        self.functions = {name: f"{self.name}_{name}".encode() for name in FUNCTIONS}
        "By the name of their file, the name they are called by."
