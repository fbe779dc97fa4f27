"""What tests of XMPP clients that live in a browser have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.conftest import FAST
from tests.support.stage import Stage, open_stage
from tests.support.tandem import Tandem

WAYS = {"websocket": ("wss", "/xmpp-websocket"), "bosh": ("https", "/http-bind")}
"Transport → scheme and path."


@asynccontextmanager
async def open_web_stage(directory: Path, **settings: str) -> AsyncIterator[Stage]:
    """A gateway that lets any page in: those of the tests are served on whatever port is free."""
    tandem = Tandem(directory, **FAST, XMPP__WEB__ORIGINS="*", **settings)
    async with open_stage(tandem, "127.0.0.1") as stage:
        yield stage


def url(stage: Stage, way: str) -> str:
    scheme, path = WAYS[way]
    return f"{scheme}://{stage.host}:{stage.tandem.xmpp_webs_port}{path}"
