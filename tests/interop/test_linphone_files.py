"""liblinphone shares files, put here as its account, and fetches those that XMPP clients share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.interop.consoles import linphonerc
from tests.interop.lines import program
from tests.interop.programs import need
from tests.support.stage import Stage, open_stage
from tests.support.tandem import Tandem

pytestmark = pytest.mark.interop

OOB = "jabber:x:oob"


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Stage]:
    """A gateway whose files have addresses without a name, as the tests have no DNS."""
    need("linphonec")
    tandem = Tandem(tmp_path / "tandem")
    tandem.environment["TANDEM_XMPP__WEB__PUBLIC_URL"] = f"http://127.0.0.1:{tandem.xmpp_web_port}"
    async with open_stage(tandem, "127.0.0.1") as stage:
        yield stage


async def test_a_file_is_shared_and_fetched(web: Stage, tmp_path: Path) -> None:
    alice, bob = await web.friends("alice", "bob")
    folder = tmp_path / "linphone"
    linphonerc(folder, bob, ("127.0.0.1", web.tandem.sip_port), "tcp")
    data = os.urandom(300_000)
    (folder / "my cat.png").write_bytes(data)
    upload = f"http://127.0.0.1:{web.tandem.sip_web_port}/file-transfer"
    async with web.client(alice) as desk, program("linphone", str(folder), upload) as phone:
        await phone.tells("registered")
        phone.do("share", alice.address, str(folder / "my cat.png"))
        await phone.tells("delivered", what="shared")
        shown = await desk.messages.take("the link", lambda m: "/upload/" in m["body"])
        link = shown.xml.find(f"{{{OOB}}}x/{{{OOB}}}url").text
        assert link == shown["body"]
        async with httpx.AsyncClient() as http:
            fetched = await http.get(link)
        assert hashlib.sha256(fetched.content).digest() == hashlib.sha256(data).digest()
        assert fetched.headers["Content-Type"] == "image/png"

        desk.xmpp.send_raw(
            f"<message to='{bob.address}' type='chat'><body>{link}</body>"
            f"<x xmlns='{OOB}'><url>{link}</url></x></message>"
        )
        await phone.tells("file", name="my cat.png")
        await phone.tells("transferred", what="fetched")
        assert (folder / "fetched").read_bytes() == data
