"""A call rings on two desk phones and nobody answers: the chat client has it, in its archive, too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sip.documents.dialog_info import CONTENT_TYPE
from tests.conftest import FAST
from tests.support.sipclient import Phone
from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import Tandem

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    tandem = Tandem(tmp_path_factory.mktemp("missed"), PROCESSES__SIP="2", **FAST)
    async with open_stage(tandem, "127.0.0.1") as opened:
        yield opened


class DeskPhone:
    """A phone that publishes its calls."""

    def __init__(self, phone: Phone, person: Person, caller: Person) -> None:
        self.phone = phone
        self.person = person
        self.caller = caller
        self.etag = ""

    async def says(self, call: str, state: str, event: str = "") -> None:
        said = f" event='{event}'" if event else ""
        body = (
            f"<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info' version='0' state='full'"
            f" entity='sip:{self.person.address}'>"
            f"<dialog id='1' call-id='{call}' local-tag='{id(self)}' remote-tag='r' direction='recipient'>"
            f"<state{said}>{state}</state>"
            f"<remote><identity display='Boss'>sip:{self.caller.address}</identity></remote>"
            "</dialog></dialog-info>"
        )
        headers = [("Event", "dialog"), ("Expires", "600"), ("Content-Type", CONTENT_TYPE)]
        if self.etag:
            headers.append(("SIP-If-Match", self.etag))
        uri = f"sip:{self.person.address}"
        answer = await self.phone.request("PUBLISH", uri, headers, body.encode())
        assert answer.status == 200
        self.etag = answer["SIP-ETag"]


async def test_a_call_that_nobody_answers_is_in_the_chat_once(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with (
        stage.client(alice, plugins=("xep_0313",)) as desk,
        stage.phone(alice, "tcp") as one,
        stage.phone(alice, "tcp") as two,
    ):
        phones = [DeskPhone(each, alice, bob) for each in (one, two)]
        for each in (one, two):
            await each.register()
        # One that is answered at the other phone, one that rings out, one that is answered again.
        for call, answered in (("a1", True), ("b2", False), ("c3", True)):
            for phone in phones:
                await phone.says(call, "early")
            await phones[0].says(call, "terminated", "cancelled")
            if answered:
                await phones[1].says(call, "confirmed")
            await phones[1].says(call, "terminated", "remote-bye" if answered else "cancelled")
        notice = await desk.hears(f"Missed call from xmpp:{bob.address}", alice.address.partition("@")[2])
        assert notice["type"] == "chat"
        # What is said later comes later: there was nothing before it but the one notice.
        await phones[0].says("d4", "early")
        await phones[0].says("d4", "terminated")
        await desk.hears(f"Missed call from xmpp:{bob.address}")
        notices = [m for m in desk.messages.history if "Missed call" in str(m["body"])]
        assert len(notices) == 2
        archived = [
            str(result["mam_result"]["forwarded"]["stanza"]["body"])
            async for result in desk.xmpp.plugin["xep_0313"].iterate()
        ]
        assert archived == [f"Missed call from xmpp:{bob.address}"] * 2
        assert not [
            each for phone in (one, two) for each in phone.requests.history if each.method == "MESSAGE"
        ]
