"""HTTP to push services, some at addresses that phones name: HTTPS only, to public addresses only.

A name is looked up once and the connection goes to the address that was looked at, so that a name cannot lead
elsewhere the second time. No redirects, no proxies, no cookies; of an answer only its status counts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from presence.guarding import Exempt
from sip.edge.dns import Resolver
from sip.push import Bell
from sip.settings import PushSettings
from sip.waking import Rung

_AT_ONCE = 64
"Requests under way; what is more waits its turn, within the same time."
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"RFC 6052 §2.1: an IPv4 address in an IPv6 one."


class PushClient:
    """Implements `sip.waking.Ringer`."""

    def __init__(self, settings: PushSettings, nameservers: Sequence[str] = ()) -> None:
        """To be made where files may be read. `nameservers`: see `sip.edge.dns`. Raises `OSError`."""
        self._timeout = settings.timeout
        self._allowed = Exempt(settings.private_networks)
        context = ssl.create_default_context(cafile=settings.authorities or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client = httpx.AsyncClient(
            verify=context,
            timeout=httpx.Timeout(settings.timeout, connect=settings.timeout / 2),
            # A connection was made for one name; another name may have the same address.
            limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=0),
            follow_redirects=False,
            trust_env=False,
        )
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._nameservers = nameservers
        self._resolver: Resolver | None = None

    async def __call__(self, bell: Bell) -> Rung:
        try:
            async with asyncio.timeout(self._timeout), self._places:
                return await self._post(bell)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Rung(error=str(error) or type(error).__name__)

    async def _post(self, bell: Bell) -> Rung:
        url, headers = httpx.URL(bell.url), dict(bell.headers)
        if not bell.named_by_phone:
            return await self._ask(url, headers, bell.body, {})
        if url.scheme != "https":
            raise ValueError("not https")
        headers["Host"] = url.netloc.decode()
        *others, last = await self._public(url.raw_host.decode())
        name = {"sni_hostname": url.raw_host.decode()}
        for address in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._ask(url.copy_with(host=address), headers, bell.body, name)
        return await self._ask(url.copy_with(host=last), headers, bell.body, name)

    async def _ask(self, url: httpx.URL, headers: dict[str, str], body: bytes, tls: dict[str, str]) -> Rung:
        """`tls`: whom the certificate has to be of, where that is not the URL's host."""
        asked = self._client.stream("POST", url, headers=headers, content=body, extensions=tls)
        async with asked as answer:
            return Rung(answer.status_code, _seconds(answer.headers.get("Retry-After", "")))

    async def _public(self, host: str) -> list[str]:
        """The host's addresses. Raises `OSError`, `ValueError`."""
        if is_address(host):
            return checked([host], self._allowed)
        if self._resolver is None:
            self._resolver = Resolver(self._nameservers)
        return checked(await self._resolver.addresses(host), self._allowed)

    async def close(self) -> None:
        await self._client.aclose()


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def checked(addresses: Sequence[str], allowed: Exempt) -> list[str]:
    """A host's addresses, all of which have to be public, or allowed. Raises `ValueError`."""
    if not addresses or not all(address in allowed or is_public(address) for address in addresses):
        raise ValueError("not at a public address")
    return list(addresses)


def is_public(text: str) -> bool:
    """Nothing of ours is at this IP address, however it is written."""
    if "%" in text:
        return False
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(str(inside))
        if address.is_site_local:  # what networks had before RFC 4193, and some still have
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _seconds(retry_after: str) -> float:
    """A date is as good as nothing said: the next try is not soon anyway."""
    return float(retry_after[:6]) if retry_after.isascii() and retry_after.isdigit() else 0.0


def read_vapid_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Raises `OSError`, `ValueError`."""
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path}: no P-256 key (RFC 8292 §2)")
    return key
