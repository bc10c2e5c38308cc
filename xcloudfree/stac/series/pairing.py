"""Which Sentinel-1 pass goes with which Sentinel-2 scene."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from xcloudfree.core.grid import coordinate_system
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Layer, Scene
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import DataError, GridError, MissingBandError

TIE = np.timedelta64(6, "h")
"""Passes whose distances in time differ by less than this count as equally near: within half a day
the ground changes less than the shading of slopes changes from one orbit to another."""

FULL = 0.9
"""A pass that covers less than this share of the best pass's coverage is no candidate."""

SAME_PASS = timedelta(minutes=10)
"""Slices of one satellite and direction that follow each other within this time belong to one pass,
also at the equator, where the orbit number changes, and where one data take follows another."""


@dataclass(frozen=True)
class Pass:
    """One Sentinel-1 pass over the area."""

    key: str
    time: np.datetime64
    relative_orbit: int | None
    coverage: float = 1.0  # share of the area
    orbit_state: str = ""
    items: str = ""  # identifiers


def pair(
    s2: xr.Dataset | xr.DataArray,
    s1: xr.Dataset | xr.DataArray,
    max_gap: str | timedelta | np.timedelta64 = "6D",
) -> xr.Dataset:
    """Pair every Sentinel-2 date with the nearest Sentinel-1 pass.

    The rule is that of :func:`xcloudfree.stac.load`: use the nearest pass; among passes that are
    about equally near (within six hours), prefer the orbit that serves most dates, so that slopes
    keep their shading through the series. The orbit comes from the coordinates ``relative_orbit``
    or ``sat:relative_orbit`` along ``time`` of `s1`. Steps of `s1` within ten minutes of each other
    are slices of one pass and are joined. Nothing is computed.

    Parameters
    ----------
    s2 : Dataset or DataArray
        Sentinel-2 in any accepted form, with ``time``.
    s1 : Dataset or DataArray
        Sentinel-1 in any accepted form, with ``time``, on the grid of `s2`.
    max_gap : str or timedelta
        Largest distance in time between a date and its pass.

    Returns
    -------
    xarray.Dataset
        `s2` with ``VV``, ``VH``, or with ``s1`` if its bands are stacked; a DataArray becomes
        the variable ``s2``. Along ``time``: ``time_gap`` (Sentinel-1 minus Sentinel-2; NaT: no
        pass), ``relative_orbit`` (-1: unknown), ``orbit_state`` and ``s1_item_id``. Times are in
        UTC, without a time zone.

    Raises
    ------
    MissingBandError
        `s2` has no optical band, or `s1` no polarisation.
    GridError
        `s1` lies on another grid.
    DataError
        There is no time, or no pass within `max_gap` of any date.

    Warns
    -----
    UserWarning
        Dates without a pass within `max_gap`; their backscatter is NaN, or the declared no data.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((32, 32), dates=3, seed=1)
    >>> s2, s1 = scene.drop_vars(["VV", "VH"]), scene[["VV", "VH"]]
    >>> s1 = s1.assign_coords(time=s1.time + np.timedelta64(30, "h"))
    >>> ds = xcf.pair(s2, s1)
    >>> bool((ds.VV == scene.VV).all()), ds.time_gap.dt.total_seconds().values / 3600
    (True, array([30., 30., 30.]))
    """
    optical, radar = read(s2), read(s1)
    if optical.optical is None:
        raise MissingBandError(
            "s2 has no Sentinel-2 band", fix="call pair(s2[['B02', 'B03', 'B04']], s1)"
        )
    if radar.sar is None:
        raise MissingBandError("s1 has no polarisation", fix="call pair(s2, s1[['VV', 'VH']])")
    gap = np.timedelta64(duration(max_gap, "pair(s2, s1"))
    _check_same_grid(optical, radar)
    times, passes = _times(s2, "s2"), _passes(s1)
    chosen = nearest_passes(list(times), [one for one, _ in passes], gap)
    _warn_of_gaps(times, chosen, [one for one, _ in passes], gap)

    pairs = [None if n is None else passes[n][1] for n in chosen]
    layer = _paired(radar.sar, pairs, optical)
    out = s2.to_dataset(name="s2") if isinstance(s2, xr.DataArray) else s2
    if optical.form == "bands":
        out = out.assign({n: layer.arrays[k] for k, n in enumerate(layer.names)})
    else:
        out = out.drop_vars("s1", errors="ignore").assign(s1=_stack(layer))
    along = pass_coordinates(times, [None if n is None else passes[n][0] for n in chosen])
    if "time" in out.dims:
        return out.assign_coords(along | {"time": ("time", times, s2["time"].attrs)})
    single = {name: ((), values[0], *attrs) for name, (_, values, *attrs) in along.items()}
    return out.assign_coords(single | {"time": times[0]})


def duration(gap: str | timedelta | np.timedelta64, call: str) -> timedelta:
    """The largest distance in time, checked; `call` is the user's call, for the message."""
    if isinstance(gap, str | timedelta | np.timedelta64):  # pandas takes numbers as nanoseconds
        with suppress(ValueError):
            found = pd.Timedelta(gap)
            if found >= pd.Timedelta(0):  # NaT is not
                out: timedelta = found.to_pytimedelta()
                return out
    raise DataError(f"max_gap={gap!r} is not a duration", fix=f'call {call}, max_gap="3D")')


def _times(obj: xr.Dataset | xr.DataArray, name: str) -> npt.NDArray[np.datetime64]:
    """Times of an array, used to find passes."""
    if "time" not in obj.coords:
        raise DataError(
            f"{name} has no coordinate 'time', which is needed to find passes",
            fix=f'call pair({name}=ds.assign_coords(time=pandas.to_datetime(["2025-06-01", '
            "...])), ...)",
        )
    return utc_times(obj["time"], name, lacking=True)


def _check_same_grid(optical: Scene, radar: Scene) -> None:
    fix = "put Sentinel-1 on the grid of Sentinel-2, s1.odc.reproject(s2.odc.geobox)"
    if optical.spatial != radar.spatial or optical.shape != radar.shape:
        raise GridError(
            f"s1 has {dict(zip(radar.spatial, radar.shape, strict=True))} pixels and s2 "
            f"{dict(zip(optical.spatial, optical.shape, strict=True))}",
            fix=fix,
        )
    assert optical.optical is not None
    assert radar.sar is not None
    systems = [
        coordinate_system(scene.source, layer.arrays[0])
        for scene, layer in ((optical, optical.optical), (radar, radar.sar))
    ]
    if None not in systems and systems[0] != systems[1]:
        raise GridError("s1 and s2 lie in different coordinate systems", fix=fix)
    for dim in optical.spatial:
        if dim in optical.source.coords and dim in radar.source.coords:
            ours, theirs = (s.source[dim].values.astype(float) for s in (optical, radar))
            pixel = abs(np.diff(ours).mean()) if len(ours) > 1 else np.inf
            if not np.abs(ours - theirs).max(initial=0) <= 0.05 * pixel:
                raise GridError(f"s1 and s2 lie at different {dim!r}", fix=fix)


def along(ds: xr.Dataset | xr.DataArray, *names: str) -> list[Any]:
    """Values along time of the first of some coordinates that exists, or None for each date."""
    found = next((ds[name].values for name in names if name in ds.coords), None)
    return list(np.broadcast_to(np.asarray(found, object), ds["time"].size))


def _passes(s1: xr.Dataset | xr.DataArray) -> list[tuple[Pass, list[int]]]:
    """Passes of an array in order of time, each with its steps of ``time``."""
    times = _times(s1, "s1")
    platforms, states = along(s1, "platform"), along(s1, "orbit_state", "sat:orbit_state")
    orbits = along(s1, "relative_orbit", "sat:relative_orbit")
    ids = along(s1, "s1_item_id", "item_id", "id")
    groups: list[list[int]] = []
    for n in np.flatnonzero(~np.isnat(times))[np.argsort(times[~np.isnat(times)], kind="stable")]:
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and times[n] - times[last] <= np.timedelta64(SAME_PASS)
            and (platforms[n], states[n]) == (platforms[last], states[last])
        ):
            groups[-1].append(n)
        else:
            groups.append([n])
    out = []
    for steps in groups:
        first = steps[0]
        with suppress(TypeError, ValueError):
            orbits[first] = int(orbits[first])
        known = isinstance(orbits[first], int) and orbits[first] >= 0
        items = ", ".join(str(ids[n]) for n in steps if ids[n] is not None)
        state = str(states[first] or "").lower()
        key = f"{platforms[first]} {state} {times[first]}"
        orbit = orbits[first] if known else None
        out.append((Pass(key, times[first], orbit, 1.0, state, items), [int(n) for n in steps]))
    if not out:
        raise DataError("s1 has no date", fix="load some: pair(s2, xcloudfree.stac.load(...))")
    return out


def _warn_of_gaps(
    times: npt.NDArray[np.datetime64],
    chosen: Sequence[int | None],
    passes: Sequence[Pass],
    gap: np.timedelta64,
) -> None:
    alone = [time for time, n in zip(times, chosen, strict=True) if n is None]
    if not alone:
        return
    dated = [time for time in alone if not np.isnat(time)]
    least = max((min(abs(one.time - time) for one in passes) for time in dated), default=gap)
    days = int(np.ceil(least / np.timedelta64(1, "D")))
    shown = ", ".join(str(time)[:16] for time in alone[:5]) + (", ..." if len(alone) > 5 else "")
    problem = (
        f"No Sentinel-1 pass within {gap.astype(object)} of {len(alone)} of {len(times)} dates: "
        f"{shown}"
    )
    fix = f'reach the nearest pass of each with pair(s2, s1, max_gap="{days}D")'
    if len(alone) == len(times):
        raise DataError(problem, fix=fix)
    warnings.warn(f"Backscatter stays empty. {problem}; {fix}", UserWarning, stacklevel=3)


def _paired(layer: Layer, pairs: Sequence[list[int] | None], optical: Scene) -> Layer:
    """The backscatter of every date; nothing is computed."""
    dated = "time" in optical.source.dims
    assert optical.optical is not None
    sizes = optical.optical.arrays[0].chunksizes
    chunks = {dim: sizes[dim] for dim in optical.spatial if dim in sizes}
    arrays = []
    for array in layer.arrays:
        if "time" not in array.dims:
            array = array.expand_dims("time")
        array = array.drop_vars([c for c in array.coords if c != "band"])
        nodata = array.attrs.get("nodata", array.attrs.get("_FillValue"))
        if array.dtype.kind in "iu" and nodata is None and None in pairs:
            array = array.astype("float32")
        integers = array.dtype.kind in "iu" and nodata is not None
        blank = xr.full_like(array.isel(time=slice(0, 1)), nodata if integers else np.nan)
        steps = [blank if steps is None else _joined(array, steps, nodata) for steps in pairs]
        # slices, not a list of positions, for which dask would shuffle every chunk
        out = xr.concat(steps, "time") if steps else array.isel(time=slice(0, 0))
        out.attrs = array.attrs
        if out.chunks is not None and chunks:
            out = out.chunk(chunks)
        arrays.append(out if dated else out.isel(time=0))
    if layer.stacked:
        arrays = [arrays[0].isel(band=k, drop=True) for k in range(len(layer.names))]
    return Layer(layer.names, tuple(arrays), layer.variables)


def _joined(array: xr.DataArray, steps: Sequence[int], nodata: float | None) -> xr.DataArray:
    """One pass: its first slice, with gaps filled from the others in turn."""
    out, *others = (array.isel(time=slice(n, n + 1)) for n in steps)
    for other in others:
        valid = out.notnull() if nodata is None else out.notnull() & (out != nodata)
        out = out.where(valid, other)
    return out


def _stack(layer: Layer) -> xr.DataArray:
    """Polarisations along a separate dimension, as ``band`` is used by Sentinel-2."""
    out = xr.concat(layer.arrays, "polarization", combine_attrs="drop_conflicts")
    out = out.assign_coords(polarization=list(layer.names))
    return out.transpose(..., "polarization", *layer.arrays[0].dims[-2:])


def pass_coordinates(
    times: npt.NDArray[np.datetime64], chosen: Sequence[Pass | None]
) -> dict[str, Any]:
    """Metadata of the pass of each scene, along ``time``."""
    nat = np.timedelta64("NaT", "ns")
    gaps = [nat if one is None else one.time - t for t, one in zip(times, chosen, strict=True)]
    orbits = [-1 if p is None or p.relative_orbit is None else p.relative_orbit for p in chosen]
    return {
        "s1_item_id": ("time", np.array(["" if one is None else one.items for one in chosen])),
        "time_gap": (
            "time",
            np.array(gaps, "timedelta64[ns]"),
            {"long_name": "Sentinel-1 minus Sentinel-2 acquisition time"},
        ),
        "relative_orbit": (
            "time",
            np.array(orbits, "int16"),
            {"long_name": "relative orbit of Sentinel-1; -1: unknown"},
        ),
        "orbit_state": (
            "time",
            np.array(["" if one is None else one.orbit_state for one in chosen]),
            {"long_name": "direction of flight of Sentinel-1"},
        ),
    }


def nearest_passes(
    times: Sequence[np.datetime64], passes: Sequence[Pass], max_gap: np.timedelta64
) -> list[int | None]:
    """Position of the nearest pass of every scene; None if there is none within the gap."""
    # Passes within the gap that cover clearly less of the area than the best one are dropped
    # (FULL), and the nearest is used. If others are about as near (TIE), the orbit that serves
    # most scenes takes precedence, so that slopes keep their shading.
    gaps = [[abs(one.time - time) for one in passes] for time in times]
    tied = [_about_as_near(own, passes, max_gap) for own in gaps]
    served: dict[Any, int] = {}
    distance: dict[Any, np.timedelta64] = {}
    for own, near in zip(gaps, tied, strict=True):
        best: dict[Any, np.timedelta64] = {}
        for n in near:
            orbit = _orbit(passes[n])
            best[orbit] = min(best.get(orbit, own[n]), own[n])
        for orbit, gap in best.items():
            served[orbit] = served.get(orbit, 0) + 1
            distance[orbit] = distance.get(orbit, np.timedelta64(0)) + gap

    def rank(own: list[np.timedelta64], n: int) -> Any:
        orbit = _orbit(passes[n])
        return (-served[orbit], distance[orbit], str(orbit), own[n], passes[n].key)

    return [
        min(near, key=lambda n, own=own: rank(own, n)) if near else None  # type: ignore[misc]
        for own, near in zip(gaps, tied, strict=True)
    ]


def _about_as_near(
    gaps: Sequence[np.timedelta64], passes: Sequence[Pass], max_gap: np.timedelta64
) -> list[int]:
    near = [n for n, gap in enumerate(gaps) if gap <= max_gap]
    best = max((passes[n].coverage for n in near), default=0.0)
    near = [n for n in near if passes[n].coverage >= FULL * best]
    least = min((gaps[n] for n in near), default=max_gap)
    return [n for n in near if gaps[n] - least < TIE]


def _orbit(one: Pass) -> Any:
    """Orbit whose passes look alike; a pass of unknown orbit looks like no other."""
    return one.key if one.relative_orbit is None else one.relative_orbit
