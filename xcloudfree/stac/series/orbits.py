"""Offsets of backscatter between the orbits and platforms of Sentinel-1."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudfree.core.bands import sar_band
from xcloudfree.core.radiometry import SarCalibration
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import BAND_DIMS, Scene
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import DataError, MissingBandError, UnitsError
from xcloudfree.stac.series.pairing import along

WINDOWS: Final = 4
"""Windows along each side of the scene whose pixels are compared."""

SIDE: Final = 32
"""Rows and columns of a window."""

NEAR: Final = np.timedelta64(15, "D")
"""Largest distance in time of the passes between which another orbit is interpolated: more than the
12 days after which a satellite repeats an orbit."""

FEW: Final = 100
"""Fewer common pixels than this say nothing about two passes."""


def orbit_offsets(ds: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """Estimate the offsets between the orbits and platforms of a Sentinel-1 series.

    Orbits see the ground at different angles, and satellites differ in their calibration. For each
    pass, every other orbit is interpolated linearly in time between its passes before and after,
    15 days away at most. The difference of a pass is the median over the pixels that all three
    have; that of two orbits is the median over their passes. Least squares join the differences
    of all pairs. Interpolation removes a trend, which both orbits share.

    The pixels are those of 16 windows, evenly spread over the scene, so that chunks do not matter.
    This function reads them; :func:`remove_orbit_offsets` is lazy.

    Parameters
    ----------
    ds : Dataset or DataArray
        Series with Sentinel-1, in any accepted form. The orbit is the coordinate ``relative_orbit``
        or ``sat:relative_orbit`` along ``time``. The platform is that of the names of the items
        (``s1_item_id``, ``item_id``, ``id``), or the coordinate ``platform`` if there is no
        Sentinel-2.

    Returns
    -------
    xarray.Dataset
        Along ``orbit`` (``"S1A 88"``): ``VV``, ``VH``, ... in dB relative to the orbit with most
        passes; ``VV_std``, ``VH_std``, the standard errors of the medians; and ``passes``. NaN:
        no pass lies between two passes of another orbit.

    Raises
    ------
    MissingBandError
        There is no Sentinel-1.
    DataError
        There is no time, or neither orbits nor platforms.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> ds = xcf.datasets.simulate_scene((32, 32), dates=6, seed=1)[["VV", "VH"]]
    >>> ds = ds.assign_coords(relative_orbit=("time", [88, 161] * 3))
    >>> louder = ds + xr.where(ds.relative_orbit == 161, 1.0, 0.0)
    >>> louder = louder.assign({name: louder[name].assign_attrs(ds[name].attrs) for name in ds})
    >>> found = orbit_offsets(louder).VV - orbit_offsets(ds).VV
    >>> dict(zip(found.orbit.values.tolist(), found.values.round(3).tolist(), strict=True))
    {'S1 88': 0.0, 'S1 161': 1.0}
    """
    scene = _scene(ds)
    orbits, times = _orbits(ds, scene), utc_times(ds["time"])
    passes = _passes(ds, times)
    power = _sample(scene, passes)
    names = list(dict.fromkeys(orbits[n] for n in passes))
    counts = [sum(orbits[n] == name for n in passes) for name in names]
    names = [names[n] for n in np.argsort([-c for c in counts], kind="stable")]
    group = np.array([names.index(orbits[n]) for n in passes])
    out = xr.Dataset(
        {"passes": ("orbit", np.bincount(group, minlength=len(names)))}, {"orbit": names}
    )
    assert scene.sar is not None
    for k, name in enumerate(scene.sar.names):
        offsets, errors = _solved(_compared(power[:, k], times[passes], group), len(names))
        units = {"units": "dB", "comment": f"relative to {names[0]}"}
        out[name] = ("orbit", offsets, units)
        out[f"{name}_std"] = ("orbit", errors, {"units": "dB"})
    return out


def remove_orbit_offsets(
    ds: xr.Dataset | xr.DataArray, offsets: xr.Dataset | None = None
) -> xr.Dataset | xr.DataArray:
    """Remove the offsets between orbits and platforms from the backscatter of a series.

    Parameters
    ----------
    ds : Dataset or DataArray
        Series with Sentinel-1 as floating-point numbers, dB or linear power, in any accepted form.
    offsets : Dataset, optional
        Result of :func:`orbit_offsets`. Default: that of `ds`. For a few dates, estimate it from a
        longer series of the same area.

    Returns
    -------
    Dataset or DataArray
        `ds` with the offsets removed, lazy if `ds` is; everything else is unchanged.

    Raises
    ------
    MissingBandError, DataError
        As for :func:`orbit_offsets`.
    UnitsError
        The unit of backscatter is undeclared, or the numbers are integers.

    Warns
    -----
    UserWarning
        Orbits or polarisations without an estimate, whose backscatter stays as it is.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> ds = xcf.datasets.simulate_scene((32, 32), dates=6, seed=1)
    >>> ds = ds.assign_coords(relative_orbit=("time", [88, 161] * 3))
    >>> level = remove_orbit_offsets(ds)
    >>> bool(abs(orbit_offsets(level).VV).max() < 0.01)
    True
    """
    scene = _scene(ds)
    orbits = _orbits(ds, scene)
    assert scene.sar is not None
    if scene.sar.dtype().kind != "f":
        raise UnitsError(
            f"backscatter is {scene.sar.dtype()}, which has no place for an offset",
            fix="convert it with ds.astype('float32')",
        )
    rule = scene.sar_calibration()
    found = orbit_offsets(ds) if offsets is None else offsets
    found, none = found.reindex(orbit=orbits), np.full(len(orbits), np.nan)
    table = {n: found[n].values if n in found else none for n in scene.sar.names}
    passes = _passes(ds, utc_times(ds["time"]))
    lacking = {f"{orbits[n]} {name}" for name, v in table.items() for n in passes if np.isnan(v[n])}
    if lacking:
        warnings.warn(
            f"No offset is known for {', '.join(sorted(lacking))}; its backscatter stays as it is. "
            "Estimate it from a longer series: remove_orbit_offsets(ds, orbit_offsets(series)).",
            stacklevel=2,
        )
    per_date = {name: np.nan_to_num(values) for name, values in table.items()}
    if isinstance(ds, xr.DataArray):
        return _shifted(ds, per_date, rule)
    shifts = [per_date] if scene.sar.stacked else [{n: v} for n, v in per_date.items()]
    pairs = zip(scene.sar.variables, shifts, strict=True)
    return ds.assign({variable: _shifted(ds[variable], own, rule) for variable, own in pairs})


def _shifted(
    array: xr.DataArray, per_date: Mapping[str, npt.NDArray[np.float64]], rule: SarCalibration
) -> xr.DataArray:
    """An array of one polarisation, or with a band dimension, without its offsets."""
    dim = next((d for d in BAND_DIMS if d in array.dims), None)
    if dim is None:
        shift = xr.DataArray(next(iter(per_date.values())), dims="time")
    else:
        none = np.zeros(array.sizes["time"])
        found = [(sar_band(name) or ("",))[0] for name in array[dim].values]
        shift = xr.DataArray([per_date.get(n, none) for n in found], dims=(dim, "time"))
    shift = shift.astype(array.dtype)
    zero = -rule.offset / rule.scale
    if rule.units == "dB":
        out = array - shift / rule.scale
    else:
        out = (array - zero) / 10 ** (shift / 10) + zero
    # undeclared zeros stay too, by which a filled border is recognised later
    for number in (rule.nodata, *rule.others, zero):
        if number is not None:
            out = out.where(array != number, array)
    out = out.transpose(*array.dims).astype(array.dtype)
    out.attrs, out.encoding = array.attrs, array.encoding
    return out


def _scene(ds: xr.Dataset | xr.DataArray) -> Scene:
    scene = read(ds)
    if scene.sar is None:
        raise MissingBandError(
            "the series has no polarisation", fix="call orbit_offsets(ds[['VV', 'VH']])"
        )
    if "time" not in ds.dims:
        raise DataError(
            "one date has no other orbit to compare with", fix="call orbit_offsets(series)"
        )
    return scene


def _orbits(ds: xr.Dataset | xr.DataArray, scene: Scene) -> list[str]:
    """Platform and relative orbit of each date, ``"S1A 88"``."""
    own = ("platform",) if scene.optical is None else ()  # else it is that of Sentinel-2
    texts = zip(along(ds, "s1_item_id", "item_id", "id"), along(ds, *own), strict=True)
    platforms = [_platform(f"{item} {platform}") for item, platform in texts]
    tracks = along(ds, "relative_orbit", "sat:relative_orbit")
    known = [str(int(float(t))) if t is not None and float(t) >= 0 else "?" for t in tracks]
    if set(platforms) == {"S1"} and set(known) == {"?"}:
        raise DataError(
            "the series states neither the orbit nor the platform of its dates",
            fix="add it: ds.assign_coords(relative_orbit=('time', [88, ...]))",
        )
    return [f"{platform} {track}" for platform, track in zip(platforms, known, strict=True)]


def _platform(text: str) -> str:
    match = re.search(r"S(?:entinel-?)?1([A-D])(?:[^A-Za-z]|$)", text, re.IGNORECASE)
    return f"S1{match.group(1).upper()}" if match else "S1"


def _passes(ds: xr.Dataset | xr.DataArray, times: npt.NDArray[np.datetime64]) -> list[int]:
    """Dates with a pass of their own: a pass may serve several dates of Sentinel-2."""
    ids = ds["s1_item_id"].values if "s1_item_id" in ds.coords else times
    first = {key: n for n, key in reversed(list(enumerate(ids.tolist())))}
    return sorted(n for key, n in first.items() if key != "")


def _sample(scene: Scene, passes: Sequence[int]) -> npt.NDArray[np.float32]:
    """Backscatter of the windows in dB, (pass, polarisation, pixel)."""
    assert scene.sar is not None
    rows, columns = (_places(scene.sar.arrays[0].sizes[dim]) for dim in scene.spatial)
    where = dict(zip(scene.spatial, (rows, columns), strict=True))
    stack = scene.sar.stack().isel(where)
    lead = [dim for dim in stack.dims if dim not in ("time", "band", *scene.spatial)]
    if lead:
        raise DataError(
            f"the series has another dimension, {lead[0]!r}",
            fix=f"select along it with ds.isel({lead[0]}=0)",
        )
    stored = stack.transpose("time", "band", *scene.spatial).isel(time=list(passes)).values
    decoded = scene.sar_calibration().decode(stored)
    return decoded.reshape(*decoded.shape[:2], -1)


def _places(size: int) -> npt.NDArray[np.int64]:
    """Rows or columns of the windows."""
    if size <= WINDOWS * SIDE:
        return np.arange(size)
    starts = np.rint(np.linspace(0, size - SIDE, WINDOWS)).astype(np.int64)
    return (starts[:, None] + np.arange(SIDE)).ravel()


def _compared(
    power: npt.NDArray[np.float32],
    times: npt.NDArray[np.datetime64],
    group: npt.NDArray[np.integer],
) -> dict[tuple[int, int], npt.NDArray[np.float64]]:
    """Differences of two groups, first minus second, one for each pass that can be compared."""
    out: dict[tuple[int, int], npt.NDArray[np.float64]] = {}
    for a, b in combinations(range(int(group.max()) + 1), 2):
        found = []
        for own, other, sign in ((a, b, 1.0), (b, a, -1.0)):
            there = np.flatnonzero(group == other)
            there = there[np.argsort(times[there], kind="stable")]
            for n in np.flatnonzero(group == own):
                after = int(np.searchsorted(times[there], times[n]))
                if not 0 < after < len(there):
                    continue
                i, j = there[after - 1], there[after]
                if max(times[n] - times[i], times[j] - times[n]) > NEAR:
                    continue
                share = (times[n] - times[i]) / (times[j] - times[i])
                apart = power[n] - (power[i] * (1 - share) + power[j] * share)
                apart = apart[np.isfinite(apart)]
                if len(apart) >= FEW:
                    found.append(sign * float(np.median(apart)))
        if found:
            out[a, b] = np.array(found)
    return out


def _solved(
    compared: Mapping[tuple[int, int], npt.NDArray[np.float64]], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Offset of each group relative to the first, and its error; NaN if nothing connects them."""
    connected, growing = {0}, True
    while growing:
        more = {n for pair in compared if connected & set(pair) for n in pair} - connected
        connected |= more
        growing = bool(more)
    offsets, errors = np.full(count, np.nan), np.full(count, np.nan)
    offsets[0] = errors[0] = 0.0
    unknown = sorted(connected - {0})
    if not unknown:
        return offsets, errors
    rows, values, weights = [], [], []
    for (a, b), apart in compared.items():
        if a in connected:
            rows.append([float(n == a) - float(n == b) for n in unknown])
            values.append(np.median(apart))
            # error of a median of normal numbers; few passes say little of their own spread
            spread = max(float(np.std(apart)), 0.1)
            weights.append(np.sqrt(len(apart)) / (1.2533 * spread))
    design = np.array(rows) * np.array(weights)[:, None]
    solution = np.linalg.lstsq(design, np.array(values) * weights, rcond=None)[0]
    offsets[unknown] = solution
    errors[unknown] = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    return offsets, errors
