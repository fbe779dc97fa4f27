"""A phone built on PJSIP (its Python binding `pjsua2`, Debian has no `pjsua` program), run on its own.

Reads one JSON command a line, `["register"]`, `["watch", address]`, `["message", address, text]`,
`["show", "away", note]`, `["quit"]`, and writes one JSON object a line about what happens.
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import Any

import pjsua2 as pj


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Account(pj.Account):  # type: ignore[misc]
    def onRegState(self, prm: Any) -> None:
        tell(event="registered", status=prm.code, active=self.getInfo().regIsActive)

    def onInstantMessage(self, prm: Any) -> None:
        tell(event="message", sender=prm.fromUri, body=prm.msgBody, type=prm.contentType)

    def onInstantMessageStatus(self, prm: Any) -> None:
        tell(event="sent", status=prm.code, body=prm.msgBody)

    def onTypingIndication(self, prm: Any) -> None:
        tell(event="typing", sender=prm.fromUri, typing=prm.isTyping)


class Buddy(pj.Buddy):  # type: ignore[misc]
    def onBuddyState(self) -> None:
        info = self.getInfo()
        tell(
            event="buddy",
            uri=info.uri,
            online=info.presStatus.status == pj.PJSUA_BUDDY_STATUS_ONLINE,
            note=info.presStatus.note or info.presStatus.statusText,
            subscription=info.subStateName,
        )


_ACTIVITIES = {"away": pj.PJRPID_ACTIVITY_AWAY, "busy": pj.PJRPID_ACTIVITY_BUSY}


def main(user: str, domain: str, password: str, server: str, transport: str) -> None:
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.uaConfig.userAgent = "pjsua2"
    config.logConfig.level = config.logConfig.consoleLevel = 0
    endpoint.libInit(config)
    kinds = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP}
    endpoint.transportCreate(kinds[transport], pj.TransportConfig())
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()

    wanted = pj.AccountConfig()
    wanted.idUri = f"sip:{user}@{domain}"
    wanted.regConfig.registrarUri = f"sip:{domain}"
    wanted.regConfig.registerOnAdd = False
    wanted.regConfig.timeoutSec = 60
    wanted.sipConfig.proxies.append(f"sip:{server};transport={transport};lr")
    wanted.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", user, 0, password))
    wanted.presConfig.publishEnabled = True
    account = Account()
    account.create(wanted)
    buddies: dict[str, Buddy] = {}

    def buddy(address: str) -> Buddy:
        if address not in buddies:
            made = Buddy()
            about = pj.BuddyConfig()
            about.uri, about.subscribe = f"sip:{address}", False
            made.create(account, about)
            buddies[address] = made
        return buddies[address]

    def obey(command: list[str]) -> bool:
        match command:
            case ["register"]:
                account.setRegistration(True)
            case ["watch", address]:
                buddy(address).subscribePresence(True)
            case ["message", address, text]:
                what = pj.SendInstantMessageParam()
                what.content = text
                buddy(address).sendInstantMessage(what)
            case ["show", activity, note]:
                status = pj.PresenceStatus()
                status.status = pj.PJSUA_BUDDY_STATUS_ONLINE
                status.activity, status.note = _ACTIVITIES[activity], note
                account.setOnlineStatus(status)
            case ["quit"]:
                account.setRegistration(False)
                return False
        return True

    tell(event="ready")
    waiting, going = b"", True
    while going:
        endpoint.libHandleEvents(20)
        if not select.select([0], [], [], 0)[0]:
            continue
        data = os.read(0, 65536)
        waiting += data
        *lines, waiting = waiting.split(b"\n")
        going = bool(data) and all(obey(json.loads(line)) for line in lines)
    endpoint.libDestroy()


if __name__ == "__main__":
    main(*sys.argv[1:])
