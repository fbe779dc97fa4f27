"""Several certificates behind one port: a client is shown the one for the name it asks for (RFC 6066 §3)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

Files = Mapping[str, tuple[Path, Path]]
"Name, as DNS writes it → PEM files of certificate and key."


def show_by_name(context: ssl.SSLContext, others: Mapping[str, ssl.SSLContext]) -> None:
    """Clients of `context` that ask for a name in `others` are shown that one's certificate; those that ask
    for none, or another, the context's own. `others` may change later."""

    def choose(tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        found = others.get(name.lower()) if name else None
        if found is not None:
            tls.context = found

    context.sni_callback = choose


class NamedContexts:
    """One context for each name, read again on demand."""

    def __init__(self, files: Files, make: Callable[[Path, Path], ssl.SSLContext]) -> None:
        self._files = files
        self._make = make
        self.contexts: dict[str, ssl.SSLContext] = {}

    def load(self) -> None:
        """Read all, or none and raise `OSError`."""
        self.contexts.update({name: self._make(*files) for name, files in self._files.items()})
