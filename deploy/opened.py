"""Workers that are there: what a driver may ask of a cluster of any kind."""

from __future__ import annotations

from distributed import Client


class OpenCluster:
    """Dask workers on some machine, as `open_cluster` gives them."""

    def __init__(self, client: Client, num_workers: int, dashboard_url: str | None = None) -> None:
        self.client = client
        self.num_workers = num_workers
        """How many are wanted."""
        self.dashboard_url = dashboard_url

    def num_live(self) -> int:
        """Workers that the scheduler knows now; 0 if it does not answer."""
        try:
            return len(self.client.scheduler_info(n_workers=-1)["workers"])
        except (OSError, ValueError, TimeoutError):
            return 0

    def replace_lost(self) -> list[str]:
        """Bring back workers that Dask does not by itself; says what was done, a line each.

        Nannies restart a worker that dies, so only kinds whose nannies can be lost do more.
        """
        return []

    def waiting_for(self) -> str | None:
        """What the cluster waits for that is nobody's fault, such as a job queue."""
        return None

    def describe(self) -> str:
        """What there is, for a diagnosis."""
        return f"{self.num_live()} of {self.num_workers} workers are there"
