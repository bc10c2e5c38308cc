"""In which order the blocks of a scene are written: narrow strips, so that neighbours share."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

import xarray as xr

from xcloudfree.core.recognise import SPATIAL

BAND_DIMS: Final = ("band", "bands", "polarisation", "polarization", "pol")
"""Dimensions that a cell always spans: bands share their input."""

Index = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """Blocks of a Dataset along the dimensions that are cut.

    Parameters
    ----------
    dims : tuple of hashable
        Names; the last two are rows and columns where the data has them.
    sizes, steps : tuple of int
        Length of each dimension and of its blocks.
    """

    dims: tuple[Hashable, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each dimension."""
        return tuple(-(-n // step) for n, step in zip(self.sizes, self.steps, strict=True))

    def key(self, index: Index) -> str:
        """Name of a cell by what it covers.

        Examples
        --------
        >>> Grid(("time", "y"), (2, 40), (1, 16)).key((1, 2))
        'time=1:2,y=32:40'
        """
        parts = zip(self.dims, self.sizes, self.steps, index, strict=True)
        return ",".join(f"{d}={i * s}:{min((i + 1) * s, n)}" for d, n, s, i in parts)

    @property
    def lead(self) -> int:
        """Number of dimensions before rows and columns."""
        return max(0, len(self._padded[0]) - 2)

    @property
    def places(self) -> tuple[int, int]:
        """Number of rows and of columns of cells."""
        rows, columns = self._padded[0][-2:]
        return rows, columns

    def cell(self, head: Index, row: int, column: int) -> Index:
        """Index of a cell from that along the leading dimensions, its row and its column."""
        return (*head, row, column)[self._padded[1]]

    def strips(
        self, held: int, places: int, together: Collection[int] = ()
    ) -> Iterator[tuple[Index, list[list[Index]]]]:
        """All cells in the order of writing, in groups for one graph each; see :func:`strips`.

        Parameters
        ----------
        held : int
            Columns that may be in memory.
        places : int
            Places in a group.
        together : collection of int
            Leading dimensions whose cells belong to one place.

        Yields
        ------
        tuple of (tuple of int, list of list of tuple of int)
            Index along the leading dimensions, 0 along those of `together`; and for each place its
            cells.

        Examples
        --------
        >>> grid = Grid(("time", "y", "x"), (2, 16, 32), (1, 16, 16))
        >>> for head, group in grid.strips(4, 9, together=[0]): print(head, group)
        (0,) [[(0, 0, 0), (1, 0, 0)], [(0, 0, 1), (1, 0, 1)]]
        """
        lead = self.counts[: self.lead]
        for head in product(*(range(1 if k in together else n) for k, n in enumerate(lead))):
            inner = [range(n) if k in together else [head[k]] for k, n in enumerate(lead)]
            for group in strips(self.places, held, places):
                yield head, [[self.cell(h, i, j) for h in product(*inner)] for i, j in group]

    @property
    def _padded(self) -> tuple[tuple[int, ...], slice]:
        """Counts with rows and columns, and which of them are dimensions of the data."""
        columns = bool(self.dims) and self.dims[-1] in {x for _, x in SPATIAL}
        counts = self.counts if columns else (*self.counts, 1)
        before = max(0, 2 - len(counts))
        return (1,) * before + counts, slice(before, before + len(self.counts))


def grid_of(ds: xr.Dataset) -> Grid:
    """Grid of the lazy variables, which have blocks of one size per dimension.

    Parameters
    ----------
    ds : xarray.Dataset
        From :func:`xcloudfree.io.storable.regular_chunks`.

    Returns
    -------
    Grid

    Examples
    --------
    >>> import numpy as np
    >>> ds = xr.Dataset({"a": (("y", "time", "x"), np.zeros((4, 2, 6)))}).chunk(time=1, y=3, x=3)
    >>> grid_of(ds)
    Grid(dims=('time', 'y', 'x'), sizes=(2, 4, 6), steps=(1, 3, 3))
    """
    steps: dict[Hashable, int] = {}
    for variable in ds.variables.values():
        if variable.chunks is not None:
            for dim, chunks in zip(variable.dims, variable.chunks, strict=True):
                if dim not in BAND_DIMS:
                    steps[dim] = max(1, *chunks)
    last = [dim for pair in zip(*SPATIAL, strict=True) for dim in pair]  # rows, then columns
    order = sorted(steps, key=lambda d: last.index(str(d)) if d in last else -1)
    return Grid(tuple(order), tuple(ds.sizes[d] for d in order), tuple(steps[d] for d in order))


def strips(counts: Index, held: int, cells: int) -> Iterator[list[Index]]:
    """Cut a grid of blocks into strips of columns, and long strips into groups of rows.

    Going down a strip row by row, what a block reads of its neighbours is still in memory; only
    the columns beside a strip are read again for the next one.

    Parameters
    ----------
    counts : tuple of int
        Number of blocks along (*lead, rows, columns).
    held : int
        Columns that may be in memory, see :func:`widths`.
    cells : int
        Blocks that a group may have; a row of a strip is never cut.

    Yields
    ------
    list of tuple
        Indices (*lead, row, column).

    Examples
    --------
    >>> for group in strips((2, 5), held=4, cells=3): print(group)
    [(0, 0), (0, 1), (0, 2)]
    [(1, 0), (1, 1), (1, 2)]
    [(0, 3), (0, 4)]
    [(1, 3), (1, 4)]
    """
    *lead, rows, columns = counts
    for head in product(*map(range, lead)):
        left = 0
        for width in widths(columns, held):
            tall = max(1, cells // width)
            for top in range(0, rows, tall):
                yield [
                    (*head, i, j)
                    for i in range(top, min(top + tall, rows))
                    for j in range(left, left + width)
                ]
            left += width


def widths(columns: int, held: int) -> list[int]:
    """Widths of strips of which each, with the columns beside it, is about as wide.

    Parameters
    ----------
    columns : int
        Blocks of the scene in a row.
    held : int
        Width of the widest strip with its neighbours on both sides, at least 3.

    Returns
    -------
    list of int

    Examples
    --------
    >>> widths(4, held=4), widths(8, held=4), widths(11, held=4)
    ([4], [3, 2, 3], [3, 2, 2, 2, 2])
    """
    if columns <= held:
        return [columns] if columns else []
    held = max(held, 3)
    count = max(2, 2 + -(-(columns - 2 * (held - 1)) // (held - 2)))
    total = columns + 2 * (count - 1)
    shares = [total // count + (n < total % count) for n in range(count)]
    return [share - (1 if n in (0, count - 1) else 2) for n, share in enumerate(shares)]


def cell_bytes(ds: xr.Dataset, grid: Grid) -> int:
    """Bytes of a whole cell of all lazy variables.

    Examples
    --------
    >>> import numpy as np
    >>> ds = xr.Dataset({"a": (("band", "y"), np.zeros((3, 8), "u1"))}).chunk(y=2)
    >>> cell_bytes(ds, grid_of(ds))
    6
    """
    steps: Mapping[Hashable, int] = dict(zip(grid.dims, grid.steps, strict=True))
    total = 0
    for variable in ds.variables.values():
        if variable.chunks is not None:
            size = variable.dtype.itemsize
            for dim, length in zip(variable.dims, variable.shape, strict=True):
                size *= min(steps.get(dim, length), length)
            total += size
    return total
