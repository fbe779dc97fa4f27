"""The first five minutes: two buddies, found again at the second start, on loopback only."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import demo
from gateway.config import Settings, environment_values
from gateway.listeners import listeners, on_loopback
from gateway.metrics import DictMetrics
from presence.address import parse_address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.sql import SqlStore
from presence.memory import MemoryBus
from presence.ports import Accounts
from presence.service import PresenceService
from presence.subscriptions import Subscription
from tests.support.stores import new_store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"state_dir": tmp_path / "state", "demo": True})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[SqlStore, Accounts, PresenceService]]:
    store = await new_store(tmp_path / "tandem.sqlite")
    accounts = open_accounts(AccountSettings(), store)
    service = PresenceService(
        node="supervisor",
        incarnation="i",
        domains=frozenset({"localhost"}),
        bus=MemoryBus(),
        store=store,
        accounts=accounts,
        metrics=DictMetrics(),
        clock=lambda: 0.0,
    )
    yield store, accounts, service
    await accounts.close()
    await store.close()


def test_passwords_are_made_once_and_kept_in_a_private_file(settings: Settings) -> None:
    first = demo.people(settings)
    assert [person.address for person in first] == ["alice@localhost", "bob@localhost"]
    assert all(re.fullmatch(r"([a-z]{4}-){3}[0-9]{2}", person.password) for person in first)
    assert demo.people(settings) == first
    assert stat.S_IMODE(demo.secrets_file(settings.state_dir).stat().st_mode) == 0o600


def test_under_another_domain_the_passwords_are_the_same(settings: Settings) -> None:
    first = demo.people(settings)
    moved = demo.people(settings.model_copy(update={"domains": ("192.0.2.1",)}))
    assert [each.address for each in moved] == ["alice@192.0.2.1", "bob@192.0.2.1"]
    assert [each.password for each in moved] == [each.password for each in first]


def test_make_run_names_the_address_to_reach_it_under_by_settings_that_exist() -> None:
    said = subprocess.run(
        ["make", "-n", "run", "ADDRESS=192.0.2.1"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    environment = dict(re.findall(r"\b(TANDEM_\w+)=(\S+)", said.stdout))
    chosen = Settings.model_validate(environment_values(environment) | {"demo": True})
    placed = {each.setting: str(each) for each in listeners(on_loopback(chosen)) if each.host == "192.0.2.1"}
    assert chosen.domains == ("192.0.2.1",)
    assert sorted(placed) == [
        *("sip.listen_tcp", "sip.listen_tls", "sip.listen_udp", "xmpp.listen", "xmpp.listen_tls")
    ]


async def test_alice_and_bob_can_log_in_and_are_each_others_buddies(
    settings: Settings, world: tuple[SqlStore, Accounts, PresenceService]
) -> None:
    store, accounts, service = world
    everyone = demo.people(settings)
    for _ in ("first start", "second start"):
        await demo.prepare(everyone, accounts, service)
    for person in everyone:
        assert await accounts.check_password(parse_address(person.address), person.password)
    alice, bob = (parse_address(person.address) for person in everyone)
    for owner, contact, name in ((alice, bob, "Bob"), (bob, alice, "Alice")):
        _, (item,) = await store.roster(owner)
        assert (item.contact, item.subscription, item.name) == (contact, Subscription.BOTH, name)
        assert item.listed
        assert (item.ask, item.pending_in) == (False, False)


async def test_what_the_user_changed_is_left_alone_at_the_second_start(
    settings: Settings, world: tuple[SqlStore, Accounts, PresenceService]
) -> None:
    store, accounts, service = world
    everyone = demo.people(settings)
    await demo.prepare(everyone, accounts, service)
    alice, bob = (parse_address(person.address) for person in everyone)
    await service.remove_item(alice, bob)
    await demo.prepare(everyone, accounts, service)
    assert await store.roster(alice) == (str(int((await store.roster(alice))[0])), [])


def test_the_welcome_fits_one_screen_and_tells_all_that_is_needed(settings: Settings) -> None:
    everyone = demo.people(settings)
    screen = demo.welcome(settings, everyone, ".venv/bin/tandem")
    lines = screen.strip("\n").splitlines()
    assert len(lines) <= 24
    for wanted in (
        *(person.password for person in everyone),
        "/connect alice@localhost server 127.0.0.1 port 5222 tls trust",
        f"baresip -f {settings.state_dir}/baresip",
        ".venv/bin/tandem bus tail",
        "5060",
        "5061",
    ):
        assert wanted in screen


def test_the_phone_is_written_down_readable_by_its_owner_only(settings: Settings) -> None:
    everyone = demo.people(settings)
    directory = demo.write_phone(settings, everyone)
    accounts = (directory / "accounts").read_text()
    assert f"<sip:bob@localhost>;auth_pass={everyone[1].password};" in accounts
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_the_demo_listens_on_loopback_of_both_families(settings: Settings) -> None:
    placed = on_loopback(settings)
    assert {listener.host for listener in listeners(placed)} == {"127.0.0.1", "::1"}
    assert {listener.port for listener in listeners(placed)} == {
        5060, 5061, 5066, 7443, 5222, 5223, 5280, 5281, 9080,
    }  # fmt: skip


def test_a_listening_address_that_was_set_is_kept_in_the_demo(tmp_path: Path) -> None:
    chosen = Settings.model_validate({"demo": True, "sip": {"listen_udp": ["0.0.0.0:5070"]}})
    placed = on_loopback(chosen)
    assert placed.sip.listen_udp == ("0.0.0.0:5070",)
    assert placed.sip.listen_tcp == ("127.0.0.1:5060", "[::1]:5060")
