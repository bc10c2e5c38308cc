"""Cloud shadow of a labelled scene: position of the sun, and stages over the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, Together, map_windows, side_of, spread
from xcloudfree.core.grid import ground
from xcloudfree.core.predictor import Dates
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import WHOLE, Area, Encoded, Halo, Mosaic
from xcloudfree.exceptions import CloudFreeError, DataError
from xcloudfree.masks import shadow_geometry as kernel
from xcloudfree.masks.plan import MaskPlan

Shadow = bool | None | tuple[Any, Any]
"""Whether to add shadow, None if possible, or azimuth and elevation of the sun."""

INFRARED = ("B08", "B8A")
"""Near infrared: the first of these that the data has."""

OTHERS = ("B11", "B03")

_ANGLES = "sun_azimuth", "sun_elevation"
_CALL = "mask(shadow=(azimuth, elevation))"


def with_shadow(
    scene: Scene,
    plan: MaskPlan,
    shadow: Shadow,
    dates: tuple[int, NDArray[np.float64]] | None,
) -> tuple[Any, str] | None:
    """Mask of clouds and their shadow (*lead, y, x), and its label.

    With `dates`, as from :func:`~xcloudfree.masks.series.dates_of`, a pixel is only in shadow if it
    is brighter on other dates. None if `shadow` is
    None and the sun, the grid or a band is unknown.
    """
    try:
        angles = sun_angles(scene, shadow)
        east, north, metres = ground(scene)
        layer = scene.need_optical((_infrared(scene), *OTHERS), "shadow of clouds")
    except CloudFreeError:
        if shadow is None:
            return None
        raise
    marking = _MarkDark(
        plan, layer.names, scene.calibration(), max(1, round(kernel.AROUND / metres))
    )
    # first pass over the scene: clouds, and pixels that are darker than their surroundings
    (state,) = map_windows(
        marking,
        [[a] for a in (*plan.groups[0], *layer.by_band())],
        [Output(np.dtype("uint8"))],
        lead=len(scene.lead),
        plan=Halo(plan.reach + marking.radius),
    )
    # what is as dark on its other dates, such as a forest, is no shadow
    if dates is not None:
        axis, days = dates
        infrared = layer.select(layer.names[:2])
        (state,) = map_windows(
            _Compare(axis, tuple(days.tolist()), scene.calibration()),
            [infrared.planes(), [state]],
            [Output(np.dtype("uint8"))],
            lead=len(scene.lead),
            together=Together(axis, side_of(len(days), len(infrared.names), 0)),
        )
    # last pass: the same displacements for all images with the same sun
    known = np.isfinite(angles).all(-1)
    table, places = np.unique(angles.reshape(-1, 2), axis=0, return_inverse=True)
    offsets = tuple(
        kernel.displacements((azimuth, elevation), east, north) if azimuth == azimuth else ()
        for azimuth, elevation in table.tolist()
    )
    casting = _CastShadow(offsets, max(1, round(kernel.STEP / metres)))
    numbers = places.reshape((*angles.shape[:-1], 1, 1)).astype(np.uint16)
    (mask,) = map_windows(
        casting,
        [[state], *([[spread(numbers, state)]] if len(table) > 1 else [])],
        [Output(np.dtype(bool))],
        lead=len(scene.lead),
        plan=Halo(casting.reach),
    )
    some = "" if known.all() else f" on {known.sum()} of {known.size}"
    return mask, f"{plan.label}+shadow{some}"


def _infrared(scene: Scene) -> str:
    return next((name for name in INFRARED if name in scene.bands), INFRARED[0])


def sun_angles(scene: Scene, shadow: Shadow) -> NDArray[np.float64]:
    """Azimuth and elevation of the sun in degrees, (*lead, 2); NaN where unknown."""
    given = shadow if isinstance(shadow, tuple) else None
    if shadow is not True and shadow is not None and (given is None or len(given) != 2):
        raise CloudFreeError(
            f"shadow is {shadow!r}",
            fix=f"call mask(shadow=True), False, or {_CALL} in degrees",
            option="--shadow",
        )
    source, template = scene.source, scene.template()
    angles = []
    for number, name in enumerate(_ANGLES):
        found = source.coords.get(name, source.attrs.get(name)) if given is None else given[number]
        if found is None:
            raise DataError(
                f"shadow of clouds needs the position of the sun and the data has no {name!r}",
                fix=f"give it as {_CALL} in degrees, or with "
                "ds.assign_coords(sun_azimuth=('time', [...]), sun_elevation=('time', "
                "[...]))",
                option="--no-shadow",
            )
        angles.append(_along(found, name, scene, template))
    out = np.stack(angles, -1)
    out[~np.isfinite(out).all(-1)] = np.nan
    if shadow is None:
        out[~((out[..., 1] > 0) & (out[..., 1] <= 90))] = np.nan
    missing = np.isnan(out[..., 0])
    if missing.all() or (shadow is not None and missing.any()):
        raise DataError(
            f"the position of the sun is not known on {missing.sum()} of {missing.size} images",
            fix=f"give it as {_CALL} in degrees, or leave them out with ds.sel(time=...)",
            option="--no-shadow",
        )
    height = out[..., 1][~missing]
    if (height <= 0).any() or (height > 90).any():
        raise DataError(
            f"the sun's elevation is {height.min():g} to {height.max():g} degrees and must lie "
            "between 0 and 90",
            fix=f"correct it, as in {_CALL}",
            option="--no-shadow",
        )
    return out


def _along(found: Any, name: str, scene: Scene, template: xr.DataArray) -> NDArray[np.float64]:
    """An angle as an array over the leading dimensions."""
    sizes = {d: template.sizes[d] for d in scene.lead}
    if not isinstance(found, xr.DataArray):
        try:
            values = np.asarray(found, float)
        except (TypeError, ValueError):
            values = np.empty((0,) * (len(scene.lead) + 1))
        if values.ndim > min(1, len(scene.lead)):
            raise DataError(
                f"{name!r} is {found!r}",
                fix="give one number in degrees, or one for each image along "
                f"{scene.lead[0] if scene.lead else 'time'!r} as a DataArray: {_CALL}",
                option="--no-shadow",
            )
        found = xr.DataArray(values, dims=scene.lead[: values.ndim])
    along = [str(d) for d in found.dims if d not in sizes]
    if along:
        raise DataError(
            f"{name!r} must be one number for each image and varies along {along}",
            fix=f"average it first, with ds.assign_coords({name}=ds.{name}.mean({along}))",
            option="--no-shadow",
        )
    for dim in found.dims:
        labelled = {dim} <= set(found.coords) & set(template.coords)
        if found.sizes[dim] != sizes[dim] or (labelled and not found[dim].equals(template[dim])):
            raise DataError(
                f"{name!r} has other values of {dim!r} than the data",
                fix=f"take those of the data with {name}.sel({dim}=ds.{dim})",
                option="--no-shadow",
            )
    bare = xr.Variable(found.dims, _numbers(found))
    missing = {d: n for d, n in sizes.items() if d not in bare.dims}
    whole = bare.set_dims({**missing, **bare.sizes}).transpose(*scene.lead)
    return np.array(whole.values, np.float64)


def _numbers(angles: xr.DataArray) -> NDArray[np.float64]:
    """Values of a coordinate; one that ``ds.chunk()`` made lazy is read here, in this thread."""
    if angles.chunks is not None:
        try:
            return np.asarray(angles.data.compute(scheduler="synchronous"), np.float64)
        except TypeError:  # it is stored on the workers of a cluster
            pass
    return np.asarray(angles.values, np.float64)


@dataclass(frozen=True)
class _MarkDark(Stage):
    """First stage: clouds, and dark pixels around them."""

    plan: MaskPlan
    bands: tuple[str, ...]
    calibration: Calibration
    radius: int

    def __call__(
        self, *windows: NDArray[Any], core: tuple[slice, slice]
    ) -> tuple[NDArray[np.uint8]]:
        """States (*lead, y, x) of the core; the windows are those of the plan, then the bands."""
        count = len(windows) - len(self.bands)
        out = np.empty(windows[-1][..., *core].shape, np.uint8)
        for place in np.ndindex(out.shape[:-2]):
            image: Sequence[NDArray[Any]] = [w[place] for w in windows[:count]]
            cloud = self.plan.compute(image if count > 1 else image[0])
            nir, swir, green = (self.calibration.decode(w[place]) for w in windows[count:])
            out[place] = kernel.states(cloud, nir, swir, green, self.radius)[core]
        return (out,)


@dataclass(frozen=True)
class _Compare(Stage, Dates):
    """Stage of a series: pixels that are as dark on their other dates are not dark."""

    calibration: Calibration

    joins = True

    def __call__(self, *windows: Mosaic, core: Area) -> tuple[NDArray[np.uint8]]:
        """States (*lead, y, x) of the core; the windows are the infrared bands, then the states."""
        found = []
        for stored, state in self.places(windows):
            values = Encoded(stored, self.calibration.decode, 2).decoded()
            found.append(kernel.compared(state[..., *WHOLE], values, self.ordered)[..., *core])
        return (self.join(found, windows[0].shape[:-3]),)


@dataclass(frozen=True)
class _CastShadow(Stage):
    """Last stage: the shadow of the clouds, added to them."""

    offsets: tuple[tuple[kernel.Offset, ...], ...]
    radius: int

    @property
    def reach(self) -> int:
        """Pixels around a pixel that influence its value."""
        return max(kernel.reach(offsets, self.radius) for offsets in self.offsets)

    def __call__(
        self, state: NDArray[np.uint8], *numbers: NDArray[np.uint16], core: tuple[slice, slice]
    ) -> tuple[NDArray[np.bool_]]:
        """Mask (*lead, y, x) of the core; the windows are states and the numbers of their suns."""
        out = (state[..., *core] & kernel.CLOUD) > 0
        for place in np.ndindex(state.shape[:-2]):
            offsets = self.offsets[int(numbers[0][place][0, 0]) if numbers else 0]
            out[place] |= kernel.shadowed(state[place], offsets, self.radius, core)
        return (out,)
