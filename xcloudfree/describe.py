"""The help page behind ``ds.cloudfree``: what was recognised, what is missing, what to call."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from xcloudfree.exceptions import CloudFreeError
from xcloudfree.kernels.mask import METHODS
from xcloudfree.recognise import read
from xcloudfree.scene import Scene


def text(obj: Any) -> str:
    """Description in plain text.

    Parameters
    ----------
    obj : Dataset or DataArray
        A scene.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> print(text(xr.Dataset({"B02": (("y", "x"), np.zeros((4, 4), "float32"))})))
    <xcloudfree scene>
      optical       B02
      level         not declared: ds.cloudfree.calibrate(level="TOA") or "BOA"
      reflectance   float32, taken as reflectance
      backscatter   none: add VV and VH on this grid
      grid          4 x 4 px, no coordinate system: ds.rio.write_crs(...)
      dates         1
      chunks        in memory
    """
    return "\n".join(["<xcloudfree scene>", *(f"  {k:<14}{v}" for k, v in _rows(obj))])


def html(obj: Any) -> str:
    """Description as an HTML table.

    Parameters
    ----------
    obj : Dataset or DataArray
        A scene.

    Returns
    -------
    str
    """
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(k)}</th>"
        f"<td style='text-align:left'>{escape(v)}</td></tr>"
        for k, v in _rows(obj)
    )
    return f"<table><caption><b>xcloudfree scene</b></caption>{cells}</table>"


def _rows(obj: Any) -> list[tuple[str, str]]:
    try:
        scene = read(obj)
    except CloudFreeError as error:
        return [("problem", str(error))]
    except Exception as error:  # a help page never fails
        return [("problem", f"{type(error).__name__}: {error}")]
    rows = [
        ("optical", "none" if scene.optical is None else " ".join(scene.optical.names)),
        *((name, _safe(row, scene)) for name, row in _ROWS.items()),
    ]
    ready = [name for name, method in METHODS.items() if _has(scene, method.bands)]
    if ready:
        rows.append(("call", f".mask({ready[0]!r}), .weights(), .reconstruct(); masks: {ready}"))
    return rows


def _safe(row: Callable[[Scene], str], scene: Scene) -> str:
    try:
        return row(scene)
    except CloudFreeError as error:
        return str(error)
    except Exception as error:  # a help page never fails
        return f"not readable, {type(error).__name__}: {error}"


def _level(scene: Scene) -> str:
    return scene.level or 'not declared: ds.cloudfree.calibrate(level="TOA") or "BOA"'


def _reflectance(scene: Scene) -> str:
    if scene.optical is None:
        return "none: add Sentinel-2 bands, named B01 ... B12"
    rule = scene.calibration()
    kind = scene.optical.arrays[0].dtype
    if rule.is_identity:
        return f"{kind}, taken as reflectance"
    return f"{kind} x {rule.scale:g} {rule.offset:+g}, no data {rule.nodata}"


def _backscatter(scene: Scene) -> str:
    if scene.sar is None:
        return "none: add VV and VH on this grid"
    units = scene.sar_calibration().units
    kind = scene.quantity or "quantity not declared"
    return f"{' '.join(scene.sar.names)}, {'dB' if units == 'dB' else 'linear power'}, {kind}"


def _grid(scene: Scene) -> str:
    from xcloudfree.recognise import coordinate_system

    layer = scene.optical or scene.sar
    assert layer is not None
    found = coordinate_system(scene.source, layer.arrays[0])
    size = f"{scene.shape[0]} x {scene.shape[1]} px"
    return f"{size}, {found or 'no coordinate system: ds.rio.write_crs(...)'}"


def _dates(scene: Scene) -> str:
    layer = scene.optical or scene.sar
    assert layer is not None
    count = 1
    for dim in scene.lead:
        count *= layer.arrays[0].sizes[dim]
    return str(count)


def _chunks(scene: Scene) -> str:
    template = scene.template()
    if template.chunks is None:
        return "in memory"
    y, x = (template.variable.chunksizes[d] for d in scene.spatial)
    return f"{max(y)} x {max(x)} px, {len(y) * len(x)} blocks a date"


_ROWS: dict[str, Callable[[Scene], str]] = {
    "level": _level,
    "reflectance": _reflectance,
    "backscatter": _backscatter,
    "grid": _grid,
    "dates": _dates,
    "chunks": _chunks,
}


def _has(scene: Scene, bands: tuple[str, ...]) -> bool:
    if bands == ("SCL",):
        return scene.classes is not None
    return scene.optical is not None and set(bands) <= set(scene.optical.names)
