"""Accounts that are checked by an LDAP bind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.address import Address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.accounts.ldap import BACKEND, Directory, write_dn
from presence.edge.accounts.settings import LdapSettings
from presence.errors import Unavailable
from tests.interop.programs import need
from tests.interop.servers import Slapd
from tests.support.buses import ALICE, BOB
from tests.support.ports import free_port
from tests.support.stores import new_store

pytestmark = pytest.mark.interop

DN = "cn={local},ou=people,dc=example,dc=org"


@pytest.fixture(scope="module")
async def slapd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Slapd]:
    need("slapd")
    pytest.importorskip("ldap3")
    async with Slapd(tmp_path_factory.mktemp("slapd"), {"alice": "wonderland"}) as server:
        yield server


async def test_a_password_is_right_when_the_bind_succeeds(slapd: Slapd) -> None:
    directory = Directory(LdapSettings(url=slapd.url, dn=DN))
    assert await directory.bind(ALICE, "wonderland")
    assert not await directory.bind(ALICE, "wrong")
    assert not await directory.bind(BOB, "wonderland")


async def test_an_empty_password_is_wrong_though_an_anonymous_bind_would_succeed(slapd: Slapd) -> None:
    assert not await Directory(LdapSettings(url=slapd.url, dn=DN)).bind(ALICE, "")


async def test_a_name_cannot_reach_into_the_tree(slapd: Slapd) -> None:
    intruder = Address("x,cn=alice", "example.org")
    assert not await Directory(LdapSettings(url=slapd.url, dn=DN)).bind(intruder, "wonderland")


async def test_without_a_server_nobody_is_told_the_password_is_wrong() -> None:
    need("slapd")
    nobody = Directory(LdapSettings(url=f"ldap://127.0.0.1:{free_port()}", dn=DN))
    with pytest.raises(Unavailable):
        await nobody.bind(ALICE, "wonderland")


async def test_a_person_exists_from_the_first_login_on_without_digest(slapd: Slapd, tmp_path: Path) -> None:
    store = await new_store(tmp_path / "tandem.db")
    ldap = LdapSettings(url=slapd.url, dn=DN)
    people = open_accounts(AccountSettings(backend="ldap", ldap=ldap), store)
    assert await people.find(ALICE) is None
    assert await people.check_password(ALICE, "wonderland")
    account = await people.find(ALICE)
    assert account is not None
    assert (account.ha1, account.scram, await people.digests()) == ({}, {}, ())
    assert await people.offers(ALICE) == {"PLAIN"}
    await store.close()


@pytest.mark.parametrize(
    ("local", "dn"),
    [
        ("alice", "uid=alice"),
        ('a,b+c"d\\e<f>g;h=i#j', 'uid=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h\\=i\\#j'),
        (" a ", "uid=\\ a\\ "),
    ],
)
def test_names_are_escaped(local: str, dn: str) -> None:
    assert write_dn("uid={local}", Address(local, "example.org")) == dn


def test_settings_that_let_everybody_in_are_refused() -> None:
    wrong = AccountSettings(ldap=LdapSettings(url="ldap://127.0.0.1", dn="cn=admin"))
    assert [problem for problem in BACKEND.problems(wrong) if "{local}" in problem]
