"""profanity and mcabber, in a terminal of their own: they log in, see presence and chat."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.programs import Terminal, need
from tests.support.pidf import pidf
from tests.support.stage import Person, Stage

pytestmark = pytest.mark.interop


def profanity(stage: Stage, directory: Path, person: Person) -> Terminal:
    config, data = directory / "config" / "profanity", directory / "data" / "profanity"
    config.mkdir(parents=True)
    data.mkdir(parents=True)
    (config / "profrc").write_text(
        "[ui]\nsplash=false\nnotify.remind=0\nstatuses.console=all\nstatuses.chat=all\nroster=true\nroster.size=40\n"
        "[connection]\n[logging]\nchlog=false\n"
    )
    (data / "accounts").write_text(
        f"[{person.address}]\nenabled=true\njid={person.address}\nresource=prof\npassword={person.password}\n"
        f"server={stage.host}\nport={stage.tandem.xmpp_port}\ntls.policy=trust\n"
        "presence.last=online\npresence.login=online\n"
    )
    return Terminal(directory, "profanity", "-a", person.address)


async def test_profanity_sees_a_phone_and_chats_with_it(stage: Stage, tmp_path: Path) -> None:
    need("profanity", "tmux")
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone, profanity(stage, tmp_path, alice) as terminal:
        await terminal.shows("logged in successfully")
        await phone.register()
        await phone.publish(pidf(bob.address, note="On holiday"))
        await terminal.asked(f"/status get {bob.address}", "On holiday")

        await phone.message(alice.address, "Hello profanity")
        await terminal.type(f"/msg {bob.address}")
        await terminal.shows("Hello profanity")
        await terminal.type("Hello from profanity")
        await phone.hears("Hello from profanity")
        await terminal.type("/quit")


async def test_profanity_accepts_a_phones_request(stage: Stage, tmp_path: Path) -> None:
    need("profanity", "tmux")
    alice, bob = await stage.person("alice"), await stage.person("bob")
    async with stage.phone(bob) as phone, profanity(stage, tmp_path, alice) as terminal:
        await terminal.shows("logged in successfully")
        await phone.register()
        watch = await phone.subscribe(alice.address)
        await watch.state("pending")
        await terminal.shows(bob.address)
        await terminal.type(f"/sub allow {bob.address}")
        await watch.state("active")
        await terminal.type('/status set away "Gone fishing"')
        await watch.notified("her message", lambda n: "Gone fishing" in n.text)
        await terminal.type("/quit")


async def test_profanity_and_slixmpp_chat_in_a_room(stage: Stage, tmp_path: Path) -> None:
    need("profanity", "tmux")
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = f"{alice.address.partition('@')[0]}@rooms.{alice.address.partition('@')[2]}"
    plugins = ("xep_0030", "xep_0045")
    async with stage.client(bob, plugins=plugins) as his, profanity(stage, tmp_path, alice) as terminal:
        await terminal.shows("logged in successfully")
        await terminal.type(f"/join {room} nick ali")
        await terminal.shows("Room locked, requires configuration")
        await terminal.type("/room accept")
        await terminal.shows("Room unlocked")
        await terminal.type("/subject set Assam or Darjeeling")
        await terminal.shows("ali has set the room subject: Assam or Darjeeling")
        _, subject, occupants, _ = await his.xmpp.plugin["xep_0045"].join_muc_wait(room, "bob", timeout=20)
        assert subject["subject"] == "Assam or Darjeeling"
        assert sorted(each["muc"]["nick"] for each in occupants) == ["ali", "bob"]
        await terminal.shows("bob")  # in the list of participants
        his.say(room, "Hello profanity", kind="groupchat")
        await terminal.shows("Hello profanity")
        await terminal.type("Hello slixmpp")
        await his.messages.take(
            "her line", lambda m: m["body"] == "Hello slixmpp" and m["from"].full == f"{room}/ali"
        )
        await terminal.type("/kick bob too loud")
        kicked = await his.presences.take("the kick", lambda p: p["type"] == "unavailable")
        assert 307 in kicked["muc"]["status_codes"]
        await terminal.shows("kicked")
        await terminal.type("/quit")


async def test_mcabber_sees_a_phone_and_chats_with_it(stage: Stage, tmp_path: Path) -> None:
    need("mcabber", "tmux")
    alice, bob = await stage.friends("alice", "bob")
    settings = tmp_path / "mcabberrc"
    settings.write_text(
        f"set jid = {alice.address}\nset password = {alice.password}\nset server = {stage.host}\n"
        f"set port = {stage.tandem.xmpp_port}\nset resource = mcabber\nset tls = 1\n"
        "set ssl_ignore_checks = 1\nset logging = 0\nset beep_on_message = 0\n"
    )
    settings.chmod(0o600)
    async with stage.phone(bob) as phone, Terminal(tmp_path, "mcabber", "-f", str(settings)) as terminal:
        await terminal.shows("Your status has been set")
        await phone.register()
        await terminal.shows(f"[o] {bob.address[:10]}")
        await phone.publish(pidf(bob.address, show="dnd"))
        await terminal.shows(f"[d] {bob.address[:10]}")
        await phone.message(alice.address, "Hello mcabber")
        await terminal.type(f"/say_to {bob.address} Hello from mcabber")
        await phone.hears("Hello from mcabber")
        await terminal.type(f"/roster search {bob.address}")
        await terminal.key("Enter")  # opens the conversation
        await terminal.shows("Hello mcabber")
        await terminal.type("/quit")
