"""Settings of the rooms."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from presence.address import canonical_domain
from presence.rooms.decisions import Bounds
from presence.rooms.service import Policy

LABEL = "rooms"


class RoomSettings(BaseModel):
    """Rooms to chat in (XEP-0045), at a domain beside each of ours: `rooms.example.org`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    "Have rooms."
    domains: tuple[str, ...] = ()
    """Domains that have rooms instead of those beside ours, e.g. `conference.example.org`. None may be one
    with accounts."""
    create: Literal["anyone", "nobody"] = "anyone"
    "Who may make a room by entering one that is not there: `anyone` with an account here, or `nobody`."
    per_account: int = Field(default=100, ge=1)
    "Rooms that one account has made and that are still there."
    per_domain: int = Field(default=10_000, ge=1)
    "Rooms of one domain."
    joined: int = Field(default=200, ge=1)
    "Rooms one client may be in at once."
    max_occupants: int = Field(default=500, ge=2, le=10_000)
    "The most people a room may be set to hold."
    max_affiliations: int = Field(default=5_000, ge=10, le=100_000)
    "People a room may have as members, admins, owners and outcasts together."
    max_history: int = Field(default=200, ge=0, le=1_000)
    "The most messages a room may be set to show to whoever enters."
    max_history_bytes: int = Field(default=262_144, ge=16_384)
    "Bytes of a room's messages that are kept for whoever enters; the oldest go when there are more."
    max_message: int = Field(default=65_536, ge=1_024)
    "Bytes of one message to a room: many are kept in it, and sent to many."
    rate: float = Field(default=5.0, gt=0)
    """Messages, changes of nickname, of presence and of the room's people per second that one client may send
    to one room. A large message, or a list of changes, counts as several."""
    burst: int = Field(default=40, ge=1)
    "How many of them at once."

    @field_validator("domains")
    @classmethod
    def _canonical(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(canonical_domain(domain) for domain in domains))

    def policy(self, domains: frozenset[str], *, archive: bool) -> Policy:
        """For domains with accounts. `archive`: there is one."""
        beside = {f"{LABEL}.{domain}": domain for domain in sorted(domains) if not domain.startswith("[")}
        return Policy(
            domains=dict.fromkeys(self.domains, "") if self.domains else beside,
            anyone_creates=self.create == "anyone",
            per_domain=self.per_domain,
            per_account=self.per_account,
            joined=self.joined,
            rate=self.rate,
            burst=self.burst,
            max_message=self.max_message,
            bounds=Bounds(
                max_occupants=self.max_occupants,
                max_affiliations=self.max_affiliations,
                max_history=self.max_history,
                max_history_bytes=self.max_history_bytes,
            ),
            archive=archive,
        )
