"""What can be told of a scene without computing anything: the rows of the help page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.grid import coordinate_system
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import CloudFreeError
from xcloudfree.masks.scores import METHODS
from xcloudfree.plot.help.reading import DEFAULT_MODEL, reading_cost
from xcloudfree.plot.help.sampled import cloud_shares, sample
from xcloudfree.plot.help.suitability import judge_masks
from xcloudfree.reconstruct.compose import Provenance

_WORDS = {"time": ("date", "dates"), "patch": ("patch", "patches")}


@dataclass(frozen=True)
class Finding:
    """A row of the help page.

    Parameters
    ----------
    label, value : str
        What it is about, and what was found.
    call : str
        The call that mends it; empty where nothing is missing.
    """

    label: str
    value: str
    call: str = ""


def findings(scene: Scene) -> list[Finding]:
    """What was found in a scene; a row that cannot be told says why.

    Parameters
    ----------
    scene : Scene
        What was recognised.

    Returns
    -------
    list of Finding
    """
    rows = []
    for label, tell in _ROWS.items():
        try:
            row = tell(scene)
        except CloudFreeError as error:
            row = refusal(label, error)
        except Exception as error:  # a help page never fails
            row = Finding(label, f"not readable, {type(error).__name__}: {error}")
        if row is not None:
            rows.append(row)
    return rows


def refusal(label: str, error: CloudFreeError) -> Finding:
    """An error as a row: our messages end with the call that mends them, after a semicolon.

    Parameters
    ----------
    label : str
        What the row is about.
    error : CloudFreeError
        What was raised.

    Returns
    -------
    Finding

    Examples
    --------
    >>> refusal("grid", CloudFreeError("no dimension x; rename it with ds.rename(...)"))
    Finding(label='grid', value='no dimension x', call='rename it with ds.rename(...)')
    """
    value, _, call = str(error).rpartition("; ")
    return Finding(label, value, call) if value else Finding(label, call)


def _optical(scene: Scene) -> Finding:
    if scene.optical is None:
        return Finding("optical", "none", "name Sentinel-2 bands B01 ... B12: ds.rename({...})")
    names = scene.optical.names
    whole = " (all 13)" if len(names) == len(S2_BANDS) else ""
    return Finding("optical", " ".join(names) + whole)


def _level(scene: Scene) -> Finding | None:
    if scene.optical is None:
        return None
    known = {"TOA": "TOA (Level-1C)", "BOA": "BOA (Level-2A)"}
    if scene.level is None:
        return Finding("level", "not declared", 'ds.cloudfree.calibrate(level="TOA") or "BOA"')
    return Finding("level", known.get(scene.level, scene.level))


def _reflectance(scene: Scene) -> Finding | None:
    if scene.optical is None:
        return None
    rule = scene.calibration()
    kind = scene.optical.arrays[0].dtype
    where = scene.source.coords.get("offset")
    by_date = ""
    if where is not None and where.variable._in_memory:
        values = np.unique(np.asarray(where.values, float))
        by_date = f"; offset {', '.join(f'{v:+g}' for v in values)} applied on loading"
    if not rule.is_identity:
        value = f"{kind} x {rule.scale:g} {rule.offset:+g}, no data {rule.nodata}{by_date}"
        return Finding("reflectance", value)
    looked = sample(scene.optical.arrays[0])
    if looked is not None:
        rule.decode(looked)  # refuses numbers that are no reflectance
    return Finding("reflectance", f"{kind}, taken as reflectance{by_date}")


def _backscatter(scene: Scene) -> Finding:
    if scene.sar is None:
        call = "add VV and VH on this grid: ds.assign(VV=..., VH=...)"
        return Finding("backscatter", "none", call)
    rule = scene.sar_calibration()
    looked = sample(scene.sar.arrays[0])
    if looked is not None:
        rule.decode(looked)  # refuses numbers of another unit
    unit = "dB" if rule.units == "dB" else "linear power"
    names = " ".join(scene.sar.names)
    if scene.quantity is None:
        call = 'ds.cloudfree.calibrate(quantity="sigma0") or "gamma0"'
        return Finding("backscatter", f"{names}, {unit}, quantity not declared", call)
    return Finding("backscatter", f"{names}, {unit}, {scene.quantity}")


def _grid(scene: Scene) -> Finding:
    layer = scene.optical or scene.sar
    assert layer is not None
    size = f"{scene.shape[0]} x {scene.shape[1]} px"
    system = coordinate_system(scene.source, layer.arrays[0])
    steps = [_step(scene.source, dim) for dim in scene.spatial]
    geographic = scene.spatial[0] != "y" or _is_geographic(system)
    if all(steps):
        apart = " x ".join(dict.fromkeys(f"{s:g}" for s in steps))
        size += f" of {apart}{'°' if geographic else ' m' if system else ''}"
    if system is None:
        return Finding("grid", f"{size}, no coordinate system", 'ds.rio.write_crs("EPSG:...")')
    return Finding("grid", f"{size}, {system}")


def _step(source: xr.Dataset | xr.DataArray, dim: Any) -> float:
    if dim not in source.coords or source.sizes[dim] < 2:
        return 0.0
    values = source[dim].values
    return abs(float(values[-1]) - float(values[0])) / (len(values) - 1)


def _is_geographic(system: str | None) -> bool:
    if system is None:
        return False
    from pyproj import CRS

    return bool(CRS.from_user_input(system).is_geographic)


def counted(size: int, dim: str) -> str:
    """How many images there are along a dimension, in words: ``"1 date"``."""
    return f"{size} {_WORDS.get(dim, (dim, dim))[size != 1]}"


def _dates(scene: Scene) -> Finding:
    parts = []
    for dim in scene.lead:
        size, coordinate = scene.source.sizes[dim], scene.source.coords.get(dim)
        text = counted(size, str(dim))
        if coordinate is not None and coordinate.dtype.kind == "M" and size:
            first, last = (
                np.datetime_as_string(pick(coordinate.values), "D") for pick in (np.min, np.max)
            )
            text += f", {first}" + (f" to {last}" if last != first else "")
        parts.append(text)
    return Finding("dates", "; ".join(parts) or "1 image without a time")


def _clouds(scene: Scene) -> Finding | None:
    """Share of occluded pixels, of values that are in memory."""
    ready = next((v.name for v in judge_masks(scene) if v.fits and v.name in METHODS), None)
    try:
        shares = None if ready is None else cloud_shares(scene, ready)
    except CloudFreeError:  # told by the row of the reflectance
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
        layer = scene.optical or scene.sar
        assert layer is not None
        loaded = layer.arrays[0].variable._in_memory
        return Finding("chunks", "in memory" if loaded else "in files, read when used")
    y, x = (template.variable.chunksizes[d] for d in scene.spatial)
    text = f"{max(y)} x {max(x)} px, {len(y) * len(x)} blocks a date"
    factor, stride, reach = reading_cost((y, x))
    text += (
        f"; {DEFAULT_MODEL} (stride {stride}, reach {reach} px) reads {factor:.2f} times their area"
    )
    if factor > 1.6 and max(len(y), len(x)) > 1:
        rows, columns = scene.spatial
        return Finding("chunks", text, f"ds.chunk({rows}=1024, {columns}=1024)")
    return Finding("chunks", text)


def _provenance(scene: Scene) -> Finding | None:
    source = scene.source
    found = (source if isinstance(source, xr.Dataset) else source.coords).get("provenance")
    if found is None:
        return None
    text = f"reconstructed by {found.attrs.get('model', 'an unnamed model')}"
    values = sample(found)
    if values is not None:
        shares = ((p.name.lower(), float((values == p.value).mean())) for p in Provenance)
        text += ": " + ", ".join(f"{share:.0%} {name}" for name, share in shares if share)
    return Finding("provenance", text)


_ROWS: dict[str, Callable[[Scene], Finding | None]] = {
    "optical": _optical,
    "level": _level,
    "reflectance": _reflectance,
    "backscatter": _backscatter,
    "grid": _grid,
    "dates": _dates,
    "clouds": _clouds,
    "chunks": _chunks,
    "provenance": _provenance,
}


def missing(rows: list[Finding]) -> Iterator[Finding]:
    """Rows with a call that mends them.

    Parameters
    ----------
    rows : list of Finding
        From :func:`findings`.

    Yields
    ------
    Finding
    """
    return (row for row in rows if row.call)
