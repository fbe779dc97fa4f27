"""URIs of one phone (RFC 5627): made, read, and answered for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from presence.address import Address
from sip.bindings import Binding
from sip.gruu import Sealer, endpoint_of, public
from sip.uri import parse_uri
from tests.sip.house import ALICE, BOB, CAROL, House, open_house
from tests.support.sipclient import Phone
from tests.support.sipwire import SipMessage

INSTANCE = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"


def binding(**fields: object) -> Binding:
    given: dict[str, object] = {
        "id": "phone-01234567", "contact": "sip:bob@192.0.2.1", "flow": "", "call_id": "c", "cseq": 1,
        "registered": 0.0, "refreshed": 0.0, "expires": 9.0, "instance": INSTANCE,
    } | fields  # fmt: skip
    return Binding(**given)  # type: ignore[arg-type]


# --- pure -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("sip:foo@example.org", ""),
        ("sip:foo@example.org;gr", ""),
        ("sip:foo@example.org;gr=b%C3%BCro%201", "xmpp:büro 1"),
        ("sip:foo@example.org;gr=phone-2ee1e473", "sip:phone-2ee1e473"),
        ("sip:foo@example.org;gr=phone-of-foo", "xmpp:phone-of-foo"),
        (f"sip:foo@example.org;gr={INSTANCE}", "sip:phone-bd6b0a59"),
    ],
)
def test_whom_a_public_one_names(uri: str, endpoint: str) -> None:
    found = endpoint_of(parse_uri(uri))
    assert found.startswith("sip:phone-") if "urn:" in uri else found == endpoint


def test_a_public_one_is_the_address_with_the_instance() -> None:
    assert public(BOB, binding()) == f"sip:bob@example.org;gr={INSTANCE}"


def test_a_temporary_one_is_read_by_who_made_it_and_tells_nobody_else_anything() -> None:
    sealer, phone = Sealer(b"a secret"), binding()
    for address in (BOB, Address("m\\26m", "müller.example")):
        one, other = sealer.temporary(address, phone), sealer.temporary(address, phone)
        assert one != other
        assert "bob" not in one
        read = Sealer(b"a secret").read(parse_uri(one))
        assert read is not None
        assert read.address == address
        assert read.holds(phone)
        assert not read.holds(binding(call_id="another"))
        assert not read.holds(binding(id="phone-76543210"))
        assert Sealer(b"another").read(parse_uri(one)) is None


@pytest.mark.parametrize(
    "user", ["tgruu.", "tgruu.aaaa", "tgruu." + "a" * 104, "tgruu.!!!", "tgruu." + "a" * 1900, "bob"]
)
def test_what_is_no_temporary_one_is_none(user: str) -> None:
    assert Sealer(b"a secret").read(parse_uri(f"sip:{user}@example.org;gr")) is None


def test_one_of_another_domain_is_none() -> None:
    uri = Sealer(b"a secret").temporary(BOB, binding()).replace("example.org", "example.com")
    assert Sealer(b"a secret").read(parse_uri(uri)) is None


# --- by phones ------------------------------------------------------------------------------------


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


async def registered(phone: Phone, instance: str = INSTANCE, **extra: Any) -> SipMessage:
    contact = f'{phone.contact};+sip.instance="<{instance}>"'
    answer = await phone.register(contact=contact, **({"Supported": "gruu"} | extra))
    assert answer.status == 200
    return answer


def gruus(answer: SipMessage) -> tuple[str, str]:
    """The public and the temporary one."""
    (contact,) = [c for c in answer.all("Contact") if "pub-gruu" in c]
    public_uri, temporary = (re.search(f'{name}="([^"]+)"', contact) for name in ("pub-gruu", "temp-gruu"))
    assert public_uri is not None
    assert temporary is not None
    return public_uri[1], temporary[1]


async def test_both_are_told_to_who_knows_them_and_lead_to_that_phone_only(house: House) -> None:
    async with house.phone(BOB) as desk, house.phone(BOB) as other, house.phone(CAROL) as carol:
        first = await registered(desk)
        assert "gruu" not in first.get("Require") + first.get("Supported")
        public_uri, temporary = gruus(first)
        assert public_uri == f"sip:bob@example.org;gr={INSTANCE}"
        assert gruus(await registered(desk))[1] != temporary
        assert "gruu" not in (await other.register())["Contact"]
        await carol.register()
        for uri, text in ((public_uri, "publicly"), (temporary, "secretly")):
            assert (await carol.message(uri.removeprefix("sip:"), text)).status == 200
            await desk.hears(text)
        await house.say(ALICE, BOB, "to both")
        await desk.hears("to both")
        await other.hears("to both")
        assert [r.text for r in other.requests.matching(lambda r: r.method == "MESSAGE")] == ["to both"]


async def test_a_phone_that_is_gone_is_480_by_its_public_and_404_by_its_temporary_one(house: House) -> None:
    async with house.phone(BOB) as desk, house.phone(CAROL) as carol:
        public_uri, temporary = gruus(await registered(desk))
        await desk.register(expires=0, contact=f'{desk.contact};+sip.instance="<{INSTANCE}>"')
        assert (await carol.message(public_uri.removeprefix("sip:"), "hello?")).status == 480
        assert (await carol.message(temporary.removeprefix("sip:"), "hello?")).status == 404
        public_again, _ = gruus(await registered(desk))
        assert public_again == public_uri
        assert (await carol.message(public_uri.removeprefix("sip:"), "hello again")).status == 200


async def test_to_a_stranger_a_phone_that_is_gone_looks_like_one_that_is_there(tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, policy="ask") as house,
        house.phone(BOB) as desk,
        house.phone(CAROL) as stranger,
    ):
        public_uri, _ = gruus(await registered(desk))
        assert (await stranger.message(public_uri.removeprefix("sip:"), "there?")).status == 202
        await desk.hears("there?")
        await desk.register(expires=0, contact=f'{desk.contact};+sip.instance="<{INSTANCE}>"')
        assert (await stranger.message(public_uri.removeprefix("sip:"), "and now?")).status == 202
        await registered(desk)
        await desk.hears("and now?")


async def test_a_new_registration_ends_the_temporary_ones_of_the_one_before(house: House) -> None:
    async with house.phone(BOB) as desk, house.phone(CAROL) as carol:
        _, temporary = gruus(await registered(desk))
        async with house.phone(BOB) as restarted:  # another Call-ID
            await registered(restarted)
            assert (await carol.message(temporary.removeprefix("sip:"), "hello?")).status == 404


async def test_a_phone_that_watches_from_its_gruu_is_notified_where_it_is(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as desk:
        public_uri, _ = gruus(await registered(desk))
        watch = await desk.subscribe(str(ALICE), contact=f"<{public_uri}>")
        notified = await watch.state("active")
        assert f"<{notified.uri}>" == desk.contact


async def test_phones_that_know_gruus_can_answer_the_very_client_that_wrote(house: House) -> None:
    await house.desk(ALICE)
    await house.desk(ALICE, name="mobile")
    async with house.phone(BOB) as modern, house.phone(BOB) as old:
        await registered(modern)
        await old.register()
        await house.say(ALICE, BOB, "from the desk", sender_tuple="desk")
        assert (await modern.hears("from the desk"))["From"].startswith(
            "<sip:alice@example.org;gr=desk>;tag="
        )
        assert (await old.hears("from the desk"))["From"].startswith("<sip:alice@example.org>;tag=")
        await modern.message("alice@example.org;gr=desk", "to the desk")
        (heard,) = await house.heard()
        assert heard.recipient_endpoint == "xmpp:desk"
