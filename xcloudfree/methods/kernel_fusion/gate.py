"""Discard visible pixels that look like cloud or its shadow: what the mask missed, and its rim.

The prior does not use the date itself. The variation of the ground around it is known; pixels
that deviate much more are discarded, together with their surroundings. Shade is weaker than cloud,
but its direction is known: all bands lose a share of their light. A matched filter finds it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

RIM: Final = 3
"""Pixels around hidden ones that are not trusted initially."""

FAR: Final = 30
"""Number of pixels beyond the rim needed to estimate the variation of the ground."""

SOME: Final = 0.1
"""Visible share of a tile without that many pixels beyond the rim, for the simpler test."""

MEDIAN: Final = 2.5
"""Deviations of the prior by which the median band of the ground may be off."""

APART: Final = 1.5
"""Deviations by which it may differ from that of the date, in the simpler test."""

MOST: Final = 0.5
"""Share of such pixels from which none is trusted."""

DISTANCE: Final = 25.0
"""Squared Mahalanobis distance, in medians of it, from which a pixel is discarded."""

RING: Final = 6.0
"""The same for the median of a ring around hidden pixels."""

RINGS: Final = 6
"""Rings, one pixel wide each."""

SHADED: Final = 6.0
"""Deviations towards darkness from which a pixel is discarded. Lower limits find more shade, and
cost more where the mask misses nothing."""

SHADES: Final = 3.5
"""The same for the mean of 3 x 3 pixels, if the pixel itself deviates half as far."""

HARDLY, MOSTLY = 0.3, 0.6
"""Visible shares of a tile up to which the first, and from which the second limit applies."""

STRAYING: Final = (8.0, 16.0)
"""Squared distance of the whole tile from its prior, by band, from which no pixel is trusted. Half
of it or less rejects clear dates of Belgium 10 m that differ from all others."""

TRUSTED: Final = 1024
"""Largest number of pixels beyond the rim used to estimate their offset and spread."""

NEVER: Final = 1 << 20
"""Steps to the nearest hidden pixel if there is none."""

GROWTH: Final = 2
"""Pixels by which discarded areas grow."""

TRIMMED: Final = 0.05
"""Share of the pixels that is left out, twice, when the spread is estimated."""

RIDGE: Final = 0.05
"""Share of the mean variance that is added to the spread."""


def rings(visible: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Steps along rows and columns from each pixel to the nearest one that is not visible, (y, x).

    If all are visible, the number is so large that it has no effect.
    """
    if visible.all():
        return np.full(visible.shape, NEVER, np.int32)
    found = scipy.ndimage.distance_transform_cdt(visible, "chessboard")
    return np.asarray(found, np.int32)


def median_band(residuals: Tensor) -> Tensor:
    """Lower median of the bands, (..., band): comparing whole planes is faster than selecting."""
    planes = list(residuals.movedim(-1, 0).contiguous())
    count = len(planes)
    for start in range(count):  # sorts by exchanging neighbours
        for low in range(start % 2, count - 1, 2):
            a, b = planes[low], planes[low + 1]
            planes[low], planes[low + 1] = torch.minimum(a, b), torch.maximum(a, b)
    found: Tensor = planes[(count - 1) // 2]
    return found


def believed(
    residuals: Tensor,
    middle: Tensor,
    visible: Tensor,
    ring: Tensor,
    precision: Tensor,
    darkness: Tensor,
) -> Tensor:
    """Visible pixels (y, x) that can be trusted as ground."""
    # `residuals` are value less prior in deviations of the prior, (y, x, band), anything where not
    # visible; `darkness` those of a pixel that reflects nothing; `middle` and `ring` come from
    # median_band and rings, `precision` from prior.Statistics
    nothing = torch.zeros_like(visible)
    place = visible.ravel().nonzero().ravel()
    if not len(place):
        return visible
    seen = residuals.reshape(-1, residuals.shape[-1]).index_select(0, place)
    off, steps = middle.reshape(-1)[place], ring.reshape(-1)[place]
    wild = off.abs() > MEDIAN
    if float(wild.float().mean()) > MOST:
        return nothing
    far = ((steps > RIM) & ~wild).nonzero().ravel()
    rims = len(far) < FAR  # hardly anything but rims is visible
    if rims:
        if len(place) < SOME * visible.numel():
            return nothing
        wild |= (off - off.median()).abs() > APART
        far = (~wild).nonzero().ravel()
    if _strays(seen, far, visible, precision):
        return nothing
    doubted: set[int] = set()  # rings
    if len(far) >= FAR:
        ground = Ground.of(seen, far)
        if not rims:
            distance = ground.distances(seen)
            wild |= distance > DISTANCE
            doubted = _doubted(distance, steps)
        dark = darkness.reshape(-1, darkness.shape[-1]).index_select(0, place)
        shade = ground.towards(dark, seen, far)
        wild |= (shade > SHADED) | ((shade > SHADES / 2) & (_mean(shade, place, visible) > SHADES))
    aside = _grown(wild, place, visible.shape)
    if doubted:
        aside |= torch.isin(ring, ring.new_tensor(sorted(doubted)))
    return visible & ~aside


def _strays(seen: Tensor, trusted: Tensor, visible: Tensor, precision: Tensor) -> bool:
    """Whether the visible pixels deviate, as a whole, more than the ground does on any date.

    The smaller the visible share of a tile, the likelier it is cloud too, and cloud is bright.
    """
    if not len(trusted):
        return True
    offset = _thinned(seen, trusted).mT.contiguous().median(-1).values
    most = limit(len(seen) / visible.numel(), bool(offset.mean() > 0))
    return float(offset @ precision @ offset) > most


def limit(share: float, bright: bool) -> float:
    """Squared distance beyond which an offset is rejected; `bright` ones are upward, like cloud."""
    part = 0.0 if bright else min(max((share - HARDLY) / (MOSTLY - HARDLY), 0.0), 1.0)
    return STRAYING[0] + part * (STRAYING[1] - STRAYING[0])


def _doubted(distance: Tensor, steps: Tensor) -> set[int]:
    """Rings whose median distance exceeds the limit."""
    rings_of = ((r, distance[steps == r]) for r in range(1, RINGS + 1))
    return {r for r, own in rings_of if len(own) and float(own.median()) > RING}


def _mean(numbers: Tensor, place: Tensor, visible: Tensor) -> Tensor:
    """Mean over the visible pixels among 3 x 3, for each visible pixel."""
    planes = numbers.new_zeros(2, 1, visible.numel())
    planes[0, 0, place], planes[1, 0, place] = numbers, 1.0
    total, count = torch.nn.functional.avg_pool2d(planes.view(2, 1, *visible.shape), 3, 1, 1)
    found: Tensor = (total / count).ravel()[place]
    return found


def _grown(aside: Tensor, place: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The discarded pixels, as a mask that is wider by :data:`GROWTH`."""
    mask = torch.zeros(shape, dtype=torch.bool, device=aside.device)
    if not bool(aside.any()):
        return mask
    mask.view(-1)[place[aside]] = True
    return grown(mask, GROWTH)


def grown(where: Tensor, pixels: int) -> Tensor:
    """A mask with the pixels within some steps along rows and columns."""
    planes = where[None, None].float()
    side = 2 * pixels + 1
    planes = torch.nn.functional.max_pool2d(planes, (side, 1), 1, (pixels, 0))
    planes = torch.nn.functional.max_pool2d(planes, (1, side), 1, (0, pixels))
    return planes[0, 0] > 0


def _thinned(seen: Tensor, which: Tensor) -> Tensor:
    """At most :data:`TRUSTED` of some pixels."""
    return seen.index_select(0, which[:: -(-len(which) // TRUSTED)])


class Ground(NamedTuple):
    """How trusted pixels of a tile and date differ from their prior."""

    centre: Tensor  # (band,)
    whitening: Tensor  # (band, band)
    usual: Tensor  # median squared distance

    @classmethod
    def of(cls, seen: Tensor, far: Tensor) -> Ground:
        """Of residuals (pixel, band), and which of them are trusted; robust."""
        kept = trusted = _thinned(seen, far)
        for _ in range(3):
            centre = kept.mean(0)
            spread = ((kept - centre).mT @ (kept - centre) / len(kept)).double()
            ridge = RIDGE * spread.diagonal().mean() + 1e-9
            spread = spread + ridge * torch.eye(len(spread)).to(spread)
            inverse = torch.linalg.inv(torch.linalg.cholesky(spread)).mT.to(seen)
            every = ((trusted - centre) @ inverse).square_().sum(1)
            kept = trusted[every <= every.kthvalue(round((1 - TRIMMED) * len(every))).values]
        return cls(centre, inverse, every.median().clamp(min=1e-9))

    def distances(self, seen: Tensor) -> Tensor:
        """Squared Mahalanobis distance, in medians of that of the trusted pixels."""
        return ((seen - self.centre) @ self.whitening).square_().sum(1).div_(self.usual)

    def towards(self, change: Tensor, seen: Tensor, far: Tensor) -> Tensor:
        """How far residuals go in the direction of a change, in deviations of the trusted ones."""
        direction = change @ self.whitening
        along = (direction * ((seen - self.centre) @ self.whitening)).sum(1)
        along /= direction.square().sum(1).sqrt_().clamp_(min=1e-6)
        own = _thinned(along, far)
        offset = own.median()
        return (along - offset) / (1.4826 * (own - offset).abs().median()).clamp(min=1e-6)
