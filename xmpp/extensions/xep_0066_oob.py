"""XEP-0066 Out of Band Data: a file by its link, as clients show it inline; to phones and from them."""

from __future__ import annotations

from typing import Any

from xmpp.element import Element
from xmpp.extensions import Extension, Status
from xmpp.notices import OOB_NS
from xmpp.sharing import read_file


def _read(x: Element) -> dict[str, Any]:
    """§3."""
    return read_file(child.text for child in x.elements if child.name == "url")


EXTENSION = Extension(
    spec="XEP-0066",
    name="Out of Band Data",
    version="1.5",
    status=Status.CARRIED,
    notes="In messages. A phone's file (RCC.07) becomes one, and the reverse where the phone takes files.",
    reads={(OOB_NS, "x"): _read},
)
