from __future__ import annotations

import pytest

from sip.flow import Flow, parse_flow


@pytest.mark.parametrize(
    ("flow", "network", "remote"),
    [
        (Flow("udp", "[::]:5060", "192.0.2.1", 5062), "192.0.2.1", "192.0.2.1:5062"),
        (
            Flow("tcp", "[2001:db8::1]:5060", "2001:db8:0:1::2", 40000, 7),
            "2001:db8:0:1::/64",
            "[2001:db8:0:1::2]:40000",
        ),
    ],
)
def test_a_flow_is_written_read_and_counted_by_network(flow: Flow, network: str, remote: str) -> None:
    assert parse_flow(str(flow)) == flow
    assert flow.network == network
    assert flow.remote == remote
    assert flow.reliable == (flow.transport != "udp")
