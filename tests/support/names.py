"""A DNS server on loopback that knows a few names (dnspython reads and writes the packets)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class Names(asyncio.DatagramProtocol):
    """`zone`: `name. TYPE` → records as in a zone file."""

    def __init__(self, zone: Mapping[str, tuple[str, ...]], ttl: int) -> None:
        self.zone = zone
        self.ttl = ttl
        self.asked: list[str] = []
        "Every question, as the zone's keys are written."

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}")
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        records = self.zone.get(f"{name} {kind}")
        if records:
            response.answer.append(dns.rrset.from_text(name, self.ttl, "IN", kind, *records))
        elif not any(key.startswith(f"{name} ") for key in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(response.to_wire(), addr)  # type: ignore[attr-defined]

    @property
    def address(self) -> str:
        host, port = self._transport.get_extra_info("sockname")
        return f"{host}:{port}"


@asynccontextmanager
async def serve_names(zone: Mapping[str, tuple[str, ...]], ttl: int = 300) -> AsyncIterator[Names]:
    transport, names = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Names(zone, ttl), local_addr=("127.0.0.1", 0)
    )
    try:
        yield names
    finally:
        transport.close()
