"""Server metrics in the Prometheus text format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Telemetry:
    """Metrics of one server."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._all = CollectorRegistry()
        self._of: dict[tuple[str, int], tuple[Counter, Histogram]] = {}  # label lookups cost more than counting
        self.requests = Counter("jaxrec_requests", "Requests answered.", ["path", "status"], registry=self._all)
        self.seconds = Histogram(
            "jaxrec_request_seconds", "Seconds from request to response.", ["path"], buckets=SECONDS, registry=self._all
        )
        self.batch_rows = Histogram("jaxrec_batch_rows", "Requests per batch.", buckets=ROWS, registry=self._all)

    def gauge(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is read on every scrape."""
        Gauge(name, description, registry=self._all).set_function(value)

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Record one request."""
        if (path, status) not in self._of:
            self._of[path, status] = self.requests.labels(path, status), self.seconds.labels(path)
        requests, took = self._of[path, status]
        requests.inc()
        took.observe(seconds)

    def text(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._all)
