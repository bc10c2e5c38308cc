"""What several files of this folder share."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes import cluster


@pytest.fixture(scope="session")
def workers() -> Iterator[Any]:
    """A cluster of two processes, which takes seconds to start."""
    with cluster() as started:
        from distributed import Client

        with Client(started) as client:
            client.wait_for_workers(2, timeout=60)
        yield started
