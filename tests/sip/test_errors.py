"""RFC 7247 §7, tables 2 and 3, row by row."""

from __future__ import annotations

import pytest

from presence.errors import Condition
from sip.errors import condition_to_status, status_to_condition

TABLE_2 = {
    Condition.BAD_REQUEST: (400, 400),
    Condition.CONFLICT: (400, 400),
    Condition.FORBIDDEN: (403, 603),
    Condition.GONE: (410, 410),
    Condition.INTERNAL: (500, 500),
    Condition.ITEM_NOT_FOUND: (404, 604),
    Condition.NOT_ACCEPTABLE: (406, 606),
    Condition.NOT_ALLOWED: (403, 403),
    Condition.NOT_AUTHORIZED: (401, 401),
    Condition.NOT_IMPLEMENTED: (405, 501),
    Condition.POLICY_VIOLATION: (403, 403),
    Condition.RECIPIENT_UNAVAILABLE: (480, 600),
    Condition.REDIRECT: (302, 302),
    Condition.REMOTE_NOT_FOUND: (404, 404),
    Condition.REMOTE_TIMEOUT: (504, 504),  # the table's 408 is never sent (RFC 4320 §4.2)
    Condition.RESOURCE_CONSTRAINT: (500, 500),
    Condition.SERVICE_UNAVAILABLE: (403, 403),
    Condition.UNEXPECTED_REQUEST: (491, 491),
}

TABLE_3 = {
    300: "redirect",
    301: "gone",
    302: "redirect",
    305: "redirect",
    380: "not-acceptable",
    400: "bad-request",
    401: "not-authorized",
    402: "bad-request",
    403: "forbidden",
    404: "item-not-found",
    405: "feature-not-implemented",
    406: "not-acceptable",
    407: "not-authorized",
    408: "remote-server-timeout",
    410: "gone",
    413: "policy-violation",
    414: "policy-violation",
    415: "not-acceptable",
    416: "not-acceptable",
    420: "feature-not-implemented",
    421: "not-acceptable",
    423: "resource-constraint",
    430: "recipient-unavailable",
    439: "feature-not-implemented",
    440: "policy-violation",
    480: "recipient-unavailable",
    481: "item-not-found",
    482: "not-acceptable",
    483: "not-acceptable",
    484: "item-not-found",
    485: "item-not-found",
    486: "recipient-unavailable",
    487: "recipient-unavailable",
    488: "not-acceptable",
    489: "policy-violation",
    491: "unexpected-request",
    493: "bad-request",
    500: "internal-server-error",
    501: "feature-not-implemented",
    502: "remote-server-not-found",
    503: "internal-server-error",
    504: "remote-server-timeout",
    505: "not-acceptable",
    513: "policy-violation",
    600: "recipient-unavailable",
    603: "recipient-unavailable",
    604: "item-not-found",
    606: "not-acceptable",
}


def test_every_condition_has_its_status() -> None:
    found = {
        condition: (condition_to_status(condition, bare=False), condition_to_status(condition, bare=True))
        for condition in Condition
    }
    assert found == TABLE_2


@pytest.mark.parametrize(("status", "condition"), sorted(TABLE_3.items()))
def test_every_status_has_its_condition(status: int, condition: str) -> None:
    assert status_to_condition(status) == condition


@pytest.mark.parametrize(
    ("status", "condition"),
    [
        (399, "redirect"),
        (499, "bad-request"),
        (599, "internal-server-error"),
        (699, "recipient-unavailable"),
        (700, "internal-server-error"),
    ],
)
def test_an_unknown_status_counts_as_its_class(status: int, condition: str) -> None:
    assert status_to_condition(status) == condition
