"""Fixed tiles for networks that read their whole input: where they lie, and how they are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.windows import Span


@dataclass(frozen=True)
class Tiles:
    """Tiles that lie on the scene, wherever its blocks end."""

    side: int  # side of a tile in pixels
    overlap: int  # pixels that neighbours share, at most half of `side`
    margin: int = 0  # pixels beyond a block for which the tiles are needed too

    def origins(self, size: int) -> list[int]:
        """First pixel of each tile along an axis."""
        last = max(0, size - self.side)
        return [*range(0, last, self.side - self.overlap), last]

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """Windows that hold every tile that a block and its margin touch."""
        size, start, out = sum(chunks), 0, []
        tiles = [(o, min(o + self.side, size)) for o in self.origins(size)]
        for length in chunks:
            stop = start + length
            low, high = start - self.margin, stop + self.margin
            touched = [t for t in tiles if t[0] < high and t[1] > low]
            out.append(Span(start, stop, touched[0][0], max(t[1] for t in touched)))
            start = stop
        return out

    def weights(self, length: int) -> NDArray[np.float32]:
        """How much a tile counts at each of its pixels, against its neighbours."""
        place = np.arange(1, length + 1, dtype=np.float32)
        ramp = np.minimum(place, place[::-1]) / np.float32(self.overlap + 1)
        return np.asarray(np.minimum(ramp, 1), np.float32)
