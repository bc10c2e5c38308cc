"""Windows that are joined and decoded only where they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.windows import Area, pieces

WHOLE: Area = (slice(None), slice(None))


class Mosaic:
    """Neighbouring arrays (..., y, x) in rows, read like the one array that they form.

    Several such arrays are read as one with an axis for bands before rows and columns.

    >>> left, right = np.zeros((5, 4, 2)), np.ones((5, 4, 3))
    >>> one, two = Mosaic([[[left, right]]]), Mosaic([[[left, right]], [[right, left]]])
    >>> one.shape, two.shape, two[0, ..., slice(1), slice(1, 3)].tolist()
    ((5, 4, 5), (5, 2, 4, 5), [[[0.0, 1.0]], [[1.0, 1.0]]])
    """

    def __init__(self, arrays: Sequence[Sequence[Sequence[NDArray[Any]]]]) -> None:
        self._arrays, rows = arrays, arrays[0]
        self._ends = [line[0].shape[-2] for line in rows], [part.shape[-1] for part in rows[0]]
        bands = (len(arrays),) if len(arrays) > 1 else ()
        self.shape = (*rows[0][0].shape[:-2], *bands, *map(sum, self._ends))
        self.ndim = len(self.shape)

    def each(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Mosaic:
        """The same of arrays that a function changes along the leading dimensions."""
        return Mosaic([[[function(p) for p in line] for line in rows] for rows in self._arrays])

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        *head, y, x = key
        areas = (s.indices(n) for s, n in zip((y, x), self.shape[-2:], strict=True))
        rows, columns = (pieces(a, b, e) for (a, b, _), e in zip(areas, self._ends, strict=True))
        found = [
            joined([[part[i][j][*head, b, c] for j, c in columns] for i, b in rows])
            for part in self._arrays
        ]
        return found[0] if len(found) == 1 else np.stack(found, axis=-3)


class Encoded:
    """Stored numbers (time, band, y, x) that are decoded one image at a time."""

    def __init__(
        self,
        stored: Mosaic,
        decode: Callable[[NDArray[Any]], NDArray[np.float32]],
        bands: int,
        area: Area = WHOLE,
    ) -> None:
        ends = (s.indices(n)[:2] for s, n in zip(area, stored.shape[-2:], strict=True))
        self._area: Area = tuple(slice(*e) for e in ends)  # type: ignore[assignment]
        self._stored, self._decode = stored, decode
        self.shape = (stored.shape[0], bands, *(s.stop - s.start for s in self._area))

    def cut(self, area: Area) -> Encoded:
        """Some rows and columns, still encoded."""
        starts = (s.start for s in self._area)
        inside = tuple(slice(a + s.start, a + s.stop) for a, s in zip(starts, area, strict=True))
        return Encoded(self._stored, self._decode, self.shape[1], inside)  # type: ignore[arg-type]

    def __getitem__(self, date: int) -> NDArray[np.float32]:
        return self._decode(self._stored[date, ..., *self._area])

    def decoded(self) -> NDArray[np.float32]:
        """All physical values."""
        out = np.empty(self.shape, np.float32)
        for date, image in enumerate(out):
            image[:] = self[date]
        return out


def joined(rows: Sequence[Sequence[NDArray[Any]]]) -> NDArray[Any]:
    """Neighbouring arrays (..., y, x) as one; a view if there is one."""
    if len(rows) == 1 and len(rows[0]) == 1:
        return np.asarray(rows[0][0])
    out = np.empty(
        (*rows[0][0].shape[:-2], sum(line[0].shape[-2] for line in rows),
         sum(part.shape[-1] for part in rows[0])), rows[0][0].dtype,
    )  # fmt: skip
    top = 0
    for line in rows:
        left = 0
        for part in line:
            height, width = part.shape[-2:]
            out[..., top : top + height, left : left + width] = part
            left += width
        top += height
    return out
