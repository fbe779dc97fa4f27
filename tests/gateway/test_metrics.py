"""`gateway.metrics`: counting, and the Prometheus text of all nodes, read back by Prometheus' own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import MAX_SERIES, DictMetrics, process_samples, render
from presence.ports import NodeInfo


def node(name: str, role: str, metrics: dict[str, float], beat: float = 100.0) -> NodeInfo:
    return NodeInfo(name=name, role=role, incarnation="i", started=50.0, beat=beat, metrics=metrics)


def samples(text: str) -> dict[tuple[str, str], float]:
    """(name, all labels as text) → value."""
    return {
        (sample.name, ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_add_up_per_label_set() -> None:
    metrics = DictMetrics()
    metrics.count("messages_total", kind="chat")
    metrics.count("messages_total", 2, kind="chat")
    metrics.count("messages_total", kind="normal")
    metrics.count("restarts_total")
    assert metrics.samples() == {
        'messages_total{kind="chat"}': 3,
        'messages_total{kind="normal"}': 1,
        "restarts_total": 1,
    }


def test_gauge_keeps_the_last_value() -> None:
    metrics = DictMetrics()
    metrics.gauge("sessions", 3)
    metrics.gauge("sessions", 1)
    assert metrics.samples() == {"sessions": 1}


def test_distinct_series_are_bounded() -> None:
    metrics = DictMetrics()
    for number in range(MAX_SERIES + 10):
        metrics.count("seen_total", peer=str(number))
    metrics.count("seen_total", peer="0")
    assert len(metrics.samples()) == MAX_SERIES
    assert metrics.samples()['seen_total{peer="0"}'] == 2


def test_all_nodes_are_rendered_with_node_and_role() -> None:
    text = render(
        [
            node("xmpp-1", "xmpp", {'messages_total{kind="chat"}': 3, "sessions": 2}),
            node("sip-1", "sip", {'messages_total{kind="chat"}': 1.5}, beat=97.5),
        ],
        now=100.0,
    )
    found = samples(text)
    assert found["tandem_messages_total", "kind=chat,node=xmpp-1,role=xmpp"] == 3
    assert found["tandem_messages_total", "kind=chat,node=sip-1,role=sip"] == 1.5
    assert found["tandem_sessions", "node=xmpp-1,role=xmpp"] == 2
    assert found["tandem_node_beat_age_seconds", "node=sip-1,role=sip"] == 2.5
    assert text.count("# TYPE tandem_messages_total counter") == 1
    assert text.count("# TYPE tandem_sessions gauge") == 1


def test_label_values_survive_quotes_backslashes_and_newlines() -> None:
    metrics = DictMetrics()
    metrics.count("refused_total", reason='a "b"\\\n')
    found = samples(render([node("sip-1", "sip", metrics.samples())], now=100.0))
    assert found["tandem_refused_total", 'node=sip-1,reason=a "b"\\\n,role=sip'] == 1


def test_process_samples_tell_of_this_process() -> None:
    found = process_samples()
    assert found["process_cpu_seconds_total"] > 0
    assert found["process_resident_memory_bytes"] > 1_000_000
    assert found["process_open_fds"] > 2
