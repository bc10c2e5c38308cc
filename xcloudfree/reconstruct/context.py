"""Temporal context of a labelled series: what other dates show, lazy for lazy series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, Together, map_windows, side_of
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Layer, Scene
from xcloudfree.core.windows import Area, Halo
from xcloudfree.exceptions import DataError
from xcloudfree.masks.plan import MaskPlan
from xcloudfree.masks.resolve import Mask, plan_mask
from xcloudfree.masks.shadow import Shadow
from xcloudfree.methods import get
from xcloudfree.methods import temporal_context as kernel
from xcloudfree.models.spec import ModelSpec
from xcloudfree.reconstruct.dates import dates_of
from xcloudfree.reconstruct.inputs import inputs_of
from xcloudfree.reconstruct.observe import Observe, Reader
from xcloudfree.reconstruct.predict import estimated


def context(
    obj: xr.Dataset | xr.DataArray,
    *,
    mask: Mask = "score",
    dilate: int = 0,
    shadow: Shadow = None,
    least: float = 0.0,
) -> xr.Dataset:
    """Return the last clear observation of each pixel before each date, and the next one after it.

    The date itself is always excluded, even where it is clear. All dates of a place are
    processed together, so lazy data is gathered along time: chunk it in space so that a chunk
    with all dates fits into memory several times.

    Parameters
    ----------
    obj : Dataset or DataArray
        Series in any accepted form, with ``time``.
    mask, dilate, shadow
        What is occluded, see :func:`xcloudfree.reconstruct.reconstruct`.
    least : float
        Days around a date within which nothing is used, for example to study the effect of a gap.

    Returns
    -------
    Dataset
        ``before`` and ``after``: reflectance of all optical bands (..., band, y, x), float32;
        ``before_age`` and ``after_age``: days between that observation and the date (..., y, x),
        float32. NaN where there is none.

    Raises
    ------
    MissingBandError
        If there are no optical bands, or the mask needs some that are absent.
    DataError
        If the data is no series of dates, or `least` is no number of days.
    UnitsError
        If the reflectance cannot be read without guessing.

    Examples
    --------
    >>> import xcloudfree
    >>> times = np.array(["2025-06-01", "2025-06-07", "2025-06-11"], "datetime64[ns]")
    >>> values = np.array([0.1, 0.9, 0.3], "float32").reshape(3, 1, 1)
    >>> ds = xr.Dataset({"B04": (("time", "y", "x"), values)}, coords={"time": times})
    >>> around = ds.cloudfree.context(mask=ds.B04 > 0.5)
    >>> around.before.values[1].ravel().round(2).tolist(), around.after_age.values.ravel().tolist()
    ([0.10000000149011612], [10.0, 4.0, nan])
    """
    number = isinstance(least, (int, float, np.number)) and not isinstance(least, bool)
    if not number or not np.isfinite(least) or least < 0:
        raise DataError(
            f"least is {least!r}", fix="call context(least=15) or another number of days"
        )
    scene = read(obj)
    optical = scene.need_bands("context()")
    why = "context()", 'reconstruct(model="idw")'
    dates_of(scene, *why)
    masked = plan_mask(scene, mask, None, dilate, shadow=shadow)
    every = tuple(range(len(optical.names)))
    look = Observe(optical.names, every, scene.calibration(), masked, None)
    stack = _observations(scene, optical, look, kernel.SIDES, float(least), why)
    return _labelled(scene, optical.names, stack)


def context_groups(
    scene: Scene, spec: ModelSpec, device: str, masked: MaskPlan, around: int | None
) -> list[list[Any]]:
    """Groups of arrays with the estimates and the other dates that a network reads."""
    why = f"model {spec.name!r}", 'reconstruct(model="kernel-fusion")'
    if spec.context != ("kernel-fusion",):  # which takes a single image too
        dates_of(scene, *why)
    beside = () if masked.separate else masked.bands
    names = tuple(dict.fromkeys((*spec.optical_bands, *beside)))
    optical = scene.need_optical(names, why[0])
    picked = tuple(map(optical.names.index, spec.optical_bands))
    look = Observe(optical.names, picked, scene.calibration(), masked, around)
    found = []
    sides = [s for s in kernel.SIDES if s in spec.context]
    if sides:
        found.append(_observations(scene, optical, look, sides, 0.0, why))
    for name in (n for n in spec.context if n not in kernel.SIDES):
        method = get(kernel.ESTIMATES.get(name, name)).for_run(device, True)
        wide = name in kernel.ESTIMATES
        mean, *others = estimated(inputs_of(scene, method, optical, look), wide)
        found += [mean, *others[:wide]]
        if spec.options.get("base") == "kernel-fusion" == name:  # its flags are the network's
            found.append(others[1][..., None, :, :])
    return [[array] for array in found]


@dataclass(frozen=True)
class _Observations(Stage):
    """Context of the core of a block, (*lead, plane, y, x)."""

    reader: Reader
    sides: tuple[str, ...]
    least: float

    joins = True

    def __call__(self, *windows: Any, core: Area) -> tuple[NDArray[np.float32]]:
        """Planes of the core, computed from reflectance and state."""
        found = []
        for planes in self.reader.places(windows):
            series = self.reader.series(planes, core).cut(core)
            assert series.days is not None
            seen = series.reflectance, series.clear, series.days
            found.append(kernel.observations(*seen, self.least, self.sides))
        return (self.reader.join(found, windows[0].shape[:-3]),)


def _observations(
    scene: Scene, optical: Layer, look: Observe, sides: Any, least: float, why: tuple[str, str]
) -> Any:
    axis, days = dates_of(scene, *why)
    lead, bands = len(scene.lead), len(look.picked)
    work = _Observations(Reader(axis, days, look), tuple(sides), least)
    outputs = [Output(np.dtype("float32"), kernel.planes(sides, bands))]
    together = Together(axis, side_of(len(days), bands, 0))
    groups = [optical.planes(), *(look.mask.groups if look.mask.separate else [])]
    plan = Halo(look.mask.reach)
    return map_windows(work, groups, outputs, lead=lead, plan=plan, together=together)[0]


def _labelled(scene: Scene, bands: tuple[str, ...], stack: Any) -> xr.Dataset:
    """The planes as named arrays, with the original chunks along time."""
    template, count, words = scene.template(), len(bands), {"before": "last", "after": "next"}
    if not isinstance(stack, np.ndarray) and template.chunks is not None:
        stack = stack.rechunk(dict(enumerate(template.chunks[: len(scene.lead)])))
    plain = {k: v for k, v in template.coords.items() if k not in ("band", "provenance")}
    level = {} if scene.level is None else {"processing_level": scene.level}
    found = {}
    for k, side in enumerate(kernel.SIDES):
        start = k * (count + 1)
        what = f"{words[side]} clear observation {side} the date"
        found[side] = xr.DataArray(
            stack[..., start : start + count, :, :],
            dims=(*scene.lead, "band", *scene.spatial),
            coords={**plain, "band": list(bands)},
            attrs={"long_name": f"reflectance, {what}", "units": "1", **level},
        )
        found[f"{side}_age"] = xr.DataArray(
            stack[..., start + count, :, :],
            dims=template.dims,
            coords=plain,
            attrs={"long_name": f"age of the {what}", "units": "days"},
        )
    return xr.Dataset(found)
