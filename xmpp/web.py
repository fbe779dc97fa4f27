"""What of XMPP over HTTP needs no socket: which pages may connect, and where clients find us (XEP-0156)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from presence.listening import split_listen
from xmpp.serialiser import escape_attribute
from xmpp.settings import XmppSettings

WEBSOCKET_PATH = "/xmpp-websocket"
BOSH_PATH = "/http-bind"
XRD_NS = "http://docs.oasis-open.org/ns/xri/xrd-1.0"


@dataclass(frozen=True, slots=True)
class Origins:
    """Which pages may open a stream. Nothing a browser adds by itself opens one, but a page could use the
    browser's place in the network, and its owner's patience, to try passwords."""

    listed: tuple[str, ...]
    "Lower case; `*` is any."
    domains: tuple[str, ...]
    public_url: str

    def allow(self, origin: str | None, host: str, *, secure: bool) -> bool:
        """`origin`: as the browser says (RFC 6454), None where there is none. `host`: of the request,
        believed only where no public URL is set, and where nobody can point a name of theirs here: over HTTPS
        (`secure`), where a certificate stands behind it, or where it is no such name."""
        if origin is None or "*" in self.listed:
            return True
        origin = origin.lower()
        if origin in self.listed:
            return True
        scheme, _, place = origin.partition("://")
        if scheme == "https" and place in self.domains:
            return True
        ours = urlsplit(self.public_url).netloc if self.public_url else host
        if not (self.public_url or secure or self._cannot_be_pointed(host)):
            return False
        return scheme in ("https", "http") and place == ours.lower()

    def _cannot_be_pointed(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in ("localhost", *self.domains):
                return True
            ip_address(name)
        except ValueError:
            return False
        return True


def links(base: str) -> list[tuple[str, str]]:
    """(relation, address) of each way to connect below an https URL (XEP-0156 §3.1)."""
    websocket = "wss" + base.removeprefix("https") + WEBSOCKET_PATH
    return [
        ("urn:xmpp:alt-connections:websocket", websocket),
        ("urn:xmpp:alt-connections:xbosh", base + BOSH_PATH),
    ]


def files_at(domain: str, settings: XmppSettings) -> str:
    """Where the files of a domain are, without a slash at the end: the public URL, or our own HTTPS there."""
    if settings.web.public_url:
        return settings.web.public_url
    port = split_listen(settings.listen_web_tls[0])[1] if settings.listen_web_tls else 443
    return f"https://{domain}:{port}"


def write_host_meta(found: Iterable[tuple[str, str]]) -> str:
    """As XRD (RFC 6415 §3)."""
    inner = "".join(
        f"<Link rel='{escape_attribute(rel)}' href='{escape_attribute(to)}'/>" for rel, to in found
    )
    return f"<?xml version='1.0' encoding='utf-8'?>\n<XRD xmlns='{XRD_NS}'>{inner}</XRD>"


def write_host_meta_json(found: Iterable[tuple[str, str]]) -> str:
    """As JRD (RFC 6415 appendix A)."""
    return json.dumps({"links": [{"rel": rel, "href": to} for rel, to in found]})
