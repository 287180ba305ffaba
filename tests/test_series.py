"""Series of the gateway's own, read by the same means as those of prometheus_client, and saying the same."""

from __future__ import annotations

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest

from gateway.series import Counter, Histogram

BOUNDS = (0.0002, 0.5, 1, 30)
labels = st.tuples(
    st.sampled_from(["tools/list", 'quo"te', "back\\slash", "new\nline", "é"]), st.sampled_from(["", "b"])
)


@given(st.lists(st.tuples(labels, st.integers(min_value=1, max_value=1000))))
def test_a_counter_says_what_prometheus_client_would(counted: list[tuple[tuple[str, str], int]]) -> None:
    disable_created_metrics()
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Counter(ours, "portcullis_events", "Events.", ("action", "outcome"))
    reference = prometheus_client.Counter("portcullis_events", "Events.", ["action", "outcome"], registry=theirs)
    for where, count in counted:
        mine.add(where, count)
        reference.labels(*where).inc(count)
    assert generate_latest(ours) == generate_latest(theirs)


@given(st.lists(st.tuples(labels, st.sampled_from([*BOUNDS, 0, 0.0001, 0.3, 29.9, 31, 1e9]))))
def test_a_histogram_says_what_prometheus_client_would(observed: list[tuple[tuple[str, str], float]]) -> None:
    disable_created_metrics()
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Histogram(ours, "portcullis_seconds", "Seconds.", ("action", "outcome"), BOUNDS)
    reference = prometheus_client.Histogram(
        "portcullis_seconds", "Seconds.", ["action", "outcome"], buckets=BOUNDS, registry=theirs
    )
    for where, value in observed:
        mine.observe(where, value)
        reference.labels(*where).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)
