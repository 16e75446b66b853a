"""The node's HTTP application: webhooks, whether it lives, whether it is ready, its figures for Prometheus, and the operators' API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ropewalk.sources.urls import PATH
from ropewalk.web.webhooks import Receive, Scope, Send, Webhooks

App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""

Figures = dict[str, tuple[str, float | dict[str, int]]]
"""By name: what a figure means, and its value now, or its values by reason. Names that end with `_total` only rise."""


def make_app(
    is_ready: Callable[[], bool],
    figures: Callable[[], Awaitable[Figures]],
    webhooks: Webhooks,
    api: BaseRoute | None = None,
) -> App:
    """Return the application of one node.

    Args:
        is_ready: whether the node takes work now.
        figures: its metrics, read for each scrape.
        webhooks: what answers below `/webhooks/`, with nothing in between.
        api: the operators' API, if there is to be one.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        return PlainTextResponse("ready\n") if is_ready() else PlainTextResponse("not ready\n", status_code=503)

    async def metrics(_: Request) -> Response:
        return Response(exposition(await figures()), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes: list[BaseRoute] = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    others = Starlette(routes=routes if api is None else [*routes, api])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_webhook = scope["type"] == "http" and scope["path"].startswith(PATH)
        await (webhooks if is_webhook else others)(scope, receive, send)

    return app


def exposition(figures: Figures) -> bytes:
    """Return figures in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Fixed([_metric(name, text, value) for name, (text, value) in figures.items()]))
    return generate_latest(registry)


def _metric(name: str, text: str, value: float | dict[str, int]) -> Metric:
    if isinstance(value, dict):
        by_reason = CounterMetricFamily(name, text, labels=["reason"])
        for reason, count in sorted(value.items()):
            by_reason.add_metric([reason], count)
        return by_reason
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
