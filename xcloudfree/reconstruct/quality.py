"""How far each pixel of a reconstruction can be relied on, as flags, and how old its evidence is.

In the spirit of the per-pixel metadata that CEOS-ARD asks of optical products: one integer per
pixel lets users leave out what they do not trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, Together, map_windows, side_of
from xcloudfree.core.predictor import Dates
from xcloudfree.core.radiometry import Calibration, SarCalibration
from xcloudfree.core.restore import labelled
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Area
from xcloudfree.methods.interpolation import waits
from xcloudfree.reconstruct.compose import Provenance
from xcloudfree.reconstruct.dates import dates_of
from xcloudfree.reconstruct.observe import FLOAT, Arrays

WORD, BYTE = np.dtype("uint16"), np.dtype("uint8")

AGES: Final = (5.0, 15.0, 30.0)
"""Days up to which the classes of age reach; one more lies beyond, and one is for none."""

OBSERVED, RECONSTRUCTED = 1 << 8, 1 << 9
AGE, ONE = 7 << 10, 1 << 10
RADAR, EXTRAPOLATED, WIDE = 1 << 13, 1 << 14, 1 << 15
"""Bits of the layer. What the predictor says of itself is below them, as without the layer."""

WIDEST: Final = 0.2
"""Width of an interval in reflectance, in any band, above which it is flagged: the value is not
known to within 0.1. A convention; it was not tuned."""

FLAGS: Final = (
    ("observed", OBSERVED, OBSERVED),
    ("reconstructed", RECONSTRUCTED, RECONSTRUCTED),
    ("never_clear", AGE, 0),
    *((f"clear_within_{age:.0f}_days", AGE, ONE * (k + 1)) for k, age in enumerate(AGES)),
    (f"clear_beyond_{AGES[-1]:.0f}_days", AGE, ONE * (len(AGES) + 1)),
    ("without_radar", RADAR, 0),
    ("with_radar", RADAR, RADAR),
    ("extrapolated_in_time", EXTRAPOLATED, EXTRAPOLATED),
)
"""Meaning, mask and value of each flag."""

OF_INTERVALS: Final = (("interval_wider_than_limit", WIDE, WIDE),)
"""The same of flags that need intervals."""


class Parts(NamedTuple):
    """What the layer is made of, (*lead, y, x)."""

    provenance: Any
    clear: Any | None  # pixels that show the ground; None if all of these are marked as observed
    flags: Any | None  # what the predictor says of itself
    bounds: tuple[Any, ...] = ()  # lower and upper, (*lead, band, y, x)


def assess(
    scene: Scene, parts: Parts, meanings: tuple[str, ...], quality: bool, age: bool
) -> dict[str, xr.DataArray]:
    """The requested layers, lazy where the scene is, with its chunks."""
    lead = len(scene.lead)
    axis, days, together = None, None, None
    if scene.is_series:
        axis, days = dates_of(scene, "the quality layer", "reconstruct(quality=False, age=False)")
        planes = 4 + sum(bound.shape[lead] for bound in parts.bounds)
        together = Together(axis, side_of(len(days), planes, 0))
    groups = [[parts.provenance]]
    groups += [[plane] for plane in (parts.clear, parts.flags) if plane is not None]
    groups += [[bound] for bound in parts.bounds]
    rule = None
    if scene.sar is not None:
        groups.append(scene.sar.planes())
        rule = scene.sar_calibration()
    scale = scene.calibration() if parts.bounds else None
    given = parts.clear is not None, parts.flags is not None
    work = _Assess(Dates(axis, days), *given, scale, rule)
    outputs = [Output(WORD), Output(FLOAT)]
    word, since = map_windows(work, groups, outputs, lead=lead, together=together)
    if together is not None and hasattr(word, "rechunk"):
        word, since = (a.rechunk(parts.provenance.chunks) for a in (word, since))
    found = {}
    if quality:
        found["quality"] = label_quality(scene, word, meanings, bool(parts.bounds))
    if age:
        words = {"long_name": "time to the nearest clear observation", "units": "days"}
        found["age"] = labelled(scene, since, "age", words)
    return found


def label_quality(
    scene: Scene, word: Any, meanings: Sequence[str], intervals: bool
) -> xr.DataArray:
    """Name the flags: those of the predictor first, in the lowest bits."""
    own = [(meaning, 1 << bit, 1 << bit) for bit, meaning in enumerate(meanings)]
    more = OF_INTERVALS if intervals else ()
    names, masks, values = zip(*own, *FLAGS, *more, strict=True)
    return labelled(scene, word, "quality", {
        "long_name": "quality of the pixel",
        "flag_masks": np.array(masks, WORD),
        "flag_values": np.array(values, WORD),
        "flag_meanings": " ".join(names),
        **({"interval_limit": WIDEST} if intervals else {}),
    })  # fmt: skip


def label_flags(scene: Scene, flags: Any, meanings: Sequence[str]) -> xr.DataArray:
    """Name the bits in which the predictor says how it made a value, without the layer."""
    masks = np.array([1 << bit for bit in range(len(meanings))], BYTE)
    words = {"long_name": "how the value was predicted", "flag_meanings": " ".join(meanings)}
    return labelled(scene, flags, "quality", {**words, "flag_masks": masks})


@dataclass(frozen=True)
class _Assess(Stage):
    """The layers of a block with all its dates."""

    dates: Dates
    clear: bool  # whether there is a window of clear pixels
    flags: bool  # whether there is a window of what the predictor says
    scale: Calibration | None  # of the two windows of bounds, where there are any
    sar: SarCalibration | None  # of the last window, where there is one

    def __call__(self, *windows: NDArray[Any], core: Area) -> Arrays:
        """Flags and days, (*lead, y, x) each."""
        provenance, *rest = (w[..., *core] for w in windows)
        clear = rest.pop(0) if self.clear else provenance == Provenance.OBSERVED
        age, one_sided = self._ages(clear)
        word = np.zeros(clear.shape, WORD)
        if self.flags:
            word |= rest.pop(0)
        word[provenance == Provenance.OBSERVED] |= OBSERVED
        filled = provenance == Provenance.RECONSTRUCTED
        word[filled] |= RECONSTRUCTED
        word[filled & one_sided] |= EXTRAPOLATED
        known = np.isfinite(age)
        word[known] |= (ONE * (1 + np.digitize(age[known], AGES, right=True))).astype(WORD)
        if self.scale is not None:
            lower, upper = (self.scale.decode(rest.pop(0)) for _ in range(2))
            word[filled & (upper - lower > np.float32(WIDEST)).any(-3)] |= WIDE
        if self.sar is not None:
            word[self.sar.valid(rest[0]).all(-3)] |= RADAR
        return word, age

    def _ages(self, clear: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Days to the nearest clear date, NaN without one, and where those are on one side."""
        if self.dates.days is None:  # single images have themselves alone
            age = np.where(clear, np.float32(0), np.float32(np.nan))
            return age, np.zeros_like(clear)
        head, ages, sides = clear.shape[:-2], [], []
        days = np.sort(np.asarray(self.dates.days), kind="stable")
        for seen in self.dates.split(clear, len(head)):
            since, until = waits(seen, days)
            nearest = np.where(seen, 0, np.minimum(since, until))
            ages.append(np.where(np.isfinite(nearest), nearest, np.nan).astype(np.float32))
            sides.append(~seen & (np.isinf(since) != np.isinf(until)))
        return self.dates.join(ages, head), self.dates.join(sides, head)
