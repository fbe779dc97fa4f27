"""A SIP phone that costs next to nothing: prebuilt bytes over UDP, digest computed, the rest cut out."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from tests.support.sipwire import challenge

BRANCH = b"branch=z9hG4bK"
AGAIN = 0.5
"Seconds after which an unanswered request is sent once more (RFC 3261 §17.1.2.1, T1)."

_serial = count(1)


class LoadPhone(asyncio.DatagramProtocol):
    """`heard` is called with every new request that arrives; requests are retransmitted until answered."""

    def __init__(self, aor: str, password: str, heard: Callable[[bytes], None]) -> None:
        self.aor = aor
        self.user, _, self.domain = aor.partition("@")
        self.password = password
        self.heard = heard
        self.refused = 0
        self._nonce = ""
        self._ha1 = ""
        self._nc = 0
        self._open: dict[bytes, tuple[bytes, float, Callable[[bytes], None]]] = {}
        self._seen: dict[bytes, bytes] = {}
        self._tag = f"t{next(_serial)}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        host, port = transport.get_extra_info("sockname")[:2]
        self.local = f"{host}:{port}"
        self.contact = f"<sip:{self.user}@{self.local}>"

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data.startswith(b"SIP/2.0"):
            self._answer(data)
        else:
            self._request(data)

    def _answer(self, data: bytes) -> None:
        at = data.find(BRANCH) + len(BRANCH)
        branch = data[at : _end(data, at)]
        waiting = self._open.pop(branch, None)
        if waiting is not None:
            waiting[2](data)

    def _request(self, data: bytes) -> None:
        at = data.find(BRANCH) + len(BRANCH)
        branch = data[at : _end(data, at)]
        known = self._seen.get(branch)
        if known is None:
            head = data[: data.find(b"\r\n\r\n")].split(b"\r\n")[1:]
            copied = [line for line in head if line[:4].lower() in (b"via:", b"from", b"call", b"cseq")]
            to = next(line for line in head if line[:3].lower() == b"to:")
            if b";tag=" not in to:
                to += b";tag=" + self._tag.encode()
            known = b"\r\n".join([b"SIP/2.0 200 OK", *copied, to, b"Content-Length: 0", b"", b""])
            if len(self._seen) > 2000:
                self._seen.clear()
            self._seen[branch] = known
            self.transport.sendto(known)
            self.heard(data)
        else:
            self.transport.sendto(known)

    def retransmit(self) -> None:
        """What has waited too long goes out again."""
        now = time.monotonic()
        for branch, (data, sent, done) in list(self._open.items()):
            if now - sent > AGAIN:
                self._open[branch] = (data, now, done)
                self.transport.sendto(data)

    def send(
        self,
        method: str,
        uri: str,
        headers: str,
        body: str,
        done: Callable[[bytes], None],
        call_id: str = "",
        tries: int = 2,
    ) -> None:
        """A request outside dialogs with credentials, once a nonce is known; `done` gets its final answer."""
        serial = next(_serial)
        branch = f"l{serial}"
        proof = self._proof(method, uri)
        to = f"sip:{self.aor}" if method == "REGISTER" else uri
        payload = body.encode()
        data = (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {self.local};rport;branch=z9hG4bK{branch}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{self.aor}>;tag=f{serial}\r\nTo: <{to}>\r\n"
            f"Call-ID: {call_id or f'c{serial}'}\r\nCSeq: {serial} {method}\r\n{proof}{headers}"
            f"Content-Length: {len(payload)}\r\n\r\n"
        ).encode() + payload

        def answered(response: bytes) -> None:
            if response[8:11] == b"401" and tries:
                self._learn(response)
                self.send(method, uri, headers, body, done, call_id, tries - 1)
                return
            if response[8:9] != b"2":
                self.refused += 1
            done(response)

        self._open[branch.encode()] = (data, time.monotonic(), answered)
        self.transport.sendto(data)

    def _learn(self, response: bytes) -> None:
        lines = response.decode().split("\r\n")
        asked = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("www-auth")]
        best = next(c for c in map(challenge, asked) if c.get("algorithm", "MD5") == "MD5")
        self._nonce, self._realm = best["nonce"], best["realm"]
        self._ha1 = _md5(f"{self.user}:{self._realm}:{self.password}")
        self._nc = 0

    def _proof(self, method: str, uri: str) -> str:
        if not self._nonce:
            return ""
        self._nc += 1
        nc = f"{self._nc:08x}"
        response = _md5(f"{self._ha1}:{self._nonce}:{nc}:load:auth:{_md5(f'{method}:{uri}')}")
        return (
            f'Authorization: Digest username="{self.user}", realm="{self._realm}", nonce="{self._nonce}", '
            f'uri="{uri}", response="{response}", algorithm=MD5, qop=auth, nc={nc}, cnonce="load"\r\n'
        )

    async def ask(self, method: str, uri: str, headers: str, body: str = "", call_id: str = "") -> bytes:
        """As `send`, and its answer, which must be a success."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.send(method, uri, headers, body, future.set_result, call_id)
        async with asyncio.timeout(10):
            response = await future
        assert response[8:9] == b"2", response.decode()
        return response


def header(response: bytes, name: bytes) -> str:
    """One header's value, by the name as our server writes it."""
    at = response.lower().find(b"\r\n" + name.lower() + b":")
    assert at >= 0, response.decode()
    return response[at + len(name) + 3 : response.find(b"\r\n", at + 2)].strip().decode()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _end(data: bytes, at: int) -> int:
    while data[at : at + 1].isalnum() or data[at : at + 1] in (b"-", b".", b"_"):
        at += 1
    return at
