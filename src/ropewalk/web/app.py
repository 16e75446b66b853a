"""The node's HTTP application: whether it lives, whether it is ready, and its figures for Prometheus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

Figures = dict[str, tuple[str, float]]
"""By name: what a figure means, and its value now. Names that end with `_total` only rise."""


def make_app(is_ready: Callable[[], bool], figures: Callable[[], Awaitable[Figures]]) -> Starlette:
    """Return the application of one node.

    Args:
        is_ready: whether the node takes work now.
        figures: its metrics, read for each scrape.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        return PlainTextResponse("ready\n") if is_ready() else PlainTextResponse("not ready\n", status_code=503)

    async def metrics(_: Request) -> Response:
        return Response(exposition(await figures()), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


def exposition(figures: Figures) -> bytes:
    """Return figures in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Fixed([_metric(name, text, value) for name, (text, value) in figures.items()]))
    return generate_latest(registry)


def _metric(name: str, text: str, value: float) -> Metric:
    if name.endswith("_total"):
        return CounterMetricFamily(name, text, value=value)
    return GaugeMetricFamily(name, text, value=value)


class _Fixed:
    """A collector of metrics that are known already."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        """Return the metrics."""
        return self._metrics
