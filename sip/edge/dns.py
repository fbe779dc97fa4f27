"""Asking the DNS, for `sip.locating` and for push services: each question once, and kept as long as its
answer is good.

Names may be strangers', and their servers slow: what is asked of the system has threads of its own, so that
nothing else waits for it.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver
import structlog

from presence.listening import split_listen
from sip.locating import Kind, Naptr, Question, Record, Srv, Target, locate
from sip.record_cache import RecordCache
from sip.uri import Uri

log = structlog.get_logger()

_PATIENCE = 5.0
"Seconds for one question."
_AT_ONCE = 100
"Questions that are out."
_SYSTEM_THREADS = 4
_SYSTEM_TTL = 60.0
"Seconds an address of the system's own (`/etc/hosts`) is kept."
_ADDRESSES: tuple[Kind, ...] = ("A", "AAAA")
_CHANCE = random.SystemRandom()


class Resolver:
    """To be made inside the running loop."""

    def __init__(
        self, nameservers: Sequence[str] = (), system: Callable[..., list[Any]] = socket.getaddrinfo
    ) -> None:
        """`nameservers` as `HOST:PORT`; without them those of the system, and what else it knows. Raises
        `ValueError`."""
        self._loop = asyncio.get_running_loop()
        self._cache = RecordCache()
        self._asked: dict[Question, asyncio.Future[tuple[Record, ...]]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._own = bool(nameservers)
        self._resolver = _resolver(nameservers)
        self._system = system
        self._threads = ThreadPoolExecutor(_SYSTEM_THREADS, "names")

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The IP addresses of a host, IPv4 first; none when there are none, or nobody answers."""
        name = host.lower().removesuffix(".")
        found = await asyncio.gather(*(self._records(Question(kind, name)) for kind in _ADDRESSES))
        return tuple(str(address) for records in found for address in records)

    async def locate(self, uri: Uri) -> tuple[Target, ...]:
        """Where a URI leads (RFC 3263), best first; none when the DNS says so, or does not answer."""
        steps = locate(uri, lambda most: _CHANCE.randint(0, most))
        try:
            questions = next(steps)
            while True:
                found = await asyncio.gather(*map(self._records, questions))
                questions = steps.send(dict(zip(questions, found, strict=True)))
        except StopIteration as end:
            targets: tuple[Target, ...] = end.value
            return targets

    async def _records(self, question: Question) -> tuple[Record, ...]:
        known = self._cache.get(question, self._loop.time())
        if known is not None:
            return known
        asked = self._asked.get(question)
        if asked is None:
            asked = self._asked[question] = asyncio.ensure_future(self._ask(question))
            asked.add_done_callback(lambda _: self._asked.pop(question, None))
        return await asyncio.shield(asked)

    async def _ask(self, question: Question) -> tuple[Record, ...]:
        async with self._room:
            records, ttl = await self._from_dns(question)
            if not records and question.kind in ("A", "AAAA") and not self._own:
                records, ttl = await self._from_system(question)
        self._cache.put(question, records, ttl, self._loop.time())
        return tuple(records)

    async def _from_dns(self, question: Question) -> tuple[list[Record], float]:
        if self._resolver is None or f".{question.name}".endswith(".localhost"):  # RFC 6761 §6.3
            return [], 0.0
        try:
            answer = await self._resolver.resolve(
                question.name, question.kind, raise_on_no_answer=False, search=False, lifetime=_PATIENCE
            )
        except dns.resolver.NXDOMAIN:
            return [], _SYSTEM_TTL
        except (dns.exception.DNSException, OSError, ValueError) as error:
            log.info("dns_failed", name=question.name, kind=question.kind, error=str(error)[:200])
            return [], 0.0
        if answer.rrset is None:
            return [], _SYSTEM_TTL
        return [_record(each) for each in answer.rrset], float(answer.rrset.ttl)

    async def _from_system(self, question: Question) -> tuple[list[Record], float]:
        family = socket.AF_INET if question.kind == "A" else socket.AF_INET6
        look = partial(self._system, question.name, None, family=family, type=socket.SOCK_DGRAM)
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await self._loop.run_in_executor(self._threads, look)
        except (OSError, UnicodeError):
            return [], 0.0
        return [str(where[0]) for *_, where in found], _SYSTEM_TTL


def _resolver(nameservers: Sequence[str]) -> dns.asyncresolver.Resolver | None:
    """None where the system names no servers at all."""
    if not nameservers:
        try:
            return dns.asyncresolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            return None
    resolver = dns.asyncresolver.Resolver(configure=False)
    places = [split_listen(text) for text in nameservers]
    resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in places]
    return resolver


def _record(data: Any) -> Record:
    """As `sip.locating` has it."""
    if data.rdtype == dns.rdatatype.NAPTR:
        return Naptr(
            data.order,
            data.preference,
            data.flags.decode("ascii", "replace"),
            data.service.decode("ascii", "replace"),
            data.replacement.to_text(omit_final_dot=True),
        )
    if data.rdtype == dns.rdatatype.SRV:
        return Srv(data.priority, data.weight, data.port, data.target.to_text(omit_final_dot=True).lower())
    return str(data.address)
