"""Batches in the order of the steps, drawn ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice

import numpy as np

from xcloudfree.train.samples import Batch, Samples

HELD_OUT = 2**32
"""Steps from here on are those of the validation."""


class Drawn:
    """The batch of each step; what it holds depends on the seed and the step alone."""

    def __init__(
        self,
        samples: Samples,
        size: int,
        seed: int,
        first: int,
        last: int,
        threads: int = 0,
        rank: int | None = None,
    ) -> None:
        self.samples, self.size, self.seed = samples, size, seed
        self.first, self.last, self.threads, self.rank = first, last, threads, rank

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        steps = range(self.first, self.last)
        if not self.threads:
            yield from ((step, self.draw(step)) for step in steps)
            return
        with ThreadPoolExecutor(self.threads, "samples") as pool:
            ahead: deque[tuple[int, Future[Batch]]] = deque()
            try:
                for step in steps:
                    ahead.append((step, pool.submit(self.draw, step)))
                    if len(ahead) > self.threads:
                        done, future = ahead.popleft()
                        yield done, future.result()
                while ahead:
                    done, future = ahead.popleft()
                    yield done, future.result()
            finally:
                for _, future in ahead:
                    future.cancel()

    def draw(self, step: int) -> Batch:
        """The batch of one step."""
        key = [self.seed, step] if self.rank is None else [self.seed, step, self.rank]
        return self.samples.draw(np.random.default_rng(key), self.size)


def held_out(samples: Samples, size: int, seed: int, batches: int) -> list[Batch]:
    """Batches for validation: the same ones whenever they are asked for."""
    drawn = Drawn(samples, size, seed, 0, 0)
    return [drawn.draw(step) for step in islice(count(HELD_OUT), batches)]
