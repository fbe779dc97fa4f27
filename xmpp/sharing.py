"""What clients say of a file they share by its link, in the words of three specifications."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from presence.files import shared_file
from xmpp.element import Element


def read_file(urls: Iterable[str], file: Element | None = None) -> dict[str, Any]:
    """The first of `urls` that anybody can open, with what `file` (XEP-0446, XEP-0234) tells of it; nothing
    where there is none."""
    said = {child.name: child.text for child in file.elements} if file is not None else {}
    for url in urls:
        found = shared_file(url, said.get("name", ""), said.get("size", ""), said.get("media-type", ""))
        if found is not None:
            return {"file": found}
    return {}
