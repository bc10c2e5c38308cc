"""The shift between Sentinel-1 and Sentinel-2 of a labelled scene, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, Together, map_windows
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Area, divided
from xcloudfree.exceptions import DataError, MissingBandError
from xcloudfree.masks.resolve import Mask, plan_mask
from xcloudfree.methods import misalignment
from xcloudfree.reconstruct.observe import CLEAR, FLOAT, Arrays, decode, observe


def shift(obj: Any, *, by: str = "scene", block: int = 128, mask: Mask = "auto") -> xr.Dataset:
    """Measure how far Sentinel-1 lies off Sentinel-2, block by block.

    The sizes of the gradients of both sensors are correlated (phase_cross_correlation of
    scikit-image, without normalisation by frequency, to a tenth of a pixel). A shift is reported
    where the peak of the correlation stands out, and the mutual information of the gradients has
    its own peak within 1.5 px; elsewhere, as on open water, it is NaN. Shifts up to 10 px are
    found.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene in any accepted form, with backscatter.
    by : str
        ``"scene"``: all dates together, which is surest. ``"date"``: each date by itself. Or the
        name of a coordinate along ``time``, such as ``"orbit_state"`` or ``"relative_orbit"``:
        dates of one value together.
    block : int
        Side of the blocks in pixels; blocks under 48 px tell nothing.
    mask : str, DataArray or callable
        What is occluded, see :func:`xcloudfree.masks.mask`.

    Returns
    -------
    Dataset
        ``dy`` and ``dx``, rows and columns in pixels by which Sentinel-1 lies below and right of
        Sentinel-2, and ``confidence`` (0 to 1: by how much the peak is above the next one), all
        float32, along ``y`` and ``x`` of the blocks' centres, and along time or the values of `by`.
        Lazy where the scene is.

    Raises
    ------
    MissingBandError
        If there is no backscatter, or there are no optical bands.
    DataError
        If `by` is no coordinate along time, `block` no size, or scikit-image is not installed.
    UnitsError
        If units are undeclared.

    References
    ----------
    Guizar-Sicairos et al. 2008, Optics Letters 33, 156-158; Studholme et al. 1999, Pattern
    Recognition 32, 71-86.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> ds = xcf.datasets.simulate_scene((128, 128), dates=3, cover=0.1, seed=1)
    >>> moved = ds.assign({n: ds[n].roll(x=3) for n in ("VV", "VH")})
    >>> moved.cloudfree.shift().dx.round().values.tolist()
    [[3.0]]
    """
    misalignment.registration()
    if isinstance(block, bool) or not isinstance(block, int) or block < misalignment.LEAST:
        raise DataError(f"block is {block!r}", fix="call shift(block=128), or 48 at least")
    scene = read(obj)
    if scene.optical is None or scene.sar is None:
        raise MissingBandError(
            "shift() compares backscatter with optical bands, and the data lacks one of them",
            fix="load both, for example with xcf.stac.load(...)",
        )
    labels, values = _groups(scene, by)
    masked = plan_mask(scene, mask, None, 0)
    reflectance, state = observe(scene, scene.optical, masked, None)
    windows = [reflectance, state, decode(scene, scene.sar, scene.sar_calibration())]
    lead = len(scene.lead)
    axis = scene.lead.index("time") if "time" in scene.lead else lead
    if "time" not in scene.lead:
        windows = [w[(slice(None),) * lead + (None,)] for w in windows]
        lead += 1
    sizes = [divided((n,), block) for n in scene.shape]
    for k, window in enumerate(windows):
        if hasattr(window, "rechunk"):
            ends = dict(zip((window.ndim - 2, window.ndim - 1), sizes, strict=True))
            windows[k] = window.rechunk(ends)
    (found,) = map_windows(
        _Measure(axis, labels), [[w] for w in windows], [Output(FLOAT, 3)],
        lead=lead, together=Together(axis, block),
    )  # fmt: skip
    starts = [np.cumsum((0, *s))[:-1] for s in sizes]
    firsts = [labels.index(n) for n in range(max(labels) + 1)]
    found = found[..., starts[0], :][..., starts[1]]
    found = found[(slice(None),) * axis + (firsts,)]
    if values is None:
        found = found[(slice(None),) * axis + (0,)]
    return _labelled(scene, found, sizes, by, values, axis)


@dataclass(frozen=True)
class _Measure(Stage):
    """The shift of a block, repeated at all its pixels and dates."""

    axis: int  # of time
    labels: tuple[int, ...]  # the group of each date

    def __call__(self, *windows: NDArray[Any], core: Area) -> Arrays:
        """Rows, columns and confidence (*lead, 3, y, x)."""
        reflectance, state, radar = (np.moveaxis(w, self.axis, 0) for w in windows)
        reflectance = np.where(((state & CLEAR) > 0)[..., None, :, :], reflectance, np.nan)
        out = np.empty((*state.shape[:-2], 3, *state.shape[-2:]), np.float32)
        for place in np.ndindex(state.shape[1:-2]):
            for group in range(max(self.labels) + 1):
                dates = (np.array(self.labels) == group, *place)
                found = misalignment.shift(reflectance[dates], radar[dates])
                out[dates] = np.array(found, np.float32)[:, None, None]
        return (np.moveaxis(out, 0, self.axis)[..., *core],)


def _groups(scene: Scene, by: str) -> tuple[tuple[int, ...], tuple[str, Any] | None]:
    """The group of each date, and dimension and values of the groups."""
    template = scene.template()
    count = template.sizes["time"] if "time" in scene.lead else 1
    if by == "scene":
        return (0,) * count, None
    if by == "date":
        if "time" not in scene.lead:
            return (0,) * count, None
        return tuple(range(count)), ("time", template.coords.get("time", np.arange(count)))
    along = scene.source.coords.get(by)
    if along is None or along.dims != ("time",) or "time" not in scene.lead:
        names = [str(n) for n, c in scene.source.coords.items() if c.dims == ("time",)]
        raise DataError(
            f"by is {by!r}, and the coordinates along time are {names}",
            fix="call shift(by='scene'), by='date' or by one of these",
        )
    values, labels = np.unique(along.values, return_inverse=True)
    return tuple(labels.tolist()), (by, values)


def _labelled(
    scene: Scene, found: Any, sizes: Sequence[Sequence[int]], by: str, values: Any, axis: int
) -> xr.Dataset:
    """The measurements with the centres of the blocks."""
    template = scene.template()
    lead = [d for d in scene.lead if d != "time"]
    if values is not None:
        lead.insert(axis, values[0])
    coords: dict[Any, Any] = {} if values is None else {values[0]: values[1]}
    for dim, size in zip(scene.spatial, sizes, strict=True):
        if dim in template.coords:
            ends = np.cumsum((0, *size))
            along = template[dim].values.astype(float)
            coords[dim] = [along[a:b].mean() for a, b in pairwise(ends)]
    for dim in lead:
        if dim in template.coords and dim not in coords:
            coords[dim] = template[dim]
    words = {
        "dy": {"long_name": "rows by which Sentinel-1 lies below Sentinel-2", "units": "px"},
        "dx": {"long_name": "columns by which Sentinel-1 lies right of Sentinel-2", "units": "px"},
        "confidence": {"long_name": "share by which the peak is above the next", "units": "1"},
    }
    dims = (*lead, *scene.spatial)
    arrays = {n: (dims, found[..., k, :, :], a) for k, (n, a) in enumerate(words.items())}
    return xr.Dataset(arrays, coords, {"by": by})
