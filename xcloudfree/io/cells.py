"""The cells of a scene and the order in which they are written: strips, to share neighbours."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

import xarray as xr

from xcloudfree.core.recognise import SPATIAL
from xcloudfree.core.scene import BAND_DIMS

Index = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """Blocks of a Dataset along the chunked dimensions; the last are rows and columns."""

    dims: tuple[Hashable, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]  # length of a block

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each dimension."""
        return tuple(-(-n // step) for n, step in zip(self.sizes, self.steps, strict=True))

    def key(self, index: Index) -> str:
        """Name of a cell by its extent.

        >>> Grid(("time", "y"), (2, 40), (1, 16)).key((1, 2))
        'time=1:2,y=32:40'
        """
        parts = zip(self.dims, self.sizes, self.steps, index, strict=True)
        return ",".join(f"{d}={i * s}:{min((i + 1) * s, n)}" for d, n, s, i in parts)

    @property
    def dates(self) -> tuple[int, ...]:
        """The time dimension, if it is chunked and comes before rows and columns."""
        return tuple(axis for axis, dim in enumerate(self.dims[: self._lead]) if dim == "time")

    @property
    def places(self) -> tuple[int, int]:
        """Number of rows and of columns of cells; 1 if the data has none."""
        rows, columns = self._spatial
        return self.counts[self._lead] if rows else 1, self.counts[-1] if columns else 1

    def heads(self, together: Collection[int] = ()) -> Iterator[Index]:
        """Indices along the dimensions before rows and columns, 0 along those of `together`."""
        lead = self.counts[: self._lead]
        yield from product(*(range(1 if k in together else n) for k, n in enumerate(lead)))

    def cells(self, head: Index, place: Index, together: Collection[int] = ()) -> list[Index]:
        """Cells of a place (row, column): several if its dates are written together.

        >>> grid = Grid(("time", "y", "x"), (2, 16, 32), (1, 16, 16))
        >>> grid.cells((0,), (0, 1), together=[0])
        [(0, 0, 1), (1, 0, 1)]
        """
        ranges = [range(self.counts[k]) if k in together else [n] for k, n in enumerate(head)]
        inner = tuple(n for n, there in zip(place, self._spatial, strict=True) if there)
        return [(*index, *inner) for index in product(*ranges)]

    @property
    def _spatial(self) -> tuple[bool, bool]:
        """Whether there are rows and columns; the last dimension that is no column is rows."""
        columns = bool(self.dims) and self.dims[-1] in {x for _, x in SPATIAL}
        return len(self.dims) > columns, columns

    @property
    def _lead(self) -> int:
        """Number of dimensions before rows and columns."""
        return len(self.dims) - sum(self._spatial)


@dataclass(frozen=True)
class Piece:
    """Position of a lazy variable on the grid of cells."""

    name: str
    axes: Index  # index in the grid of each of its dimensions, -1 if a cell spans it
    shape: Index
    chunks: Index  # size of its blocks
    itemsize: int

    @property
    def nbytes(self) -> int:
        """Bytes of the variable in a whole cell."""
        sizes = zip(self.axes, self.shape, self.chunks, strict=True)
        return self.itemsize * prod(n if axis < 0 else min(c, n) for axis, n, c in sizes)

    def blocks(self, index: Index) -> list[Index]:
        """Blocks of the variable in a cell; one without a dimension belongs to its first block."""
        if any(i for axis, i in enumerate(index) if axis not in self.axes):
            return []
        ranges = [
            range(-(-n // c)) if axis < 0 else (index[axis],)
            for axis, n, c in zip(self.axes, self.shape, self.chunks, strict=True)
        ]
        return list(product(*ranges))

    def region(self, block: Index) -> tuple[slice, ...]:
        """Extent of a block."""
        return tuple(
            slice(i * c, min((i + 1) * c, n))
            for i, c, n in zip(block, self.chunks, self.shape, strict=True)
        )


def pieces(ds: xr.Dataset, grid: Grid) -> tuple[Piece, ...]:
    """The lazy variables of a Dataset, which have blocks of one size per dimension."""
    return tuple(
        Piece(
            str(name),
            tuple(grid.dims.index(d) if d in grid.dims else -1 for d in variable.dims),
            variable.shape,
            tuple(max(1, *c) for c in variable.chunks),
            variable.dtype.itemsize,
        )
        for name, variable in ds.variables.items()
        if variable.chunks is not None
    )


def grid_of(ds: xr.Dataset) -> Grid:
    """Grid of the lazy variables, which have blocks of one size per dimension.

    >>> import numpy as np
    >>> ds = xr.Dataset({"a": (("y", "time", "x"), np.zeros((4, 2, 6)))}).chunk(time=1, y=3, x=3)
    >>> grid_of(ds)
    Grid(dims=('time', 'y', 'x'), sizes=(2, 4, 6), steps=(1, 3, 3))
    """
    steps: dict[Hashable, int] = {}
    for variable in ds.variables.values():
        if variable.chunks is not None:
            for dim, chunks in zip(variable.dims, variable.chunks, strict=True):
                if dim not in BAND_DIMS:  # a cell spans all bands, which share their input
                    steps[dim] = max(1, *chunks)
    last = [dim for pair in zip(*SPATIAL, strict=True) for dim in pair]  # rows, then columns
    order = sorted(steps, key=lambda d: last.index(str(d)) if d in last else -1)
    return Grid(tuple(order), tuple(ds.sizes[d] for d in order), tuple(steps[d] for d in order))


def strips(counts: tuple[int, int], held: int, cells: int) -> Iterator[list[Index]]:
    """Divide rows and columns of blocks into strips of columns, and these into groups of rows.

    When a strip is written row by row, the neighbours that a block reads are still in memory; only
    the columns next to a strip are read again for the next one. `held` columns may be in memory,
    see :func:`widths`, and a group has at most `cells` blocks, but always whole rows.

    >>> for group in strips((2, 5), held=4, cells=3): print(group)
    [(0, 0), (0, 1)]
    [(1, 0), (1, 1)]
    [(0, 2), (0, 3), (0, 4)]
    [(1, 2), (1, 3), (1, 4)]
    """
    rows, columns = counts
    left = 0
    for width in widths(columns, held):
        tall = max(1, cells // width)
        for top in range(0, rows, tall):
            bottom = min(top + tall, rows)
            yield list(product(range(top, bottom), range(left, left + width)))
        left += width


def widths(columns: int, held: int) -> list[int]:
    """Widths of strips such that each, with the columns next to it, is at most `held` wide.

    >>> widths(4, held=4), widths(8, held=4), widths(11, held=4)
    ([4], [3, 2, 3], [2, 2, 2, 2, 3])
    """
    if columns <= held:
        return [columns] if columns else []
    inner = columns - 2  # the first and the last strip have one column more, and one side
    count = -(-inner // (max(held, 3) - 2))
    edges = [0, *(1 + n * inner // count for n in range(1, count)), columns]
    return [b - a for a, b in pairwise(edges)]
