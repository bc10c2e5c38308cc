"""Where to read so that a block comes out right: integers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Area = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Span:
    """One block along one axis: what is written, and what is read for it."""

    start: int  # pixels that the block writes, half open
    stop: int  # pixels that the block writes, half open
    read_start: int  # pixels that it reads; `read_start` lies on the stride grid of the scene
    read_stop: int  # pixels that it reads; `read_start` lies on the stride grid of the scene

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
    """Blocks that are read with pixels around them, on a grid."""

    pixels: int = 0  # pixels beyond a grid-aligned block that influence it
    stride: int = 1  # period of the grid

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """One span per block, see :func:`spans`."""
        return spans(chunks, self.pixels, self.stride)


ALONE = Halo()
"""Blocks that need nothing around them."""


def span(start: int, stop: int, size: int, halo: int, stride: int = 1) -> Span:
    """Plan the reading of one block."""
    margin = -(-halo // stride) * stride
    low = start // stride * stride - margin
    high = -(-stop // stride) * stride + margin
    return Span(start, stop, max(low, 0), min(high, size))


def spans(chunks: Sequence[int], halo: int, stride: int = 1) -> list[Span]:
    """Plan all blocks of an axis."""
    size, start, out = sum(chunks), 0, []
    for length in chunks:
        out.append(span(start, start + length, size, halo, stride))
        start += length
    return out


def pieces(start: int, stop: int, chunks: Sequence[int]) -> list[tuple[int, slice]]:
    """Chunks that hold an interval, and which part of each."""
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
    """A part of an image with the pixels around it that there are, and the part in that."""
    starts = [max(0, s.start - pixels) for s in core]
    wide = tuple(
        slice(a, min(n, s.stop + pixels)) for a, s, n in zip(starts, core, shape, strict=True)
    )
    inner = tuple(slice(s.start - a, s.stop - a) for s, a in zip(core, starts, strict=True))
    return wide, inner  # type: ignore[return-value]
