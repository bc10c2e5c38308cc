"""The rows of the help page: facts about a scene that need no computation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree import methods
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.grid import coordinate_system, is_geographic
from xcloudfree.core.plugins import third_party_names
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.restore import provenance_of
from xcloudfree.core.scene import Scene
from xcloudfree.core.times import utc_times
from xcloudfree.core.windows import Halo, merged
from xcloudfree.exceptions import CloudFreeError
from xcloudfree.masks.scores import METHODS
from xcloudfree.plot.help.suitability import judge_masks
from xcloudfree.reconstruct.checks import SIDE, gaps, in_memory
from xcloudfree.reconstruct.choice import BEST
from xcloudfree.reconstruct.compose import Provenance

SAMPLE = 128
"""Rows and columns of values in memory to use, and the largest number of dates."""

_LEVELS = {"TOA": "TOA (Level-1C)", "BOA": "BOA (Level-2A)"}
_PLURALS = {"time": ("date", "dates"), "patch": ("patch", "patches")}


@dataclass(frozen=True)
class Finding:
    """A row of the help page."""

    label: str
    value: str
    fix: str = ""  # the call that adds missing data
    option: str = ""  # the same for the command line, if different


def findings(scene: Scene) -> list[Finding]:
    """The rows of a scene; a row that fails gives the reason."""
    rows = (guarded(label, describe, scene) for label, describe in _ROWS.items())
    return [row for row in rows if row is not None]


def guarded(label: str, describe: Callable[[Any], Any], scene: Any) -> Any:
    """Result of a function, or a row with its error: a help page never fails."""
    try:
        return describe(scene)
    except CloudFreeError as error:
        problem = f"{error.subject} {error.problem}" if error.subject else error.problem
        return Finding(label, problem, error.fix, error.instruction)
    except Exception as error:  # attributes may contain anything
        return Finding(label, f"not readable, {type(error).__name__}: {error}")


def _optical(scene: Scene) -> Finding:
    if scene.optical is None:
        fix = "name Sentinel-2 bands B01 ... B12: ds.rename({...})"
        return Finding("optical", "none", fix, "name the bands with --bands B02,B03,B04,...")
    names = scene.optical.names
    whole = " (all 13)" if len(names) == len(S2_BANDS) else ""
    return Finding("optical", " ".join(names) + whole)


def _level(scene: Scene) -> Finding | None:
    if scene.optical is None:
        return None
    if scene.level is None:
        fix = 'ds.cloudfree.calibrate(level="TOA") or "BOA"'
        return Finding("level", "not declared", fix, "use --level TOA or BOA")
    return Finding("level", _LEVELS.get(scene.level, scene.level))


def _reflectance(scene: Scene) -> Finding | None:
    if scene.optical is None:
        return None
    rule = scene.calibration()
    kind = scene.optical.arrays[0].dtype
    offset = scene.source.coords.get("offset")
    by_date = ""
    if offset is not None and offset.variable._in_memory:
        values = np.unique(np.asarray(offset.values, float))
        by_date = f"; offset {', '.join(f'{v:+g}' for v in values)} applied on loading"
    if not rule.is_identity:
        value = f"{kind} x {rule.scale:g} {rule.offset:+g}, no data {rule.nodata}{by_date}"
        return Finding("reflectance", value)
    sampled = sample(scene.optical.arrays[0])
    if sampled is not None:
        rule.decode(sampled)  # refuses numbers that are no reflectance
    return Finding("reflectance", f"{kind}, taken as reflectance{by_date}")


def _backscatter(scene: Scene) -> Finding:
    if scene.sar is None:
        dated = "time" in scene.source.coords  # otherwise pairing is impossible
        call = "xcloudfree.pair(ds, s1)" if dated else "ds.assign(VV=..., VH=...)"
        option = "add a GeoTIFF with VV and VH on this grid, or load both sensors from a catalog"
        return Finding("backscatter", "none", f"add VV and VH on this grid: {call}", option)
    rule = scene.sar_calibration()
    sampled = sample(scene.sar.arrays[0])
    if sampled is not None:
        rule.decode(sampled)  # refuses numbers of another unit
    unit = "dB" if rule.units == "dB" else "linear power"
    names = " ".join(scene.sar.names)
    if scene.quantity is None:
        fix = 'ds.cloudfree.calibrate(quantity="sigma0") or "gamma0"'
        value = f"{names}, {unit}, quantity not declared"
        return Finding("backscatter", value, fix, "use --quantity sigma0 or gamma0")
    return Finding("backscatter", f"{names}, {unit}, {scene.quantity}")


def _grid(scene: Scene) -> Finding:
    size = f"{scene.shape[0]} x {scene.shape[1]} px"
    system = coordinate_system(scene.source, scene.first.arrays[0])
    steps = [_step(scene.source, dim) for dim in scene.spatial]
    geographic = scene.spatial[0] != "y" or is_geographic(system)
    if all(steps):
        apart = " x ".join(dict.fromkeys(f"{s:g}" for s in steps))
        size += f" of {apart}{'°' if geographic else ' m' if system else ''}"
    if system is None:
        value, option = f"{size}, no coordinate system", "gdal_edit.py -a_srs EPSG:... FILE"
        return Finding("grid", value, 'ds.rio.write_crs("EPSG:...")', option)
    return Finding("grid", f"{size}, {system}")


def _step(source: xr.Dataset | xr.DataArray, dim: Any) -> float:
    if dim not in source.coords or source.sizes[dim] < 2:
        return 0.0
    values = source[dim].values
    return abs(float(values[-1]) - float(values[0])) / (len(values) - 1)


def counted(size: int, dim: str) -> str:
    """Number of images along a dimension, in words: ``"1 date"``."""
    return f"{size} {_PLURALS.get(dim, (dim, dim))[size != 1]}"


def _dates(scene: Scene) -> Finding:
    parts = []
    for dim in scene.lead:
        size, coordinate = scene.source.sizes[dim], scene.source.coords.get(dim)
        text = counted(size, str(dim))
        if coordinate is not None and size and (dim == "time" or coordinate.dtype.kind == "M"):
            times = utc_times(coordinate)
            first, last = (np.datetime_as_string(pick(times), "D") for pick in (np.min, np.max))
            text += f", {first}" + (f" to {last}" if last != first else "")
        parts.append(text)
    return Finding("dates", "; ".join(parts) or "1 image without a time")


def _gaps(scene: Scene) -> Finding | None:
    """Data that is missing on some dates, for values in memory."""
    if scene.optical is not None and scene.lead == ("time",) and not in_memory(scene):
        y, x = scene.spatial
        part = f"ds.isel({y}=slice(0, {SIDE}), {x}=slice(0, {SIDE})).load().cloudfree"
        value = "not counted, since values are read when used"
        return Finding("missing", value, f"look at {part}", "xcloudfree judge reads parts of it")
    try:
        found = gaps(scene)
    except CloudFreeError:  # the rows of the sensors show the error
        return None
    if not found:
        return None
    problems, fixes = zip(*found, strict=True)
    return Finding("missing", "; ".join(problems), "; ".join(fixes))


def _no_data(scene: Scene) -> Finding | None:
    """Fraction of pixels without data, for values in memory."""
    sampled = None if scene.optical is None else sample(scene.optical.arrays[0])
    if sampled is None:
        return None
    try:
        share = 1 - float(scene.calibration().valid(sampled).mean())
    except CloudFreeError:  # the row of the reflectance shows the error
        return None
    if not share:
        return None
    fix = "if clouds were cut out: ds.cloudfree.reconstruct(fill_missing=True)"
    return Finding("no data", f"{share:.1%} of the pixels (sampled)", fix, "use --fill-missing")


def _clouds(scene: Scene) -> Finding | None:
    """Fraction of occluded pixels, for values in memory."""
    ready = next((v.name for v in judge_masks(scene) if v.fits and v.name in METHODS), None)
    try:
        shares = None if ready is None else cloud_shares(scene, ready)
    except CloudFreeError:  # the row of the reflectance shows the error
        return None
    if shares is None or ready is None or not np.isfinite(shares).all() or not shares.size:
        return None
    text = f"{shares.mean():.0%} of the pixels by mask {ready!r}"
    if shares.size > 1:
        text += f", {shares.min():.0%} to {shares.max():.0%} by image"
    return Finding("clouds", f"{text} (sampled)")


def _chunks(scene: Scene) -> Finding:
    template = scene.template()
    if template.chunks is None:
        loaded = scene.first.arrays[0].variable._in_memory
        return Finding("chunks", "in memory" if loaded else "in files, read when used")
    y, x = (template.variable.chunksizes[d] for d in scene.spatial)
    text = f"{max(y)} x {max(x)} px, {len(y) * len(x)} blocks a date"
    reach = methods.get(BEST).reach
    blocks = (merged(y, reach), merged(x, reach)) if scene.is_series else (y, x)
    factor = reading_factor(Halo(reach), blocks)
    text += f"; {BEST} (reach {reach} px) reads {factor:.2f} times their area"
    if factor > 1.6 and max(len(y), len(x)) > 1:
        rows, columns = scene.spatial
        fix = f"ds.chunk({rows}=1024, {columns}=1024)"
        return Finding("chunks", text, fix, "write the store again in blocks of 1024 px")
    return Finding("chunks", text)


def _provenance(scene: Scene) -> Finding | None:
    provenance = provenance_of(scene.source)
    if provenance is None:
        return None
    text = f"reconstructed by {provenance.attrs.get('model', 'an unnamed model')}"
    values = sample(provenance)
    if values is not None:
        shares = ((p.name.lower(), float((values == p.value).mean())) for p in Provenance)
        text += ": " + ", ".join(f"{share:.0%} {name}" for name, share in shares if share)
    return Finding("provenance", text)


def _plugins(scene: Scene) -> Finding | None:
    """Names only: unused packages are not imported."""
    named = [f"{kind} {', '.join(names)}" for kind, names in third_party_names().items() if names]
    return Finding("plug-ins", f"{'; '.join(named)} (imported when called)") if named else None


_ROWS: dict[str, Callable[[Scene], Finding | None]] = {
    "optical": _optical,
    "level": _level,
    "reflectance": _reflectance,
    "backscatter": _backscatter,
    "grid": _grid,
    "dates": _dates,
    "missing": _gaps,
    "no data": _no_data,
    "clouds": _clouds,
    "chunks": _chunks,
    "provenance": _provenance,
    "plug-ins": _plugins,
}


def reading_factor(halo: Halo, chunks: tuple[tuple[int, ...], tuple[int, ...]]) -> float:
    """Pixels that windows contain for each pixel of the scene.

    >>> reading_factor(Halo(8), ((16, 16), (32,)))
    1.5
    """
    factor = 1.0
    for lengths in chunks:
        read = sum(span.read_stop - span.read_start for span in halo.spans(lengths))
        factor *= read / max(1, sum(lengths))
    return factor


def sample(array: xr.DataArray) -> NDArray[Any] | None:
    """Some pixels and dates of an array (..., y, x); None if it would have to be read."""
    if array.chunks is not None or not array.variable._in_memory:
        return None
    steps = {d: slice(None, None, max(1, -(-n // SAMPLE))) for d, n in array.sizes.items()}
    return np.asarray(array.variable.isel(steps).values)


def cloud_shares(scene: Scene, name: str) -> NDArray[np.float64] | None:
    """Occluded fraction of each image in memory, by a built-in mask on a grid of pixels."""
    method = METHODS[name]
    if method.bands == ("SCL",):
        assert scene.classes is not None
        sources, rule = {"SCL": scene.classes}, Calibration()
    else:
        layer = scene.need_optical(method.bands, "the page")
        arrays = list(layer.arrays)
        if layer.stacked:
            arrays = [arrays[0].isel(band=i) for i in range(len(layer.names))]
        sources, rule = dict(zip(layer.names, arrays, strict=True)), scene.calibration()
    planes = {}
    for band, array in sources.items():
        values = sample(array)
        if values is None:
            return None
        if band == "B02":
            rule.decode(values)  # raises an error for numbers of another unit
        planes[band] = values.reshape(-1, *values.shape[-2:])
    images = (dict(zip(planes, image, strict=True)) for image in zip(*planes.values(), strict=True))
    return np.array([method.kernel(image, rule, method.threshold).mean() for image in images])
