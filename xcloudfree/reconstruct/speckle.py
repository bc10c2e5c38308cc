"""Backscatter without speckle, in the form of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, Together, map_windows, side_of
from xcloudfree.core.radiometry import SarCalibration
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import with_radar
from xcloudfree.core.windows import Area, Halo
from xcloudfree.exceptions import DataError, MissingBandError
from xcloudfree.methods.speckle import REACH, quegan, refined_lee
from xcloudfree.reconstruct.align import check_floats
from xcloudfree.reconstruct.observe import Arrays

Filter = Literal["refined-lee", "quegan"]

LOOKS: Final = 4.4
"""Equivalent number of looks of Sentinel-1 IW GRD, high resolution (ESA, Sentinel-1 Product
Specification)."""


def remove_speckle(obj: Any, method: Filter = "refined-lee", *, looks: float = LOOKS) -> Any:
    """Reduce the speckle of Sentinel-1.

    Filters run on linear power in windows of 7 x 7 px. ``"refined-lee"`` (Lee 1981) treats each
    date by itself, and averages on the pixel's own side of an edge. ``"quegan"`` (Quegan and Yu
    2001) uses all dates: it keeps the resolution, but a change on one date is partly averaged.

    No method of this library needs it: errors of reconstructions hardly change
    (:doc:`/catalogs`).

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene with backscatter in floating point, dB or linear power, in any accepted form.
    method : {"refined-lee", "quegan"}
        Filter; ``"quegan"`` needs several dates.
    looks : float
        Equivalent number of looks of the input, for ``"refined-lee"``. Data that was averaged or
        terrain corrected has more than the default, 4.4.

    Returns
    -------
    Dataset or DataArray
        The scene with filtered backscatter, NaN where it had none; lazy if it was lazy.

    Raises
    ------
    MissingBandError
        There is no backscatter.
    UnitsError
        The unit of backscatter is undeclared, or its values contradict it.
    DataError
        An unknown method, integers, a single date with ``"quegan"``, or `looks` not above 0.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> ds = xcf.datasets.simulate_scene((64, 64), dates=8, seed=1)
    >>> calm = ds.cloudfree.remove_speckle("quegan")
    >>> bool(calm.VV.diff("x").std() < 0.6 * ds.VV.diff("x").std())
    True
    """
    scene = read(obj)
    sar = scene.sar
    if method not in ("refined-lee", "quegan"):
        raise DataError(
            f"method={method!r} is no filter of speckle",
            fix='choose one with remove_speckle(method="refined-lee")',
        )
    if not looks > 0:
        raise DataError(
            f"looks={looks!r} is no number of looks", fix="call remove_speckle(looks=4.4)"
        )
    if sar is None:
        raise MissingBandError(
            "the scene has no backscatter to filter",
            fix="add Sentinel-1 with xcf.pair(ds, s1)",
        )
    check_floats(scene, "the filter takes means of backscatter")
    if scene.form != "array" and not {*scene.lead} <= {*scene.source[sar.variables[0]].dims}:
        radar = scene.source[list(sar.variables)]  # one image that holds for all dates
        return scene.source.assign(remove_speckle(radar, method, looks=looks).data_vars)
    axis = together = None
    if method == "quegan":
        dates = scene.template().sizes.get("time", 1)
        if dates < 2:
            raise DataError(
                "method='quegan' needs several dates",
                fix='filter each by itself with remove_speckle(method="refined-lee")',
            )
        axis = scene.lead.index("time")
        together = Together(axis, side_of(dates, 4 * len(sar.names), REACH))
    (data,) = map_windows(
        _Filter(axis, looks, scene.sar_calibration()),
        [sar.planes()],
        [Output(sar.dtype(), len(sar.names))],
        lead=len(scene.lead),
        plan=Halo(REACH),
        together=together,
    )
    return with_radar(scene, data)


@dataclass(frozen=True)
class _Filter(Stage):
    """Stored backscatter of a block without speckle."""

    axis: int | None  # of time, for the filter of all dates
    looks: float
    rule: SarCalibration

    def __call__(self, stored: NDArray[Any], *, core: Area) -> Arrays:
        """The core, in the numbers of the input; NaN where there is none."""
        power = self.rule.power(stored)  # which speckle multiplies
        out = np.empty_like(power)
        if self.axis is None:
            for place in np.ndindex(power.shape[:-2]):
                out[place] = refined_lee(power[place], self.looks)
        else:
            dates_first, made = (np.moveaxis(a, self.axis, 0) for a in (power, out))
            for place in np.ndindex(dates_first.shape[1:-2]):
                made[(slice(None), *place)] = quegan(dates_first[(slice(None), *place)])
        return (self.rule.encode(out[..., *core], stored.dtype),)
