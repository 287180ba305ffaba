"""Series of the gateway's own, written as prometheus_client writes its own."""

from __future__ import annotations

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest

from gateway.series import Counter, Histogram, Reading, Series

BOUNDS = (0.0002, 0.5, 1, 30)
labels = st.tuples(
    st.sampled_from(["tools/list", 'quo"te', "back\\slash", "new\nline", "é"]), st.sampled_from(["", "b"])
)


def written(series: Series) -> bytes:
    return (series.about.head() + "".join(series.lines())).encode()


@given(st.lists(st.tuples(labels, st.integers(min_value=1, max_value=10**7))))
def test_a_counter_says_what_prometheus_client_would(counted: list[tuple[tuple[str, str], int]]) -> None:
    disable_created_metrics()
    theirs = CollectorRegistry()
    mine = Counter("portcullis_events", "Events.", ("action", "outcome"))
    reference = prometheus_client.Counter("portcullis_events", "Events.", ["action", "outcome"], registry=theirs)
    for where, count in counted:
        mine.add(where, count)
        reference.labels(*where).inc(count)
    assert written(mine) == generate_latest(theirs)


@given(st.lists(st.tuples(labels, st.sampled_from([*BOUNDS, 0, 0.0001, 0.3, 29.9, 31, 1e9]))))
def test_a_histogram_says_what_prometheus_client_would(observed: list[tuple[tuple[str, str], float]]) -> None:
    disable_created_metrics()
    theirs = CollectorRegistry()
    mine = Histogram("portcullis_seconds", "Seconds.", ("action", "outcome"), BOUNDS)
    reference = prometheus_client.Histogram(
        "portcullis_seconds", "Seconds.", ["action", "outcome"], buckets=BOUNDS, registry=theirs
    )
    for where, value in observed:
        mine.observe(where, value)
        reference.labels(*where).observe(value)
    assert written(mine) == generate_latest(theirs)


@given(st.dictionaries(st.tuples(st.text(st.characters(codec="utf-8"))), st.floats(allow_nan=False)))
def test_what_is_looked_up_reads_as_prometheus_client_would_write_it(values: dict[tuple[str], float]) -> None:
    theirs = CollectorRegistry()
    mine = Reading("portcullis_up", "Up.", ("server",), values.items)
    reference = prometheus_client.Gauge("portcullis_up", "Up.", ["server"], registry=theirs)
    for where, value in values.items():
        reference.labels(*where).set(value)
    assert written(mine) == generate_latest(theirs)


def test_a_series_without_labels_is_one_line() -> None:
    alone = Reading("portcullis_ready", "Ready.", (), lambda: [((), 1)])
    lag = Histogram("portcullis_lag", "Lag.", (), (0.5,))
    lag.observe((), 0.25)
    assert [*alone.lines()] == ["portcullis_ready 1.0\n"]
    assert "".join(lag.lines()).splitlines() == [
        'portcullis_lag_bucket{le="0.5"} 1.0',
        'portcullis_lag_bucket{le="+Inf"} 1.0',
        "portcullis_lag_count 1.0",
        "portcullis_lag_sum 0.25",
    ]


def test_beyond_its_limit_a_counter_counts_new_combinations_under_other_and_says_how_many() -> None:
    counter = Counter("portcullis_calls", "Calls.", ("outcome", "tool"), most=2, folding=("tool",))
    for tool in ("a", "b", "c", "d", "a", "c"):
        counter.add(("success", tool))
    assert [*counter.lines()] == [
        'portcullis_calls_total{outcome="success",tool="a"} 2.0\n',
        'portcullis_calls_total{outcome="success",tool="b"} 1.0\n',
        'portcullis_calls_total{outcome="success",tool="other"} 3.0\n',
    ]
    assert counter.limit.beyond == 3


def test_beyond_its_limit_a_histogram_does_the_same() -> None:
    histogram = Histogram("portcullis_s", "S.", ("outcome", "server"), (1,), most=1, folding=("server",))
    for server in ("a", "b", "c"):
        histogram.observe(("success", server), 2)
    assert [line for text in histogram.lines() for line in text.splitlines() if "_sum" in line] == [
        'portcullis_s_sum{outcome="success",server="a"} 2.0',
        'portcullis_s_sum{outcome="success",server="other"} 4.0',
    ]


def test_what_is_gone_is_forgotten_and_makes_room() -> None:
    counter = Counter("portcullis_calls", "Calls.", ("tool",), most=1, folding=("tool",))
    counter.add(("gone",))
    counter.keep(lambda labels: labels != ("gone",))
    counter.add(("new",))
    assert [*counter.lines()] == ['portcullis_calls_total{tool="new"} 1.0\n']


def test_only_what_is_wanted_is_written_and_what_does_not_say_so_is_not() -> None:
    of_a = lambda names: (lambda labels: labels[names.index("tenant")] == "a") if "tenant" in names else None  # noqa: E731
    counter = Counter("portcullis_calls", "Calls.", ("outcome", "tenant"))
    counter.add(("success", "a"))
    counter.add(("success", "b"))
    alone = Reading("portcullis_ready", "Ready.", (), lambda: [((), 1)])
    assert "".join(counter.lines(of_a)) == 'portcullis_calls_total{outcome="success",tenant="a"} 1.0\n'
    assert "".join(alone.lines(of_a)) == ""
