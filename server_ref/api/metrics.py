"""`/metrics`: the run's figures as they are now, in Prometheus' text format."""

from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from edge_sdk.values.operating import Costs
from edge_sdk.values.summaries import RunSummary
from server_ref.api.exchange import Exchange
from server_ref.coordinator import Coordinator

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class _Ready(Collector):
    """Metrics that were made before."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


async def metrics(exchange: Exchange) -> web.StreamResponse:
    """`GET /metrics`: figures in Prometheus' text format."""
    exchange.require_operator()
    summary = await exchange.coordinator.summary()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Ready([*_of_run(summary), *_of_books(exchange.coordinator)]))
    body = generate_latest(registry) + generate_latest(exchange.meter.registry)
    return web.Response(body=body, headers={"Content-Type": TEXT})


def _of_run(run: RunSummary) -> Iterator[Metric]:
    yield _gauge("edge_sdk_model_version", "Newest published version", run.model_version)
    yield _gauge("edge_sdk_versions_wanted", "Versions after which it ends", run.rounds_wanted)
    yield _gauge("edge_sdk_devices", "Enrolled devices", run.devices)
    state = GaugeMetricFamily("edge_sdk_run_state", "1 for the run's state", labels=["state"])
    state.add_metric([run.state], 1)
    yield state
    rounds = CounterMetricFamily("edge_sdk_rounds", "Rounds that ended", labels=["state"])
    for ended in ("published", "abandoned"):
        rounds.add_metric([ended], sum(one.state == ended for one in run.rounds))
    yield rounds
    updates = CounterMetricFamily("edge_sdk_updates", "Updates counted", labels=["kind"])
    updates.add_metric(["whole"], sum(one.committed for one in run.rounds))
    updates.add_metric(["partial"], sum(one.partial for one in run.rounds))
    yield updates
    moved = CounterMetricFamily("edge_sdk_bytes", "HTTP body bytes of devices", labels=["way"])
    moved.add_metric(["up"], sum(one.bytes_up for one in run.rounds))
    moved.add_metric(["down"], sum(one.bytes_down for one in run.rounds))
    yield moved
    yield from _quality(run)


def _quality(run: RunSummary) -> Iterator[Metric]:
    """Of the newest version that was measured."""
    measured = [one for one in run.rounds if one.loss is not None]
    if measured:
        yield _gauge("edge_sdk_loss", "Of the newest measured version", measured[-1].loss or 0.0)
        if measured[-1].accuracy is not None:
            text = "Of the newest measured version"
            yield _gauge("edge_sdk_accuracy", text, measured[-1].accuracy)


def _of_books(coordinator: Coordinator) -> Iterator[Metric]:
    energy = CounterMetricFamily("edge_sdk_energy_joules", "As reported", labels=["phase"])
    for phase, joules in sorted(coordinator.ledger.energy_j().items()):
        energy.add_metric([phase], joules)
    yield energy
    yield _times(coordinator.desk.costs)
    refusals = CounterMetricFamily("edge_sdk_refusals", "Since the start", labels=["reason"])
    for reason, count in sorted(coordinator.news.refusals.items()):
        refusals.add_metric([reason], count)
    yield refusals


def _times(costs: Costs) -> Metric:
    bounds = [*map(str, costs.update_s_bounds), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, costs.update_s_counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    seconds = sum(p.seconds for one in costs.rounds for p in one.phases if p.phase != "wait")
    text = "Work of devices on one update, by their own clocks"
    return HistogramMetricFamily(
        "edge_sdk_update_seconds", text, buckets=buckets, sum_value=seconds
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
