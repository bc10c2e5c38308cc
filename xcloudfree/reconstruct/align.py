"""What is done about a shift between the sensors: told, or the radar resampled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, map_windows, spread
from xcloudfree.core.radiometry import SarCalibration
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import with_radar
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Area, Halo
from xcloudfree.exceptions import DataError
from xcloudfree.masks.resolve import Mask
from xcloudfree.methods.misalignment import resampled
from xcloudfree.reconstruct.observe import Arrays
from xcloudfree.reconstruct.shift import shift

Align = Literal["check", "correct"] | None

ORBITS: Final = "orbit_state"
"""Coordinate along time that separates ascending from descending passes."""

TOLD: Final = 1.0
"""Pixels of a shift beyond which a check warns."""

LAYOVER: Final = 0.5
"""Pixels along x by which both orbits must be off, to opposite sides, to be called layover."""


class Estimate(NamedTuple):
    """What is done about a shift: rows and columns of each date, and what to say."""

    shifts: tuple[tuple[float, float], ...] | None  # None: unknown
    text: str
    problem: str | None = None  # beyond a pixel
    fix: str = ""


def aligned(obj: Any, how: Align, mask: Mask) -> tuple[Any, str]:
    """The scene with its radar checked or resampled, and what to say of it."""
    if how not in ("check", "correct"):
        raise DataError(f"align is {how!r}", fix="call reconstruct(align='check') or 'correct'")
    scene = read(obj)
    if how == "correct":
        check_floats(scene, "align='correct' interpolates backscatter")
    found = estimate(scene, obj, mask)
    if how == "check" or found.shifts is None:
        if found.problem:
            warnings.warn(f"{found.problem}; {found.fix}", UserWarning, stacklevel=4)
        return obj, found.text
    return _resample(scene, found.shifts), f"{found.text}; resampled"


def estimate(scene: Scene, obj: Any, mask: Mask) -> Estimate:
    """The median shift of the blocks, by orbit where that is known."""
    states = scene.source.coords.get(ORBITS)
    split = states is not None and states.dims == ("time",) and "time" in scene.lead
    names = np.unique(states.values).tolist() if split else []  # type: ignore[union-attr]
    both = {"ascending", "descending"} <= set(names)
    found = shift(obj, by=ORBITS if both else "scene", mask=mask).compute()
    dates = scene.template().sizes["time"] if "time" in scene.lead else 1
    medians = {name: _median(found.sel({ORBITS: name}) if both else found)
               for name in (names if both else ["scene"])}  # fmt: skip
    if all(np.isnan(m[0]) for m in medians.values()):
        text = "unknown: no block has edges that both sensors show"
        fix = "compare the sensors by eye with ds.cloudfree.plot()"
        return Estimate(None, text, f"the shift of Sentinel-1 is {text}", fix)
    if both:
        up, down = medians["ascending"], medians["descending"]
        apart = (up[1] - down[1]) / 2
        if up[1] * down[1] < 0 and min(abs(up[1]), abs(down[1])) > LAYOVER:
            common = (up[0] + down[0]) / 2, (up[1] + down[1]) / 2
            text = (
                f"{_words(common)}, and {abs(apart):.1f} px to either side along x by orbit, as "
                "layover of tall edges has it"
            )
            state = "ascending"
            fix = (
                f"choose one orbit, ds.sel(time=ds.{ORBITS} == {state!r}), as no shift corrects it"
            )
            large = max(np.hypot(*common), abs(apart)) > TOLD
            problem = f"Sentinel-1 lies {text}" if large else None
            return Estimate((common,) * dates, text, problem, fix)
    known = {k: m for k, m in medians.items() if not np.isnan(m[0])}
    mean = tuple(np.mean(list(known.values()), axis=0).tolist())
    of_date = states.values.tolist() if both else ["scene"] * dates  # type: ignore[union-attr]
    shifts = tuple(known.get(name, mean) for name in of_date)
    text = "; ".join(f"{_words(m)}{f' ({k})' * both}" for k, m in known.items())
    large = max(np.hypot(*m) for m in known.values()) > TOLD
    problem = f"Sentinel-1 lies {text} of Sentinel-2" if large else None
    return Estimate(shifts, text, problem, "call reconstruct(align='correct'), or load it again")


def _median(found: xr.Dataset) -> tuple[float, float]:
    """Median rows and columns of the blocks that have a shift."""
    known = np.isfinite(found.dy.values)
    if not known.any():
        return np.nan, np.nan
    return float(np.median(found.dy.values[known])), float(np.median(found.dx.values[known]))


def _words(shift: Sequence[float]) -> str:
    """A shift in words.

    >>> _words((-1.25, 0.5))
    '1.2 px above and 0.5 px right'
    """
    down, right = ("below", "right"), ("above", "left")
    dy, dx = shift
    return (
        f"{abs(dy):.1f} px {down[0] if dy >= 0 else right[0]} and "
        f"{abs(dx):.1f} px {down[1] if dx >= 0 else right[1]}"
    )


@dataclass(frozen=True)
class _Resample(Stage):
    """Stored backscatter of a block at shifted places."""

    axis: int | None  # of time
    shifts: tuple[tuple[float, float], ...]
    rule: SarCalibration

    def __call__(self, stored: NDArray[Any], dates: NDArray[np.int64], *, core: Area) -> Arrays:
        """The core, NaN where a neighbour is missing."""
        power = self.rule.power(stored)  # the mean of dB is no dB of a mean
        out = np.empty_like(power)
        for place in np.ndindex(power.shape[:-3]):
            shift = self.shifts[int(dates[place].flat[0])]
            out[place] = resampled(power[place], *shift)
        return (self.rule.encode(out[..., *core], stored.dtype),)


def check_floats(scene: Scene, problem: str) -> None:
    """Raise an error for integers, which hold no values between them."""
    sar = scene.sar
    if sar is None or sar.dtype().kind == "f":
        return
    names = [str(v) for v in dict.fromkeys(sar.variables)]
    call = f"ds.assign({{n: ds[n].astype('float32') for n in {names}}})"
    raise DataError(
        f"{problem}, which is {sar.dtype()}",
        fix=f"convert it with {'ds.astype(float)' if scene.form == 'array' else call}",
        option="write it to the file as floating-point numbers",
    )


def _resample(scene: Scene, shifts: tuple[tuple[float, float], ...]) -> Any:
    """The scene with its radar brought onto the optical bands, in the numbers of the input."""
    sar = scene.sar
    assert sar is not None
    axis = scene.lead.index("time") if "time" in scene.lead else None
    shape = [n if k == axis else 1 for k, n in enumerate(scene.template().shape)]
    number = np.arange(shape[axis] if axis is not None else 1).reshape(shape)
    like = scene.template().data
    reach = int(np.ceil(np.abs(np.array(shifts)).max())) + 1
    (data,) = map_windows(
        _Resample(axis, shifts, scene.sar_calibration()),
        [sar.planes(), [spread(number, like)]],
        [Output(sar.dtype(), len(sar.names))],
        lead=len(scene.lead),
        plan=Halo(reach),
    )
    return with_radar(scene, data)
