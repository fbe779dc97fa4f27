"""aioxmpp as a client, in a process of its own: `python aioxmpp_client.py HOST PORT JID PASSWORD TO`.

Logs in, writes down who is in its roster and what it is told of their presence, says hello, and echoes the
first message it gets; one JSON object a line.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aioxmpp
import aioxmpp.connector
import aioxmpp.dispatcher


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main(host: str, port: int, jid: str, password: str, to: str) -> None:
    client = aioxmpp.PresenceManagedClient(
        aioxmpp.JID.fromstr(jid),
        aioxmpp.make_security_layer(password, no_verify=True),
        override_peer=[(host, port, aioxmpp.connector.STARTTLSConnector())],
    )
    roster = client.summon(aioxmpp.RosterClient)
    presence = client.summon(aioxmpp.PresenceClient)
    disco = client.summon(aioxmpp.DiscoClient)
    dispatcher = client.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
    heard: asyncio.Queue[Any] = asyncio.Queue()
    seen: asyncio.Queue[Any] = asyncio.Queue()
    presence.on_available.connect(lambda who, stanza: seen.put_nowait(stanza))
    presence.on_changed.connect(lambda who, stanza: seen.put_nowait(stanza))
    dispatcher.register_callback(aioxmpp.MessageType.CHAT, None, heard.put_nowait)
    async with client.connected() as stream:
        tell(event="in", jid=str(client.local_jid), roster=[str(each) for each in roster.items])
        info = await disco.query_info(aioxmpp.JID.fromstr(jid).replace(localpart=None, resource=None))
        tell(event="disco", identities=[[i.category, i.type_] for i in info.identities])
        hello = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=aioxmpp.JID.fromstr(to))
        hello.body[None] = "Hello from aioxmpp"
        await stream.send(hello)
        while True:
            stanza = await seen.get()
            if str(stanza.from_.bare()) == to and stanza.status:
                tell(event="presence", show=stanza.show.value, status=stanza.status.any())
                break
        message = await heard.get()
        tell(event="message", sender=str(message.from_.bare()), body=message.body.any())
        reply = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=message.from_)
        reply.body[None] = f"You said {message.body.any()}"
        await stream.send(reply)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
