"""Prometheus metrics. Labels are codes and route templates, and never values of a request."""

from __future__ import annotations

import collections
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from vault.errors import Refusal

REQUESTS = Counter("cdv_requests_total", "Requests by route and status.", ["route", "status"], registry=None)
LATENCY = Histogram(
    "cdv_request_seconds",
    "Seconds from request to answer, by route.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=None,
)
READS = Counter("cdv_fields_read_total", "Field values shown.", registry=None)
DENIALS = Counter("cdv_fields_denied_total", "Fields not shown, by code.", ["code"], registry=None)
PROBLEMS = Counter("cdv_problems_total", "Requests refused as a whole, by code.", ["code"], registry=None)

HEALTH = {
    "cdv_jobs": ("Jobs that are not done.", "state"),
    "cdv_overdue": ("What should have been done by now.", "what"),
    "cdv_seconds_since": ("Seconds since something was last done.", "what"),
    "cdv_seconds_until": ("Seconds until something ends.", "what"),
}
"""Metrics about the state of the vault as a whole: their texts and their label."""

_ALL = (REQUESTS, LATENCY, READS, DENIALS, PROBLEMS)


def count_request(route: str, status: int, seconds: float, code: str | None) -> None:
    """Count one request."""
    requests, latency = _children(route, status)
    requests.inc()
    latency.observe(seconds)
    if code is not None:
        PROBLEMS.labels(code).inc()


def count_shown(requested: int, denied: Iterable[Mapping[str, Refusal]]) -> None:
    """Count the values and refusals in an answer, from the number of requested values."""
    codes = collections.Counter(refusal.code for refusals in denied for refusal in refusals.values())
    READS.inc(max(0, requested - codes.total()))  # a negative number would raise after the read is recorded
    for code, count in codes.items():
        DENIALS.labels(code).inc(count)


def count_denied(denied: Mapping[str, Refusal]) -> None:
    """Count the refusals of a request that is denied as a whole."""
    for refusal in denied.values():
        DENIALS.labels(refusal.code).inc()


@lru_cache(maxsize=1024)
def _children(route: str, status: int) -> tuple[Counter, Histogram]:
    """Cache pairs of label children: the library's own look-up takes 1 µs each time."""
    return REQUESTS.labels(route, str(status)), LATENCY.labels(route)


class Sizes:
    """Collects the sizes of the caches, and the state of periodic work, on each scrape."""

    def __init__(
        self,
        read: Mapping[str, Callable[[], Mapping[str, float]]],
        periodic: Callable[[], Mapping[str, Mapping[str, float]]],
        health: Callable[[], Mapping[str, Mapping[str, float]]] = dict,
    ) -> None:
        self._read = read
        self._periodic = periodic
        self._health = health

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the current figures."""
        family = GaugeMetricFamily("cdv_cache", "Caches: entries, hits and misses.", labels=["cache", "what"])
        for cache, stats in self._read.items():
            for figure, value in stats().items():
                family.add_metric([cache, figure], value)
        yield family
        family = GaugeMetricFamily("cdv_periodic", "Work in the background: failures, age.", labels=["work", "what"])
        for work, figures in self._periodic().items():
            for figure, value in figures.items():
                family.add_metric([work, figure], value)
        yield family
        family = GaugeMetricFamily("cdv_build_info", "The version of the program.", labels=["version"])
        family.add_metric([version("customer-data-vault")], 1)
        yield family
        health = self._health()
        for name, (text, label) in HEALTH.items():
            family = GaugeMetricFamily(name, text, labels=[label])
            for what, value in health.get(name, {}).items():
                family.add_metric([what], value)
            yield family


def exposition(sizes: Sizes, *, shared: str | None) -> bytes:
    """Return all metrics in the text format of Prometheus.

    Args:
        sizes: the caches of this process.
        shared: the folder with the counters of several workers; None for one process.
    """
    registry = CollectorRegistry()
    if shared is None:
        for metric in _ALL:
            registry.register(metric)
    else:
        multiprocess.MultiProcessCollector(registry, path=shared)  # type: ignore[no-untyped-call]
    registry.register(sizes)
    return generate_latest(registry)
