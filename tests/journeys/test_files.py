"""A file crosses as its link: shown inline by XMPP clients, fetched by phones that can, read by others."""

from __future__ import annotations

import httpx
import pytest

from presence.files import SharedFile
from sip.bodies import Content, understand
from sip.bodies.file import CONTENT_TYPE as FILE
from sip.bodies.file import write_file
from tests.support.stage import Stage
from tests.support.tandem import DOMAIN

pytestmark = pytest.mark.journey

OOB = "jabber:x:oob"
URL = "https://files.example.org/summit.jpg"


async def test_a_file_crosses_in_both_directions(stage: Stage) -> None:
    alice, bob, carol = await stage.friends("alice", "bob", "carol")
    async with stage.client(alice) as desk, stage.phone(bob) as softphone, stage.phone(carol) as deskphone:
        await softphone.register(Accept=f"text/plain, {FILE}")
        await deskphone.register()
        for person in (bob, carol):
            desk.xmpp.send_raw(
                f"<message to='{person.address}' type='chat'><body>{URL}</body>"
                f"<x xmlns='{OOB}'><url>{URL}</url></x></message>"
            )
        request = await softphone.received("MESSAGE", "the file")
        assert request["Content-Type"] == FILE
        assert understand(Content(FILE, "utf-8", request.body)).file == SharedFile(
            URL, "summit.jpg", media="image/jpeg"
        )
        await deskphone.hears(URL)

        document = write_file(SharedFile(URL, "summit.jpg", 3_032_449, "image/jpeg"))
        assert (await softphone.message(alice.address, document, content_type=FILE)).status == 200
        shown = await desk.hears(URL)
        link = shown.xml.find(f"{{{OOB}}}x/{{{OOB}}}url")
        assert link is not None
        assert link.text == URL
        await softphone.message(carol.address, document, content_type=FILE)
        await deskphone.hears(f"summit.jpg, 3.0 MB\n{URL}")


async def test_what_a_phone_puts_here_is_there_for_xmpp_clients(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    auth = httpx.DigestAuth(bob.address.partition("@")[0], bob.password)
    place = f"http://127.0.0.1:{stage.tandem.sip_web_port}/file-transfer"
    async with httpx.AsyncClient(auth=auth) as http, stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        assert (await http.post(place)).status_code == 204
        answer = await http.post(place, files={"File": ("cat.png", b"meow", "image/png")})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, FILE)
        await phone.message(alice.address, answer.content, content_type=FILE)
        link = (await desk.messages.take("the link", lambda m: "/upload/" in m["body"]))["body"]
        assert link.startswith(f"https://{DOMAIN}:{stage.tandem.xmpp_webs_port}/upload/")
        path = link.partition("/upload/")[2]
        found = await http.get(f"http://127.0.0.1:{stage.tandem.xmpp_web_port}/upload/{path}")
        assert (found.content, found.headers["Content-Type"]) == (b"meow", "image/png")
        assert found.headers["X-Content-Type-Options"] == "nosniff"
