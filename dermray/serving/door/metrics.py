"""What a dashboard shows of the ingress, beside Ray's own metrics, on Ray's metrics port (Prometheus)."""

from ray.util.metrics import Counter, Gauge, Histogram

SECONDS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60]


class Metrics:
    """Of one ingress replica; Ray adds the replica's tags."""

    def __init__(self) -> None:
        self._seconds = Histogram(
            "dermray_request_seconds", "From a request's headers to the end of its answer", SECONDS, ("route", "status")
        )
        self._rejected = Counter("dermray_requests_rejected", "Answers of 400 and above, by reason", ("reason",))
        self._waiting = Gauge("dermray_requests_waiting", "Requests that wait for a slot")
        self._at_work = Gauge("dermray_requests_at_work", "Requests that hold a slot")
        self._body_bytes = Gauge("dermray_body_bytes_held", "Bytes of requests' bodies in memory")

    def request(self, route: str, status: int, seconds: float, rejected: str | None) -> None:
        """A request that ended; seconds count where it was answered by an endpoint, too."""
        self._seconds.observe(seconds, {"route": route, "status": str(status)})
        if status >= 400:
            self._rejected.inc(1, {"reason": rejected or str(status)})

    def state(self, waiting: int, at_work: int, body_bytes: int) -> None:
        """What is held now."""
        self._waiting.set(waiting)
        self._at_work.set(at_work)
        self._body_bytes.set(body_bytes)
