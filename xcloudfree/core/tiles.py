"""Fixed tiles for networks that read their whole input: where they lie, and how they are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.windows import Span


@dataclass(frozen=True)
class Tiles:
    """Tiles that lie on the scene, wherever its blocks end.

    They start every ``side - overlap`` pixels; the last one ends with the scene. Since a tile holds
    the same pixels whichever block asks for it, the result does not depend on the blocks.

    Parameters
    ----------
    side : int
        Side of a tile in pixels.
    overlap : int
        Pixels that neighbours share, at most half of `side`.
    margin : int
        Pixels beyond a block for which the tiles are needed too.
    """

    side: int
    overlap: int
    margin: int = 0

    def origins(self, size: int) -> list[int]:
        """First pixel of each tile along an axis.

        Parameters
        ----------
        size : int
            Length of the axis: of a scene, or of a window of :meth:`spans`.

        Returns
        -------
        list of int

        Examples
        --------
        >>> Tiles(256, 64).origins(700), Tiles(256, 64).origins(100)
        ([0, 192, 384, 444], [0])
        """
        last = max(0, size - self.side)
        return [*range(0, last, self.side - self.overlap), last]

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """Windows that hold every tile that a block and its margin touch.

        Parameters
        ----------
        chunks : sequence of int
            Lengths of the blocks of a scene.

        Returns
        -------
        list of Span

        Examples
        --------
        >>> Tiles(256, 64).spans((200, 500))
        [Span(start=0, stop=200, read_start=0, read_stop=448), \
Span(start=200, stop=700, read_start=0, read_stop=700)]
        """
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
        """How much a tile counts at each of its pixels, against its neighbours.

        Parameters
        ----------
        length : int
            Pixels of the tile along the axis.

        Returns
        -------
        ndarray of float32
            Rising over the overlap, 1 inside, falling over the overlap.

        Examples
        --------
        >>> Tiles(8, 3).weights(8).tolist()
        [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        place = np.arange(1, length + 1, dtype=np.float32)
        ramp = np.minimum(place, place[::-1]) / np.float32(self.overlap + 1)
        return np.asarray(np.minimum(ramp, 1), np.float32)
