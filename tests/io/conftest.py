"""What several files of this folder share."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def workers() -> Iterator[Any]:
    """A cluster of two processes, which takes seconds to start."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as started:
        with distributed.Client(started) as client:
            client.wait_for_workers(2, timeout=60)
        yield started
