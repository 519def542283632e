"""What is counted of requests while they are answered, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Meter:
    """Counts of one server; nothing is kept in the library's global registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "edge_sdk_requests",
            "Answered requests by route and status",
            ["route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "edge_sdk_request_seconds",
            "From a request's head to the end of its answer; long polls and events are left out",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def count(self, route: str, status: int, seconds: float | None) -> None:
        """Count one answered request; without its time where waiting was its purpose."""
        self._requests.labels(route, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(route).observe(seconds)
