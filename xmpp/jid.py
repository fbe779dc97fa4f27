"""JIDs (RFC 7622): an `Address` with a resource."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from precis_i18n import get_profile

from presence.address import Address, parse_address
from presence.errors import InvalidAddress

_RESOURCE = get_profile("OpaqueString")
_MAX_PART = 1023
"Octets of each part (RFC 7622 §3.2 to §3.4)."


@dataclass(frozen=True, slots=True)
class JID:
    """Canonical; build with `parse_jid` or `of` unless the parts are known to be canonical."""

    local: str
    domain: str
    resource: str = ""
    bare: Address = field(init=False, compare=False, repr=False)
    full: str = field(init=False, compare=False, repr=False)
    "`local@domain/resource`, without the parts that are absent."

    def __post_init__(self) -> None:
        bare = Address(self.local, self.domain)
        object.__setattr__(self, "bare", bare)
        object.__setattr__(self, "full", f"{bare}/{self.resource}" if self.resource else str(bare))

    @classmethod
    def of(cls, address: Address, resource: str = "") -> JID:
        """The JID of a canonical address; `resource` is canonical, too."""
        return cls(address.local, address.domain, resource)

    @property
    def is_bare(self) -> bool:
        return not self.resource

    def __str__(self) -> str:
        return self.full


@lru_cache(maxsize=4096)
def parse_jid(text: str) -> JID:
    """A JID from its text (RFC 7622 §3.1). Raises `InvalidAddress`."""
    if len(text) > 3 * _MAX_PART + 2:
        raise InvalidAddress("longer than a JID can be")
    bare, slash, resource = text.partition("/")
    address = parse_address(bare)
    return JID(address.local, address.domain, parse_resource(resource) if slash else "")


def parse_resource(text: str) -> str:
    """A canonical resourcepart (RFC 7622 §3.4, OpaqueString of RFC 8265 §4.2). Raises `InvalidAddress`."""
    if not (text.isascii() and text.isprintable()):
        try:
            text = _RESOURCE.enforce(text)
        except UnicodeError as refused:
            raise InvalidAddress(f"not a resource: {refused}") from None
    if not 0 < len(text.encode()) <= _MAX_PART:
        raise InvalidAddress("a resource has 1 to 1023 octets")
    return text
