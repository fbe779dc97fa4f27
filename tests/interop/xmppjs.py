"""xmpp.js (npm `@xmpp/client`) in a Node process, commanded over its standard input."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from tests.interop.browser import WEB, need_npm
from tests.interop.programs import need
from tests.support.inbox import Inbox
from tests.support.stage import Person, Stage

Event = dict[str, Any]
SLOW = 30.0
"Seconds to wait: it derives its SCRAM keys in JavaScript."


class XmppJs:
    """One client. What it sends and receives is in `events`, as `{"event": "in", "xml": …}`."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self.events: Inbox[Event] = Inbox(f"{name} (xmpp.js)")

    async def listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.events.put(json.loads(line))

    def do(self, command: str, **given: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, **given}).encode() + b"\n")

    async def hears(self, event: str, containing: str = "") -> Event:
        """The next event of that name, with that text in its XML."""
        return await self.events.take(
            f"{event} {containing}",
            lambda e: e["event"] == event and containing in e.get("xml", ""),
            SLOW,
        )

    async def token(self) -> dict[str, str]:
        """The next token it is given (XEP-0484)."""
        event = await self.events.take("a token", lambda e: e["event"] == "token" and e["token"], SLOW)
        return dict(event["token"])

    def wire(self, direction: str) -> str:
        """Everything sent (`out`) or received (`in`)."""
        return "\n".join(e["xml"] for e in self.events.history if e["event"] == direction)

    async def log_in(self) -> str:
        """Start, and return the full JID."""
        self.do("start")
        return str((await self.hears("online"))["jid"])


@contextlib.asynccontextmanager
async def xmppjs(stage: Stage, person: Person, **options: Any) -> AsyncIterator[XmppJs]:
    """A configured client, which trusts the gateway's own certificate and no other."""
    need("node")
    need_npm("@xmpp/client")
    process = await asyncio.create_subprocess_exec(
        "node", str(WEB / "xmpp-client.mjs"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20,
        env=os.environ | {"NODE_EXTRA_CA_CERTS": str(stage.tandem.directory / "state/tls/self-signed.pem")},
    )  # fmt: skip
    local, _, domain = person.address.partition("@")
    client = XmppJs(process, person.address)
    listening = asyncio.create_task(client.listen())
    try:
        client.do(
            "configure",
            service=f"xmpp://{stage.host}:{stage.tandem.xmpp_port}",
            **{"domain": domain, "username": local, "password": person.password, **options},
        )
        yield client
        client.do("stop")
        await client.hears("offline")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await listening
