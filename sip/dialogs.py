"""The subscriptions of one process: by key, by watcher, by the flow they are notified on. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from presence.address import Address
from sip.flow import Flow
from sip.subscription import Subscription

Name = tuple[str, str, str]


class Dialogs:
    def __init__(self) -> None:
        self._by_key: dict[str, Subscription] = {}
        self._by_watcher: dict[Address, dict[Name, Subscription]] = {}
        "Watcher → (Call-ID, its tag, package) → subscription."
        self._about: dict[Address, dict[Subscription, None]] = {}
        "Presentity → subscriptions to its presence."
        self._on_flow: dict[Flow, set[Subscription]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(tuple(self._by_key.values()))

    def __contains__(self, subscription: Subscription) -> bool:
        """It has not ended, nor has another taken its place."""
        return self._by_key.get(subscription.key) is subscription

    def find(self, key: str) -> Subscription | None:
        return self._by_key.get(key)

    def of(self, watcher: Address) -> tuple[Subscription, ...]:
        """In the order they came."""
        return tuple(self._by_watcher.get(watcher, {}).values())

    def about(self, presentity: Address) -> tuple[Subscription, ...]:
        """Those to somebody's presence, in the order they came."""
        return tuple(self._about.get(presentity, ()))

    def on(self, flow: Flow) -> tuple[Subscription, ...]:
        return tuple(self._on_flow.get(flow, ()))

    def holds(self, flow: Flow) -> bool:
        """A subscription is notified over this flow."""
        return flow in self._on_flow

    def twin(self, subscription: Subscription) -> Subscription | None:
        """One that a phone forgot: after a restart it may come with the very identifiers it had before."""
        return self._by_watcher.get(subscription.watcher, {}).get(_name(subscription))

    def add(self, subscription: Subscription) -> None:
        """Whoever adds removes its twin first."""
        self._by_watcher.setdefault(subscription.watcher, {})[_name(subscription)] = subscription
        self._by_key[subscription.key] = subscription
        if subscription.package.name == "presence" and not subscription.listed:
            self._about.setdefault(subscription.presentity, {})[subscription] = None
        if subscription.flow is not None:
            self._on_flow.setdefault(subscription.flow, set()).add(subscription)

    def pin(self, subscription: Subscription, flow: Flow | None) -> None:
        """From now on it is notified there; None: there is no way to it."""
        if flow == subscription.flow:
            return
        if subscription.flow is not None:
            mates = self._on_flow.get(subscription.flow, set())
            mates.discard(subscription)
            if not mates:
                self._on_flow.pop(subscription.flow, None)
        subscription.flow = flow
        if flow is not None:
            self._on_flow.setdefault(flow, set()).add(subscription)

    def remove(self, subscription: Subscription) -> bool:
        """False when it was not there any more."""
        if subscription not in self:
            return False
        del self._by_key[subscription.key]
        mine = self._by_watcher.get(subscription.watcher, {})
        mine.pop(_name(subscription), None)
        if not mine:
            self._by_watcher.pop(subscription.watcher, None)
        about = self._about.get(subscription.presentity, {})
        about.pop(subscription, None)
        if not about:
            self._about.pop(subscription.presentity, None)
        self.pin(subscription, None)
        subscription.cancel_timers()
        return True

    def sessions(self) -> list[dict[str, Any]]:
        """For `tandem sessions`."""
        return [
            {
                "address": str(subscription.watcher),
                "kind": "sip dialog",
                "since": subscription.since,
                "presentity": str(subscription.presentity),
                "package": subscription.package.name,
                "state": subscription.state,
                "peer": subscription.flow.remote if subscription.flow else "",
                "expires": subscription.expires,
            }
            for subscription in self._by_key.values()
        ]


def _name(subscription: Subscription) -> Name:
    dialog = subscription.dialog
    return dialog.call_id, dialog.remote_tag, subscription.package.name
