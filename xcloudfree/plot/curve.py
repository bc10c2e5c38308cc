"""The curve of one place: observed and reconstructed values, their interval, and radar below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xcloudfree.core.bands import optical_band
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import beside, provenance_of
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import DataError
from xcloudfree.masks import masking as masks
from xcloudfree.plot import canvas
from xcloudfree.plot.colours import PROVENANCE
from xcloudfree.plot.view import Spatial
from xcloudfree.reconstruct.compose import Provenance
from xcloudfree.reconstruct.indices import STATED, indices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEEN, MADE = PROVENANCE[1][1], PROVENANCE[2][1]

GREY = "#999999"
RADAR = ("#228833", "#aa3377")


def curve(
    obj: Spatial,
    at: tuple[float, float],
    of: str,
    *,
    observed: Spatial | None,
    mask: Any,
    figsize: tuple[float, float] | None,
) -> Figure:
    """Draw the curve of a band or an index at x and y."""
    flags = provenance_of(obj)
    made = flags is not None
    shown = _line(obj, at, of, _flags(obj, mask) if flags is None else flags)
    before = None
    if made and observed is not None:
        # with times= the result has other dates than the input
        same = np.array_equal(utc_times(observed["time"]), utc_times(obj["time"]))
        before = _line(observed, at, of, flags if same else _flags(observed, mask))
    radar = next((o for o in (observed, obj) if o is not None and read(o).sar is not None), None)

    count = 1 if radar is None else 2
    size = figsize or (8.0, 3.0 if radar is None else 4.2)
    figure, axes = canvas.pyplot().subplots(
        count, 1, figsize=size, sharex=True, squeeze=False, layout="constrained",
        height_ratios=[2.2, 1][:count],
    )  # fmt: skip
    _draw(axes[0, 0], shown, before, made)
    axes[0, 0].set_ylabel(of, fontsize=8)
    if radar is not None:
        _draw_radar(axes[1, 0], radar, at)
    columns, rows = reversed(read(obj).spatial)
    axes[0, 0].set_title(f"{columns} {at[0]:.9g}, {rows} {at[1]:.9g}", fontsize=9)
    canvas.short_dates(axes[-1, 0])
    for axis in axes[:, 0]:
        axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        axis.tick_params(labelsize=7, length=2.5, color=GREY)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(GREY)
    return canvas.finish(figure)


def _flags(obj: Spatial, mask: Any) -> xr.DataArray | None:
    """Flags of a scene without provenance: observed, or hidden."""
    if mask is None:
        return None
    hidden = masks.mask(obj, mask).astype(np.uint8)
    return Provenance.OBSERVED + hidden * (Provenance.UNRECONSTRUCTABLE - Provenance.OBSERVED)


def _line(obj: Spatial, at: tuple[float, float], of: str, flags: xr.DataArray | None) -> xr.Dataset:
    """Value, flags and bounds of one pixel, along time and in its order."""
    where = _where(obj, at)
    small = obj.isel(where)
    found: dict[str, xr.DataArray | None] = {}
    if (band := optical_band(of)) is not None:
        scene = read(small)
        layer = scene.need_optical([band], "the curve")
        found["value"] = scene.reflectance(layer.names)
        number = scene.optical.names.index(band)  # type: ignore[union-attr]
        for kind in STATED:
            planes = beside(scene, kind)
            found[kind] = None if planes is None else planes[number]
    else:
        made = indices(small, of)
        several = isinstance(made, xr.DataArray)
        found["value"] = made if several else made[of]
        for kind in STATED:
            found[kind] = made.coords.get(kind) if several else made.get(f"{of}_{kind}")
    if flags is not None:
        found["flags"] = flags.isel({d: s for d, s in where.items() if d in flags.dims})
    lines = {
        name: array.isel({d: 0 for d in array.dims if d != "time"}, drop=True)
        .reset_coords(drop=True)
        .variable
        for name, array in found.items()
        if array is not None
    }
    return xr.Dataset(lines, {"time": utc_times(small["time"])}).compute().sortby("time")


def _where(obj: Any, at: tuple[float, float]) -> dict[Any, slice]:
    """The pixel nearest to x and y, as rows and columns of one."""
    where, dims = {}, tuple(reversed(read(obj).spatial))
    centres = [
        np.asarray(obj[d].values if d in obj.coords else range(obj.sizes[d]), float) for d in dims
    ]
    for dim, value, line in zip(dims, at, centres, strict=True):
        number = int(np.abs(line - value).argmin())
        half = abs(line[-1] - line[0]) / max(1, line.size - 1) / 2
        if line.size > 1 and abs(line[number] - value) > half * 1.001:
            inside = tuple(float(c[c.size // 2]) for c in centres)
            raise DataError(
                f"{dim} = {value:g} lies outside the scene, from {line.min():g} to {line.max():g}",
                fix=f"call plot.series(..., at={inside})",
                option=f"--at {','.join(map(str, inside))}",
            )
        where[dim] = slice(number, number + 1)
    return where


def _draw(axis: Axes, shown: xr.Dataset, before: xr.Dataset | None, made: bool) -> None:
    """Curve, interval, and points by where they come from."""
    times, value = shown.time.values, shown.value.values
    low, high, words = _interval(shown)
    if low is not None:
        axis.fill_between(times, low, high, color=MADE, alpha=0.25, lw=0, label=words)
    flags = shown.flags.values if "flags" in shown else np.full(times.size, Provenance.OBSERVED)
    seen, filled = flags == Provenance.OBSERVED, flags == Provenance.RECONSTRUCTED
    line = np.where(seen | filled, value, np.nan)
    kept = np.isfinite(line)
    axis.plot(times[kept], line[kept], color=GREY, lw=1, zorder=1)
    if made:
        axis.plot(times[filled], value[filled], "o", ms=4, mfc="white", mec=MADE,
                  label="reconstructed")  # fmt: skip
    clear = before if before is not None and "flags" in before else shown
    if "flags" in clear:
        points = (clear.flags == Provenance.OBSERVED).values
        hidden = (clear.flags > Provenance.OBSERVED).values
        axis.plot(clear.time[points], clear.value[points], "o", ms=4, color=SEEN, label="observed")
        if not made or before is not None:
            axis.plot(clear.time[hidden], clear.value[hidden], "x", ms=4, color="#cc6677", lw=0.8,
                      alpha=0.7, label="hidden by cloud or shadow")  # fmt: skip
    else:
        axis.plot(times, value, "o", ms=4, color=SEEN, label="observed")
    _limit(axis, line, low, high)


def _limit(axis: Axes, line: Any, low: Any, high: Any) -> None:
    """Limits from valid values and their interval; clouds may lie outside."""
    kept = [part[np.isfinite(part)] for part in (line, low, high) if part is not None]
    ends = np.concatenate(kept)
    if ends.size:
        margin = 0.08 * max(float(np.ptp(ends)), 1e-3)
        axis.set_ylim(float(ends.min()) - margin, float(ends.max()) + margin)


def _interval(shown: xr.Dataset) -> tuple[Any, Any, str]:
    """Bounds of reconstructed values; observed values have none, so the interval closes there."""
    value = shown.value.values
    if "lower" in shown and "upper" in shown:
        bounds = shown.lower.values, shown.upper.values
        words = "interval"
    elif "std" in shown:
        bounds = value - shown["std"].values, value + shown["std"].values
        words = "± 1 standard deviation"
    else:
        return None, None, ""
    return (*(np.where(np.isfinite(b), b, value) for b in bounds), words)


def _draw_radar(axis: Axes, obj: Spatial, at: tuple[float, float]) -> None:
    scene = read(obj.isel(_where(obj, at)))
    planes = scene.backscatter().squeeze(scene.spatial, drop=True)
    times = utc_times(planes["time"])
    order = np.argsort(times, kind="stable")
    for name, plane, colour in zip(
        planes.band.values, planes.transpose("band", "time").values, RADAR, strict=False
    ):
        axis.plot(times[order], plane[order], color=colour, lw=1, marker=".", ms=4, label=str(name))
    axis.set_ylabel("backscatter (dB)", fontsize=8)
