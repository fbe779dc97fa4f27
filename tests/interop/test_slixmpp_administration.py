"""slixmpp makes an account (XEP-0077), is invited, and administers the server (XEP-0050, XEP-0133)."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from presence.address import parse_address
from tests.interop.programs import run
from tests.support.inbox import PATIENCE, Inbox
from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import DOMAIN, Tandem
from tests.support.xmppclient import Client

pytestmark = pytest.mark.interop

ADMIN = f"admin@{DOMAIN}"
COMMANDS = ("xep_0004", "xep_0030", "xep_0050", "xep_0133")


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    tandem = Tandem(
        tmp_path_factory.mktemp("administered"),
        XMPP__REGISTRATION="open",
        XMPP__REGISTRATIONS_PER_HOUR="3",
        XMPP__ACCOUNT_REMOVAL="true",
        XMPP__ADMINS=ADMIN,
        ACCOUNTS__GUARD__EXEMPT="192.0.2.1",
        PROCESSES__XMPP="2",
    )
    async with open_stage(tandem, "127.0.0.1") as made:
        yield made


def registering(stage: Stage, person: Person) -> tuple[Client, Inbox[str]]:
    """A client that makes its account before it logs in; what became of that."""
    client = stage.client(person, plugins=("xep_0004", "xep_0066", "xep_0077"))
    outcomes: Inbox[str] = Inbox("registration")

    async def register(form: Any) -> None:
        assert {"username", "password"} <= set(form["register"]["fields"])
        iq = client.xmpp.Iq()
        iq["type"] = "set"
        iq["register"]["username"] = client.xmpp.boundjid.user
        iq["register"]["password"] = client.xmpp.password
        try:
            await iq.send()
        except Exception as error:
            outcomes.put(error.iq["error"]["condition"])  # type: ignore[attr-defined]
        else:
            outcomes.put("made")

    client.xmpp.add_event_handler("register", register)
    return client, outcomes


async def test_an_account_is_made_used_and_deleted_by_a_client(stage: Stage) -> None:
    carol = Person(f"carol@{DOMAIN}", "sesame")
    client, outcomes = registering(stage, carol)
    async with client:
        assert await outcomes.take("an outcome", lambda _: True) == "made"
        async with stage.client(carol, "second") as other:
            await client.echo()
            asyncio.ensure_future(client.xmpp.plugin["xep_0077"].cancel_registration())  # noqa: RUF006
            for gone in (client, other):
                async with asyncio.timeout(PATIENCE):
                    await gone.disconnected.wait()
    again, outcomes = registering(stage, carol)
    async with again:
        assert await outcomes.take("an outcome", lambda _: True) == "made"
    # one more than the network may make in an hour
    dave = Person(f"dave@{DOMAIN}", "sesame")
    for expected in ("made", "resource-constraint"):
        client, outcomes = registering(stage, dave)
        if expected == "made":
            await client.login()
            await client.close()
        else:
            client.xmpp.connect(*client.server)
        assert await outcomes.take("an outcome", lambda _: True) == expected
        dave = Person(f"eve@{DOMAIN}", "sesame")
    await client.abort()


class Console:
    """An administrator's client, one command after the other."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def run(self, name: str, **fields: Any) -> Any:
        """Fill in the form a command asks for; its last answer."""
        answers: Inbox[Any] = Inbox(name)
        session: dict[str, Any] = {
            "next": lambda iq, _: answers.put(iq),
            "error": lambda iq, _: answers.put(iq),
        }
        getattr(self.client.xmpp.plugin["xep_0133"], name)(session=session)
        answer = await answers.take("an answer", lambda _: True)
        if answer["command"]["status"] == "completed" or answer["type"] == "error":
            return answer
        form = self.client.xmpp.plugin["xep_0004"].make_form(ftype="submit")
        form.add_field(var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/admin")
        for var, value in fields.items():
            form.add_field(var=var.replace("_", "-"), value=value)
        session["payload"] = [form]
        self.client.xmpp.plugin["xep_0050"].complete_command(session)
        return await answers.take("an answer", lambda _: True)


async def test_an_administrator_manages_people_of_all_processes(stage: Stage) -> None:
    await stage.accounts.add(parse_address(ADMIN), "top secret")
    async with stage.client(Person(ADMIN, "top secret"), plugins=COMMANDS) as client:
        console = Console(client)
        listed = await client.xmpp.plugin["xep_0133"].get_commands()
        nodes = {node for _, node, _ in listed["disco_items"]["items"]}
        assert "http://jabber.org/protocol/admin#announce" in nodes
        frank = Person(f"frank@{DOMAIN}", "hunter2")
        answer = await console.run(
            "add_user", accountjid=frank.address, password=frank.password, password_verify=frank.password
        )
        assert answer["command"]["status"] == "completed"
        async with stage.client(frank, "one") as one, stage.client(frank, "two") as two:
            await one.echo()
            await two.echo()
            answer = await console.run("get_online_users_num")
            assert int(answer["command"]["form"].get_values()["onlineusersnum"]) >= 2
            await console.run("announce", announcement="all will be well")
            for each in (one, two):
                await each.hears("all will be well", DOMAIN)
            await console.run("disable_user", accountjids=[frank.address])
            for each in (one, two):
                async with asyncio.timeout(PATIENCE):
                    await each.disconnected.wait()
        answer = await console.run("delete_user", accountjids=[frank.address])
        assert answer["command"]["status"] == "completed"
        answer = await console.run("user_stats", accountjid=frank.address)
        assert answer["error"]["condition"] == "item-not-found"


async def test_others_administer_nothing(stage: Stage) -> None:
    alice = await stage.person("alice")
    async with stage.client(alice, plugins=COMMANDS) as client:
        answer = await Console(client).run("get_online_users_num")
        assert answer["error"]["condition"] == "forbidden"


async def test_the_command_line_invites(stage: Stage, tmp_path: Path) -> None:
    environment = {k: v for k, v in stage.tandem.environment.items() if k.startswith("TANDEM_")}
    words = [sys.executable, "-m", "gateway", "user", "invite", "--name", "grace"]
    code, said = await run(*words, cwd=stage.tandem.directory, env=environment)
    assert code == 0, said
    assert re.search(rf"xmpp:grace@{DOMAIN}\?register;preauth=[0-9a-f]{{32}}\n", said)
    code, said = await run(*words, cwd=stage.tandem.directory, env=environment)
    assert code == 1, "the account is promised already"
