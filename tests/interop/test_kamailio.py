"""Kamailio as the proxy in front, with the very configuration of docs/kamailio.md.

Tandem is at 127.0.0.2, the proxy and the phones at 127.0.0.1; phones speak to the proxy only.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import FAST
from tests.interop.programs import Baresip, need
from tests.interop.servers import Kamailio
from tests.support.pidf import pidf
from tests.support.sipclient import Phone
from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import Tandem
from tests.support.waiting import until

pytestmark = pytest.mark.interop


@pytest.fixture(autouse=True)
def _installed() -> None:
    need("kamailio")


def tandem(directory: Path, **settings: str) -> Tandem:
    made = Tandem(directory, **FAST, **settings)
    for name, port in (("UDP", made.sip_port), ("TCP", made.sip_port), ("TLS", made.sips_port)):
        made.environment[f"TANDEM_SIP__LISTEN_{name}"] = f"127.0.0.2:{port}"
    return made


@pytest.fixture(scope="module")
async def trusting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway that trusts the proxy."""
    made = tandem(tmp_path_factory.mktemp("trusting"), SIP__TRUSTED_PEERS='["127.0.0.1"]')
    async with open_stage(made, "127.0.0.1") as stage:
        yield stage


@pytest.fixture(scope="module")
async def unaware(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway that knows of no proxy."""
    async with open_stage(tandem(tmp_path_factory.mktemp("unaware")), "127.0.0.1") as stage:
        yield stage


@asynccontextmanager
async def proxy(
    stage: Stage, tmp_path: Path, transport: str, *knows: Person, asks: bool = False
) -> AsyncIterator[Kamailio]:
    """`transport`: between proxy and Tandem. `asks`: the proxy asks for the passwords of those it `knows`."""
    users = {person.address: ha1(person) for person in knows} if asks else None
    where = f"{stage.tandem.sip_port};transport={transport}"
    async with Kamailio(tmp_path / "kamailio", where, users=users) as kamailio:
        yield kamailio


def ha1(person: Person) -> str:
    user, _, domain = person.address.partition("@")
    return hashlib.md5(f"{user}:{domain}:{person.password}".encode()).hexdigest()


def phone(person: Person, kamailio: Kamailio, transport: str = "udp", password: str = "") -> Phone:
    return Phone(person.address, password or person.password, (kamailio.host, kamailio.port), transport)


@pytest.mark.parametrize("asks", [False, True], ids=["tandem-asks", "proxy-asks"])
@pytest.mark.parametrize("inner", ["udp", "tcp"])
@pytest.mark.parametrize("outer", ["udp", "tcp"])
async def test_presence_and_chat_through_the_proxy(
    trusting: Stage, tmp_path: Path, outer: str, inner: str, asks: bool
) -> None:
    alice, bob = await trusting.friends("alice", "bob")
    async with (
        proxy(trusting, tmp_path, inner, bob, asks=asks) as kamailio,
        trusting.client(alice) as desk,
        phone(bob, kamailio, outer) as bobs,
    ):
        await everything(trusting, desk_of=alice, desk=desk, bob=bob, bobs=bobs)
        # A message over the route, long after the proxy's connection was last used by the phone.
        desk.say(bob.address, "x" * 1200)
        await bobs.hears("x" * 1200)
        assert (await bobs.unregister()).status == 200
        await desk.offline(bob.address)


@pytest.mark.parametrize("outer", ["udp", "tcp"])
async def test_a_gateway_that_knows_of_no_proxy_serves_phones_behind_one(
    unaware: Stage, tmp_path: Path, outer: str
) -> None:
    alice, bob = await unaware.friends("alice", "bob")
    async with (
        proxy(unaware, tmp_path, "udp") as kamailio,
        unaware.client(alice) as desk,
        phone(bob, kamailio, outer) as bobs,
    ):
        await everything(unaware, desk_of=alice, desk=desk, bob=bob, bobs=bobs)


async def everything(stage: Stage, *, desk_of: Person, desk, bob: Person, bobs: Phone) -> None:  # type: ignore[no-untyped-def]
    """He registers, publishes, watches; she sees and is seen; they chat."""
    registered = await bobs.register()
    assert registered.status == 200
    assert ";lr" in registered["Path"]
    await desk.online(bob.address)
    assert (await bobs.publish(pidf(bob.address, note="Behind a proxy"))).status == 200
    await desk.online(bob.address, status="Behind a proxy")

    watch = await bobs.subscribe(desk_of.address)
    assert watch.response.status == 200
    assert watch.response["Record-Route"]
    await watch.notified("alice is there", lambda n: "<basic>open</basic>" in n.text)
    desk.show("away", "Seen through the proxy")
    await watch.notified("alice is away", lambda n: "Seen through the proxy" in n.text)
    assert (await watch.refresh()).status == 200
    await watch.notified("the refresh", lambda n: "Seen through the proxy" in n.text)

    assert (await bobs.message(desk_of.address, "Hello from behind")).status == 200
    await desk.hears("Hello from behind")
    desk.say(bob.address, "Hello behind")
    await bobs.hears("Hello behind")
    assert (await watch.end()).status == 200
    await watch.state("terminated")


async def test_where_the_proxy_asks_nobody_gets_past_it(trusting: Stage, tmp_path: Path) -> None:
    alice, bob = await trusting.friends("alice", "bob")
    async with (
        proxy(trusting, tmp_path, "tcp", bob, asks=True) as kamailio,
        phone(bob, kamailio, password="wrong") as liar,
        phone(alice, kamailio) as unknown,
    ):
        assert (await liar.register()).status == 401
        assert (await unknown.register()).status == 401
        forged = {"P_Asserted_Identity": f"<sip:{alice.address}>"}
        assert (await liar.message(alice.address, "hi", **forged)).status == 407  # type: ignore[arg-type]
        async with trusting.client(alice) as desk, phone(bob, kamailio) as bobs:
            assert (await bobs.message(alice.address, "It is me", **forged)).status == 200  # type: ignore[arg-type]
            heard = await desk.hears("It is me")
            assert heard["from"].bare == bob.address


async def test_where_tandem_asks_a_forged_assertion_does_not_pass_the_proxy(
    trusting: Stage, tmp_path: Path
) -> None:
    alice, bob = await trusting.friends("alice", "bob")
    async with proxy(trusting, tmp_path, "udp") as kamailio, phone(bob, kamailio, password="wrong") as liar:
        forged = {"P_Asserted_Identity": f"<sip:{alice.address}>"}
        assert (await liar.message(alice.address, "hi", **forged)).status == 401  # type: ignore[arg-type]


@pytest.mark.parametrize("inner", ["udp", "tcp"])
async def test_a_restart_of_the_proxy_loses_nothing(trusting: Stage, tmp_path: Path, inner: str) -> None:
    alice, bob = await trusting.friends("alice", "bob")
    async with (
        proxy(trusting, tmp_path, inner) as kamailio,
        trusting.client(alice) as desk,
        phone(bob, kamailio) as bobs,
    ):
        assert (await bobs.register()).status == 200
        watch = await bobs.subscribe(alice.address)
        await watch.notified("alice is there", lambda n: "<basic>open</basic>" in n.text)
        await kamailio.stop()
        await kamailio.start()
        desk.show("dnd", "After the restart")
        await watch.notified("alice's state", lambda n: "After the restart" in n.text)
        desk.say(bob.address, "Are you still there?")
        await bobs.hears("Are you still there?")
        await desk.online(bob.address)


async def test_two_phones_of_one_account_behind_one_proxy(trusting: Stage, tmp_path: Path) -> None:
    alice, bob = await trusting.friends("alice", "bob")
    async with (
        proxy(trusting, tmp_path, "tcp") as kamailio,
        trusting.client(alice) as desk,
        phone(bob, kamailio) as one,
        phone(bob, kamailio, "tcp") as other,
    ):
        for each in (one, other):
            assert (await each.register()).status == 200
        desk.say(bob.address, "To both of you")
        await one.hears("To both of you")
        await other.hears("To both of you")
        assert (await one.message(alice.address, "from one")).status == 200
        assert (await other.message(alice.address, "from the other")).status == 200
        first, second = await desk.hears("from one"), await desk.hears("from the other")
        assert first["from"].resource != second["from"].resource
        # Hanging up takes one of them away, and leaves the other.
        assert (await one.unregister()).status == 200
        desk.say(bob.address, "And now?")
        await other.hears("And now?")


async def test_baresip_behind_kamailio(trusting: Stage, tmp_path: Path) -> None:
    need("baresip", "tmux")
    alice, bob = await trusting.friends("alice", "bob")
    async with proxy(trusting, tmp_path, "tcp", bob, asks=True) as kamailio, trusting.client(alice) as desk:
        server = f"sip:{kamailio.host}:{kamailio.port};transport=udp"
        account = f'<sip:{bob.address}>;auth_pass={bob.password};outbound="{server}";regint=60;pubint=60'
        contacts = (f'"{alice.address}" <sip:{alice.address}>;presence=p2p',)
        async with Baresip(tmp_path / "baresip", account, contacts) as baresip:
            await desk.online(bob.address)

            async def sees() -> bool:
                return "Online" in await baresip.command("contacts")

            await until("baresip shows alice online", sees, 30)
            desk.say(bob.address, "Hello baresip")
            await baresip.shows("Hello baresip")
            await baresip.command("message", "Hello from behind")
            await desk.hears("Hello from behind")
            await baresip.quit()
            await desk.offline(bob.address)
