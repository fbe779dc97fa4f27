"""Accounts behind FreeRADIUS's `rlm_digest`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.accounts.radius import Radius
from presence.edge.accounts.radius_digest import ask_for, rfc_5090, sterman
from presence.edge.accounts.settings import RadiusSettings
from presence.errors import Unavailable
from presence.ports import Accounts, DigestJudge, DigestQuestion
from tests.interop.programs import need
from tests.interop.servers import SECRET, FreeRadius
from tests.support.buses import ALICE, BOB, CAROL, Clock
from tests.support.ports import free_port
from tests.support.stores import new_store

pytestmark = pytest.mark.interop

USERS = {
    "alice": 'Cleartext-Password := "wonderland"',
    "bob": 'Cleartext-Password := "Grüße, Bob"',
}


@pytest.fixture(scope="module")
async def freeradius(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FreeRadius]:
    need("freeradius")
    async with FreeRadius(tmp_path_factory.mktemp("radius"), USERS) as server:
        yield server


def settings(folder: Path, *servers: str, **more: Any) -> RadiusSettings:
    secret = folder / "secret"
    secret.write_text(more.pop("secret", SECRET) + "\n")
    return RadiusSettings(servers=servers, secret_file=secret, **{"timeout": 1.0, "tries": 1, **more})


async def test_a_password_is_right_or_wrong(freeradius: FreeRadius, tmp_path: Path) -> None:
    radius = Radius(settings(tmp_path, freeradius.address))
    assert await radius.check_password(ALICE, "wonderland")
    assert not await radius.check_password(ALICE, "looking-glass")
    assert await radius.check_password(BOB, "Grüße, Bob")
    assert not await radius.check_password(CAROL, "wonderland")


async def test_a_phone_s_response_is_judged_as_it_came(freeradius: FreeRadius, tmp_path: Path) -> None:
    radius = Radius(settings(tmp_path, freeradius.address))
    right = ask_for("alice", ALICE.domain, "wonderland")
    assert await radius.check_digest(ALICE, right)
    for name in ("uri", "method", "nonce", "nc", "cnonce", "realm", "username"):
        changed = DigestQuestion(**{**{f: getattr(right, f) for f in right.__struct_fields__}, name: "other"})
        assert not await radius.check_digest(ALICE, changed), name


async def test_sha_256_is_not_even_asked_about(tmp_path: Path) -> None:
    radius = Radius(settings(tmp_path, f"127.0.0.1:{free_port()}"))
    question = DigestQuestion(
        username="alice", realm="x", nonce="n", uri="u", response="r", method="M", algorithm="SHA-256"
    )
    assert not await radius.check_digest(ALICE, question)


async def test_a_value_too_long_for_radius_is_a_wrong_answer(freeradius: FreeRadius, tmp_path: Path) -> None:
    radius = Radius(settings(tmp_path, freeradius.address))
    assert not await radius.check_digest(ALICE, ask_for("alice", "x" * 300, "wonderland"))


async def test_the_next_server_answers_for_one_that_is_dead(freeradius: FreeRadius, tmp_path: Path) -> None:
    radius = Radius(settings(tmp_path, f"127.0.0.1:{free_port()}", freeradius.address))
    assert await radius.check_password(ALICE, "wonderland")
    assert not await radius.check_password(ALICE, "wrong")


async def test_without_any_answer_nobody_is_told_the_password_is_wrong(tmp_path: Path) -> None:
    radius = Radius(settings(tmp_path, f"127.0.0.1:{free_port()}"))
    with pytest.raises(Unavailable):
        await radius.check_password(ALICE, "wonderland")


async def test_another_secret_is_no_answer(freeradius: FreeRadius, tmp_path: Path) -> None:
    radius = Radius(settings(tmp_path, freeradius.address, secret="another", timeout=0.3))
    with pytest.raises(Unavailable):
        await radius.check_password(ALICE, "wonderland")


async def test_an_unsigned_answer_counts_only_if_the_settings_say_so(tmp_path: Path) -> None:
    need("freeradius")
    async with FreeRadius(tmp_path / "radius", USERS, signed=False) as server:
        strict = Radius(settings(tmp_path, server.address, timeout=0.3))
        with pytest.raises(Unavailable):
            await strict.check_password(ALICE, "wonderland")
        lenient = Radius(settings(tmp_path, server.address, require_message_authenticator=False))
        assert await lenient.check_password(ALICE, "wonderland")


async def test_a_silent_server_is_left_alone_for_a_while(freeradius: FreeRadius, tmp_path: Path) -> None:
    clock = Clock(100.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.setblocking(False)
        dead = f"127.0.0.1:{silent.getsockname()[1]}"
        radius = Radius(settings(tmp_path, dead, freeradius.address, timeout=0.1, cache=0), clock)

        def asked() -> int:
            count = 0
            while True:
                try:
                    silent.recv(4096)
                except BlockingIOError:
                    return count
                count += 1

        assert await radius.check_password(ALICE, "wonderland")
        assert asked() == 1
        assert await radius.check_password(ALICE, "wonderland")
        assert asked() == 0
        clock.now += 1.1
        assert await radius.check_password(ALICE, "wonderland")
        assert asked() == 1
        clock.now += 1.1
        assert await radius.check_password(ALICE, "wonderland")
        assert asked() == 0, "it rests twice as long after the second time"


async def test_a_right_password_is_remembered_for_a_while_and_no_other(tmp_path: Path) -> None:
    need("freeradius")
    clock = Clock(100.0)
    async with FreeRadius(tmp_path / "radius", USERS) as server:
        radius = Radius(settings(tmp_path, server.address, cache=30), clock)
        forgetful = Radius(settings(tmp_path, server.address, cache=0), clock)
        for each in (radius, forgetful):
            assert await each.check_password(ALICE, "wonderland")
    assert await radius.check_password(ALICE, "wonderland")
    with pytest.raises(Unavailable):
        await radius.check_password(ALICE, "wrong")
    with pytest.raises(Unavailable):
        await forgetful.check_password(ALICE, "wonderland")
    clock.now += 31
    with pytest.raises(Unavailable):
        await radius.check_password(ALICE, "wonderland")


async def test_many_ask_at_once(freeradius: FreeRadius, tmp_path: Path) -> None:
    radius = Radius(settings(tmp_path, freeradius.address, cache=0, timeout=5.0))
    asked = [radius.check_password(ALICE, "wonderland" if n % 2 else "wrong") for n in range(100)]
    assert await asyncio.gather(*asked) == [bool(n % 2) for n in range(100)]


def test_both_forms_write_every_value() -> None:
    question = DigestQuestion(
        username="u", realm="r", nonce="n", uri="i", response="x" * 32, method="M", qop="auth-int",
        nc="00000001", cnonce="c", opaque="o", body_digest="b",
    )  # fmt: skip
    assert sterman(question) == [
        (206, b"x" * 32),
        *((207, value) for value in (
            b"\x01\x03r", b"\x02\x03n", b"\x03\x03M", b"\x04\x03i", b"\x05\x0aauth-int", b"\x06\x05MD5",
            b"\x07\x03b", b"\x08\x03c", b"\x09\x0a00000001", b"\x0a\x03u",
        )),
    ]  # fmt: skip
    assert rfc_5090(question) == [
        (103, b"x" * 32), (104, b"r"), (105, b"n"), (108, b"M"), (109, b"i"), (110, b"auth-int"),
        (111, b"MD5"),
        (112, b"b"), (113, b"c"), (114, b"00000001"), (115, b"u"), (116, b"o"),
    ]  # fmt: skip


# --- as an account backend -----------------------------------------------------------------------------


@pytest.fixture
async def people(freeradius: FreeRadius, tmp_path: Path) -> AsyncIterator[Accounts]:
    store = await new_store(tmp_path / "tandem.db")
    chosen = AccountSettings(backend="radius", radius=settings(tmp_path, freeradius.address))
    yield open_accounts(chosen, store)
    await store.close()


async def test_a_person_exists_from_the_first_login_on(people: Accounts) -> None:
    assert await people.find(ALICE) is None
    assert not await people.check_password(ALICE, "wrong")
    assert await people.find(ALICE) is None
    assert await people.check_password(ALICE, "wonderland")
    assert await people.find(ALICE) is not None
    assert [account.address for account in await people.list()] == [ALICE]


async def test_a_phone_s_first_registration_makes_its_user_known(people: Accounts) -> None:
    assert isinstance(people, DigestJudge)
    assert await people.check_digest(ALICE, ask_for("alice", ALICE.domain, "wonderland"))
    account = await people.find(ALICE)
    assert account is not None
    assert account.phone_only


async def test_only_plain_is_offered(people: Accounts) -> None:
    await people.check_password(ALICE, "wonderland")
    assert await people.offers(ALICE) == await people.offers(BOB) == {"PLAIN"}


async def test_an_account_is_disabled_here_before_it_ever_logged_in(people: Accounts) -> None:
    await people.set_enabled(ALICE, False)
    account = await people.find(ALICE)
    assert account is not None
    assert not account.enabled
