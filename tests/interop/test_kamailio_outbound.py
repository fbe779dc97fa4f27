"""Phones with several connections, or with none left, behind the Kamailio of docs/kamailio.md (RFC 5626)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import FAST
from tests.interop.programs import need
from tests.interop.servers import Kamailio
from tests.support.inbox import PATIENCE
from tests.support.sipclient import Phone
from tests.support.sipwire import SipMessage
from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import Tandem
from tests.support.waiting import until

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
async def trusting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway at 127.0.0.2 that trusts the proxy."""
    need("kamailio")
    made = Tandem(tmp_path_factory.mktemp("trusting"), **FAST, SIP__TRUSTED_PEERS='["127.0.0.1"]')
    for name, port in (("UDP", made.sip_port), ("TCP", made.sip_port), ("TLS", made.sips_port)):
        made.environment[f"TANDEM_SIP__LISTEN_{name}"] = f"127.0.0.2:{port}"
    async with open_stage(made, "127.0.0.1") as stage:
        yield stage


def proxy(stage: Stage, tmp_path: Path, *, outbound: bool) -> Kamailio:
    kamailio = Kamailio(tmp_path / "kamailio", f"{stage.tandem.sip_port};transport=tcp")
    if outbound:
        text = kamailio.config.read_text()
        text = text.replace('loadmodule "path.so"', 'loadmodule "outbound.so"\nloadmodule "path.so"')
        text = text.replace("loose_route_preloaded()", "loose_route()")
        kamailio.config = tmp_path / "kamailio" / "outbound.cfg"
        kamailio.config.write_text(text)
    return kamailio


async def register(phone: Phone, reg_id: int) -> SipMessage:
    contact = f'{phone.contact[:-1]};ob>;reg-id={reg_id};+sip.instance="<urn:uuid:1>"'
    return await phone.register(contact=contact, Supported="path, outbound")


def phone(person: Person, kamailio: Kamailio) -> Phone:
    return Phone(person.address, person.password, (kamailio.host, kamailio.port), "tcp")


async def test_through_a_proxy_that_keeps_flows_the_other_one_takes_over(
    trusting: Stage, tmp_path: Path
) -> None:
    need("/usr/lib/*/kamailio/modules/outbound.so")
    alice, bob = await trusting.friends("alice", "bob")
    async with (
        proxy(trusting, tmp_path, outbound=True) as kamailio,
        trusting.client(alice) as desk,
        phone(bob, kamailio) as one,
        phone(bob, kamailio) as two,
    ):
        for reg_id, each in ((1, one), (2, two)):
            answer = await register(each, reg_id)
            assert (answer.status, answer["Require"]) == (200, "outbound")
            assert ";ob" in answer["Path"]
        await desk.online(bob.address)
        desk.say(bob.address, "by the first")
        await one.hears("by the first")
        one.close()
        desk.say(bob.address, "by the second")
        await two.hears("by the second")
        assert [r.text for r in two.requests.history] == ["by the second"]


async def test_through_one_that_does_not_who_insists_hears_439(trusting: Stage, tmp_path: Path) -> None:
    (bob,) = await trusting.friends("bob")
    async with proxy(trusting, tmp_path, outbound=False) as kamailio, phone(bob, kamailio) as one:
        assert (await register(one, 1)).status == 439
        assert (await one.register()).status == 200


async def test_a_message_to_a_phone_whose_connection_to_the_proxy_broke_waits(
    trusting: Stage, tmp_path: Path
) -> None:
    alice, bob = await trusting.friends("alice", "bob")
    async with proxy(trusting, tmp_path, outbound=False) as kamailio, trusting.client(alice) as desk:
        async with phone(bob, kamailio) as one:
            assert (await one.register()).status == 200
            await desk.online(bob.address)
        name = desk.say(bob.address, "are you there?")

        async def given_up() -> bool:
            return "phone_unreachable" in trusting.tandem.logged(200)

        await until("the proxy has said so", given_up, PATIENCE + 32)
        async with phone(bob, kamailio) as back:
            assert (await back.register()).status == 200
            await back.hears("are you there?")
        assert desk.messages.matching(lambda m: m["id"] == name) == []
