"""Which flows of this process lead to which phones.

A phone with several flows (RFC 5626) is one endpoint; they are tried in the order of their reg-ids, those
that did not answer last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from presence.address import Address
from sip.bindings import Binding
from sip.flow import Flow, parse_flow


@dataclass(frozen=True, slots=True)
class Located:
    """A binding whose flow ends in this process."""

    binding: Binding
    flow: Flow


class Whereabouts:
    """What this process last saw; the cell on the bus is the truth."""

    def __init__(self) -> None:
        self._phones: dict[Address, dict[str, dict[int, Located]]] = {}
        "Account → endpoint id → reg-id."
        self._on_flow: dict[Flow, set[tuple[Address, str, int]]] = {}
        self._doubtful: set[Flow] = set()
        "Nobody answered there."

    def __contains__(self, address: object) -> bool:
        """Some phone of the account is here."""
        return address in self._phones

    def __iter__(self) -> Iterator[tuple[Address, Located]]:
        for address, phones in self._phones.items():
            for flows in phones.values():
                for located in flows.values():
                    yield address, located

    def put(self, address: Address, binding: Binding) -> Located:
        self.drop(address, binding)
        located = Located(binding, parse_flow(binding.flow))
        self._phones.setdefault(address, {}).setdefault(binding.endpoint, {})[binding.reg_id] = located
        self._on_flow.setdefault(located.flow, set()).add((address, binding.endpoint, binding.reg_id))
        self._doubtful.discard(located.flow)
        return located

    def drop(self, address: Address, binding: Binding) -> None:
        """Forget the flow that phone has under that reg-id, whichever it is by now."""
        phones = self._phones.get(address, {})
        flows = phones.get(binding.endpoint, {})
        located = flows.pop(binding.reg_id, None)
        if located is None:
            return
        if not flows:
            del phones[binding.endpoint]
            if not phones:
                del self._phones[address]
        mates = self._on_flow[located.flow]
        mates.discard((address, binding.endpoint, binding.reg_id))
        if not mates:
            del self._on_flow[located.flow]
            self._doubtful.discard(located.flow)

    def doubt(self, flow: Flow) -> None:
        """Nobody answered there: it is tried last until its phone registers over it again."""
        if flow in self._on_flow:
            self._doubtful.add(flow)

    def flows(self, address: Address, endpoint: str) -> list[Located]:
        """A phone's ways, the best first."""
        flows = self._phones.get(address, {}).get(endpoint)
        if not flows:
            return []
        if len(flows) == 1:
            return list(flows.values())
        return sorted(flows.values(), key=lambda one: (one.flow in self._doubtful, one.binding.reg_id))

    def of(self, address: Address) -> list[Located]:
        """All ways to an account's phones."""
        return [found for flows in self._phones.get(address, {}).values() for found in flows.values()]

    def on(self, flow: Flow) -> list[tuple[Address, Located]]:
        """Who is reached there."""
        return [
            (address, self._phones[address][endpoint][reg_id])
            for address, endpoint, reg_id in self._on_flow.get(flow, ())
        ]

    def holds(self, flow: Flow) -> bool:
        return flow in self._on_flow

    def addresses(self) -> list[Address]:
        return list(self._phones)
