"""Standing orders: what people answer to whoever comes (RFC 5025 §3.2.1)."""

from __future__ import annotations

import pytest

from presence.address import Address
from presence.orders import Handling, Order, answered, handling
from presence.subscriptions import Act

BOB = Address("bob", "example.org")
EVE = Address("eve", "elsewhere.example")


@pytest.mark.parametrize(
    ("orders", "watcher", "expected"),
    [
        ((), BOB, Handling.BLOCK),
        ((Order(Handling.CONFIRM),), BOB, Handling.CONFIRM),
        ((Order(Handling.CONFIRM), Order(Handling.ALLOW, "example.org")), BOB, Handling.ALLOW),
        ((Order(Handling.CONFIRM), Order(Handling.ALLOW, "example.org")), EVE, Handling.CONFIRM),
        ((Order(Handling.ALLOW, "", (str(BOB),)),), BOB, Handling.BLOCK),
        ((Order(Handling.ALLOW, "", ("elsewhere.example",)),), EVE, Handling.BLOCK),
        ((Order(Handling.POLITE_BLOCK), Order(Handling.CONFIRM)), BOB, Handling.POLITE_BLOCK),
    ],
)
def test_the_highest_order_that_concerns_a_watcher_counts(
    orders: tuple[Order, ...], watcher: Address, expected: Handling
) -> None:
    assert handling(orders, watcher) is expected


@pytest.mark.parametrize(
    ("order", "act"),
    [
        (Handling.ALLOW, Act.SUBSCRIBED),
        (Handling.CONFIRM, None),
        (Handling.BLOCK, Act.UNSUBSCRIBED),
        (Handling.POLITE_BLOCK, Act.UNSUBSCRIBED),
    ],
)
def test_an_order_is_an_answer_in_the_owners_place(order: Handling, act: Act | None) -> None:
    assert answered((Order(order),), BOB) is act
