"""Where to read so that a block comes out right: integers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Area = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Span:
    """One block along one axis: what is written, and what is read for it.

    Parameters
    ----------
    start, stop : int
        Pixels that the block writes, half open.
    read_start, read_stop : int
        Pixels that it reads; `read_start` lies on the stride grid of the scene.
    """

    start: int
    stop: int
    read_start: int
    read_stop: int

    @property
    def core(self) -> slice:
        """The written pixels inside what was read."""
        return slice(self.start - self.read_start, self.stop - self.read_start)


class Plan(Protocol):
    """Anything that says what to read for each block of an axis."""

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """One span per block."""
        ...


@dataclass(frozen=True)
class Halo:
    """Blocks that are read with pixels around them, on a grid.

    Parameters
    ----------
    pixels : int
        Pixels beyond a grid-aligned block that influence it.
    stride : int
        Period of the grid.
    """

    pixels: int = 0
    stride: int = 1

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """One span per block, see :func:`spans`."""
        return spans(chunks, self.pixels, self.stride)


ALONE = Halo()
"""Blocks that need nothing around them."""


def span(start: int, stop: int, size: int, halo: int, stride: int = 1) -> Span:
    """Plan the reading of one block.

    Both ends are first moved out to the stride grid of the scene and then by the halo, also
    rounded up to the grid; the scene's own border ends the window.

    Parameters
    ----------
    start, stop : int
        Pixels that the block writes.
    size : int
        Length of the axis.
    halo : int
        Pixels beyond a grid-aligned block that influence it.
    stride : int
        Period of the grid.

    Returns
    -------
    Span

    Examples
    --------
    >>> span(96, 192, 500, halo=42, stride=16)
    Span(start=96, stop=192, read_start=48, read_stop=240)
    >>> span(0, 173, 500, halo=42, stride=16)
    Span(start=0, stop=173, read_start=0, read_stop=224)
    """
    margin = -(-halo // stride) * stride
    low = start // stride * stride - margin
    high = -(-stop // stride) * stride + margin
    return Span(start, stop, max(low, 0), min(high, size))


def spans(chunks: Sequence[int], halo: int, stride: int = 1) -> list[Span]:
    """Plan all blocks of an axis.

    Parameters
    ----------
    chunks : sequence of int
        Lengths of the blocks.
    halo, stride : int
        See :func:`span`.

    Returns
    -------
    list of Span

    Examples
    --------
    >>> [s.read_stop for s in spans((4, 4, 1), halo=1)]
    [5, 9, 9]
    """
    size, start, out = sum(chunks), 0, []
    for length in chunks:
        out.append(span(start, start + length, size, halo, stride))
        start += length
    return out


def pieces(start: int, stop: int, chunks: Sequence[int]) -> list[tuple[int, slice]]:
    """Chunks that hold an interval, and which part of each.

    Parameters
    ----------
    start, stop : int
        Interval, half open.
    chunks : sequence of int
        Lengths of the chunks.

    Returns
    -------
    list of (int, slice)
        Index of the chunk and the wanted part of it.

    Examples
    --------
    >>> pieces(3, 9, (4, 4, 4))
    [(0, slice(3, 4, None)), (1, slice(0, 4, None)), (2, slice(0, 1, None))]
    """
    out, offset = [], 0
    for index, length in enumerate(chunks):
        low, high = max(start - offset, 0), min(stop - offset, length)
        if low < high:
            out.append((index, slice(low, high)))
        offset += length
        if offset >= stop:
            break
    return out


def widened(core: Area, pixels: int, shape: tuple[int, ...]) -> tuple[Area, Area]:
    """A part of an image with the pixels around it that there are, and the part in that.

    Parameters
    ----------
    core : tuple of slice
        Rows and columns.
    pixels : int
        How many around.
    shape : tuple of int
        Rows and columns of the image.

    Returns
    -------
    tuple of tuple of slice

    Examples
    --------
    >>> widened((slice(1, 4), slice(8, 9)), 2, (10, 10))
    ((slice(0, 6, None), slice(6, 10, None)), (slice(1, 4, None), slice(2, 3, None)))
    """
    starts = [max(0, s.start - pixels) for s in core]
    wide = tuple(
        slice(a, min(n, s.stop + pixels)) for a, s, n in zip(starts, core, shape, strict=True)
    )
    inner = tuple(slice(s.start - a, s.stop - a) for s, a in zip(core, starts, strict=True))
    return wide, inner  # type: ignore[return-value]
