"""A user agent built on the aiosip library (its maintained copy `asyncsip`), run as a program of its own.

Reads one JSON command a line, `["register", …]`, `["message", to, text]`, `["publish", document]`,
`["subscribe", to]`, and writes one JSON object a line: answers, and requests that arrive.
"""

from __future__ import annotations

import asyncio
import collections
import collections.abc
import json
import sys
from typing import Any

# The library was written for Python 3.6: two names it uses have gone since.
for name in ("MutableMapping",):
    setattr(collections, name, getattr(collections.abc, name))
if not hasattr(asyncio, "coroutine"):
    asyncio.coroutine = lambda function: function  # type: ignore[attr-defined]


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main(user: str, domain: str, password: str, host: str, port: int) -> None:
    import asyncsip
    from asyncsip.transaction import BaseTransaction

    # It repeats a challenged request with the To tag of the challenge, as if in a dialog; RFC 3261 §8.1.3.5
    # wants the To it had before.
    answer_challenge = BaseTransaction._handle_authenticate

    def outside_dialogs(self: Any, message: Any) -> None:
        answer_challenge(self, message)
        request = self.original_msg
        tagged = request.to_details
        request.to_details = asyncsip.Contact.from_header(f"<{tagged['uri']}>")
        encoded = request.encode()
        request.to_details = tagged
        request.encode = lambda: encoded
        asked = frozenset((None, request.from_details["params"]["tag"], self.dialog.call_id))
        application._dialogs[asked] = self.dialog  # the next answer has a tag of its own

    BaseTransaction._handle_authenticate = outside_dialogs

    class Dialplan(asyncsip.BaseDialplan):  # type: ignore[misc]
        async def resolve(self, method: str, *_: Any, **__: Any) -> Any:
            return arrived if method in ("MESSAGE", "NOTIFY") else None

    async def arrived(request: Any, message: Any) -> None:
        tell(received=message.method, body=message.payload or "", headers=dict(message.headers))
        dialog = request._create_dialog()
        await dialog.reply(message, 200)
        if message.method == "NOTIFY":
            await watch(dialog)

    application = asyncsip.Application(dialplan=Dialplan(), dns_resolver=None)
    peer = await application.connect((host, port), local_addr=(host, 0))
    own = f"sip:{user}@{domain}"
    contact = asyncsip.Contact.from_header(f"<sip:{user}@{host}:{peer.local_addr[1]}>")

    async def ask(method: str, to: str, headers: dict[str, str], payload: str | None = None) -> None:
        dialog = await peer.request(
            method,
            from_details=asyncsip.Contact.from_header(f"<{own}>"),
            to_details=asyncsip.Contact.from_header(f"<{to}>"),
            contact_details=contact,
            headers=headers,
            payload=payload,
            password=password,
            timeout=10,
        )
        tell(answered=method, status=dialog.status_code)

    async def watch(dialog: Any) -> None:
        async for message in dialog:
            tell(received=message.method, body=message.payload or "", headers=dict(message.headers))
            await dialog.reply(message, 200)

    loop = asyncio.get_running_loop()
    tell(ready=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, *rest = json.loads(line)
        match command:
            case "register":
                await ask("REGISTER", own, {"Expires": "60"})
            case "message":
                await ask("MESSAGE", f"sip:{rest[0]}", {"Content-Type": "text/plain"}, rest[1])
            case "publish":
                headers = {"Event": "presence", "Expires": "60", "Content-Type": "application/pidf+xml"}
                await ask("PUBLISH", own, headers, rest[0])
            case "subscribe":
                headers = {"Event": "presence", "Expires": "60", "Accept": "application/pidf+xml"}
                await ask("SUBSCRIBE", f"sip:{rest[0]}", headers)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])))
