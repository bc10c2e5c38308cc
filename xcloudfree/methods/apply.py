"""Classical methods on a labelled scene, lazy where the scene is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree._version import __version__
from xcloudfree.acquisitions import EPOCH, planes
from xcloudfree.blocks import BLOCK, Output, map_windows
from xcloudfree.exceptions import DataError, MissingBandError, ModelError, UnitsError
from xcloudfree.kernels.composite import Provenance
from xcloudfree.kernels.windows import Halo, Span
from xcloudfree.masks import Mask, plan_mask
from xcloudfree.methods.method import Area, Method
from xcloudfree.methods.stages import Conclude, Hear, Join, Measure, Predict, Reader, See, Surround
from xcloudfree.recognise import read
from xcloudfree.reconstruction import EDGE, Blend
from xcloudfree.scene import Scene

FLOAT, DOUBLE, BYTE = (np.dtype(t) for t in ("float32", "float64", "uint8"))


def apply_method(
    obj: Any,
    method: Method,
    *,
    mask: Mask = "score",
    dilate: int = 0,
    halo: Any = "exact",
    blend: Blend = "feather",
    uncertainty: bool = False,
) -> Any:
    """Reconstruct what clouds hide with a classical method.

    The methods take any optical bands of any level. What they need to know of the whole scene they
    sum up block by block in passes of their own, so that the result does not depend on the chunks.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene in any accepted form.
    method : Method
        See :func:`xcloudfree.methods.get`.
    mask, dilate, blend
        See :func:`xcloudfree.reconstruct.reconstruct`.
    halo : "exact"
        Methods have no other.
    uncertainty : bool
        Whether to return the standard deviation that the method estimates, where it does.

    Returns
    -------
    Dataset or DataArray
        As from :func:`xcloudfree.reconstruct.reconstruct`. Occluded pixels of which the method
        can tell nothing, for example without a clear date, become no data and are flagged
        unreconstructable.

    Raises
    ------
    MissingBandError
        If there are no optical bands, or the backscatter that the method needs is absent.
    DataError
        If the method is temporal and the data is no series.
    UnitsError
        If units are undeclared.
    ModelError
        If the method cannot run as asked.
    """
    _check_options(method, halo, uncertainty)
    scene = read(obj)
    optical = scene.optical
    if optical is None:
        raise MissingBandError(
            f"method {method.name!r} reconstructs optical bands and the data has none; load some, "
            "for example with xcf.stac.load(...)"
        )
    kinds = {a.dtype for a in optical.arrays}
    if len(kinds) > 1:
        raise UnitsError(
            f"the reflectance bands differ in type ({sorted(map(str, kinds))}); "
            "make them alike with ds.astype('float32')"
        )
    axis, days = _time(scene, method)
    radar = bool(method.polarisations)
    reader = Reader(axis, days, radar, bool(method.planes))
    rule, masked = scene.calibration(), plan_mask(scene, mask, None, dilate)
    edge, lead, bands = EDGE if blend else 0, len(scene.lead), len(optical.names)
    stored = planes(optical)
    reflectance, state = map_windows(
        See(optical.names, rule, masked, bool(blend)),
        [stored, *(masked.groups if masked.separate else [])],
        [Output(FLOAT, bands), Output(BYTE)],
        lead=lead,
        plan=Halo(masked.reach + edge),
    )
    windows = [reflectance, state]
    if radar:
        layer = scene.need_sar(method.polarisations, f"method {method.name!r}")
        windows += map_windows(
            Hear(scene.sar_calibration()),
            [planes(layer)],
            [Output(FLOAT, len(method.polarisations))],
            lead=lead,
        )
    work = _Work(method, reader, lead, [_whole(w, axis) for w in windows])
    mean, *deviation = work.predict(bands, uncertainty)
    results = map_windows(
        Join(rule, bool(blend), uncertainty),
        [stored, *([a] for a in (state, mean, *deviation))],
        [Output(kinds.pop(), bands), Output(BYTE)] + [Output(FLOAT, bands)] * uncertainty,
        lead=lead,
        plan=Halo(edge),
    )
    attrs = {"model": method.name, "mask": masked.label, "blend": blend or "none"}
    data, provenance, spread = (*results, None)[:3]
    return scene.restore(data, _flags(scene, provenance, attrs), spread)


@dataclass
class _Work:
    """A method on the physical values of a scene: arrays (*lead, [band,] y, x)."""

    method: Method
    reader: Reader
    lead: int
    windows: list[Any]

    def predict(self, bands: int, uncertainty: bool) -> tuple[Any, ...]:
        """Mean and, if asked for, standard deviation."""
        plan = Halo(self.method.reach)
        if self.method.planes:
            before = replace(self.reader, context=False)
            outputs = [Output(FLOAT, self.method.planes)]
            self.windows += self._map(Surround(self.method, before), self.windows, outputs, plan)
            plan = Halo()
        known: list[Any] = []
        for measured, concluded in self.method.passes(bands):
            totals = self._measure(measured, known, plan)
            known.append(_call(Conclude(self.method, self.reader), [totals, *known], concluded))
        outputs = [Output(FLOAT, bands)] * (1 + uncertainty)
        function = Predict(self.method, self.reader, uncertainty)
        return self._map(function, [*self.windows, *map(self._spread, known)], outputs, plan)

    def _map(
        self, function: Any, windows: Sequence[Any], outputs: Sequence[Output], plan: Halo
    ) -> tuple[Any, ...]:
        if any(not isinstance(w, np.ndarray) for w in windows):
            return map_windows(function, [[w] for w in windows], outputs, lead=self.lead, plan=plan)
        head, size = windows[1].shape[: self.lead], windows[1].shape[-2:]
        results = tuple(np.empty((*head, o.bands or 1, *size), o.dtype) for o in outputs)
        for rows, columns in _blocks(size, plan):
            area = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
            parts = function(
                *(w[..., *_read(rows, columns)] for w in windows), core=_core(rows, columns)
            )
            for result, part in zip(results, parts, strict=True):
                result[..., *area] = part
        return results

    def _measure(self, numbers: int, known: Sequence[Any], plan: Halo) -> Any:
        """Sums over the scene, (*lead, number, 1, 1)."""
        function = Measure(self.method, self.reader)
        windows = [*self.windows, *map(self._spread, known)]
        if all(isinstance(w, np.ndarray) for w in windows):
            total: Any = 0.0
            for rows, columns in _blocks(windows[0].shape[-2:], plan):
                parts = (w[..., *_read(rows, columns)] for w in windows)
                total = total + function.sums(*parts, core=_core(rows, columns))
            return total
        (parts,) = self._map(function, windows, [Output(DOUBLE, numbers)], plan)
        ones = [(1,) * len(c) for c in parts.chunks[-2:]]
        sums = parts.map_blocks(_corner, chunks=(*parts.chunks[:-2], *ones), meta=_EMPTY)
        return sums.sum((-2, -1), keepdims=True)

    def _spread(self, known: Any) -> Any:
        """Numbers (*lead, number, 1, 1) at every pixel, as views of one."""
        like = self.windows[0]
        shape = (*known.shape[:-2], *like.shape[-2:])
        if isinstance(known, np.ndarray):
            return np.broadcast_to(known, shape)
        chunks = (*known.chunks[:-2], *like.chunks[-2:])
        return like.map_blocks(_broadcast, known, chunks=chunks, meta=_EMPTY)


_EMPTY = np.empty((0,))


def _blocks(size: tuple[int, ...], plan: Halo) -> Iterator[tuple[Span, Span]]:
    """Rows and columns in which images in memory are worked through, all dates at once."""
    rows, columns = (
        plan.spans([min(BLOCK, n - start) for start in range(0, n, BLOCK)]) for n in size
    )
    yield from product(rows, columns)


def _read(rows: Span, columns: Span) -> Area:
    return slice(rows.read_start, rows.read_stop), slice(columns.read_start, columns.read_stop)


def _core(rows: Span, columns: Span) -> Area:
    return rows.core, columns.core


def _corner(block: Any) -> Any:
    return block[..., :1, :1]


def _broadcast(block: Any, numbers: Any) -> Any:
    return np.broadcast_to(numbers, (*numbers.shape[:-2], *block.shape[-2:]))


def _call(function: Conclude, numbers: Sequence[Any], count: int) -> Any:
    first, *others = numbers
    if isinstance(first, np.ndarray):
        return function(first, *others)
    chunks = (*first.chunks[:-3], (count,), (1,), (1,))
    return first.map_blocks(function, *others, chunks=chunks, meta=_EMPTY)


def _whole(array: Any, axis: int | None) -> Any:
    """With all dates in one chunk."""
    if axis is None or isinstance(array, np.ndarray):
        return array
    return array.rechunk({axis: -1})


def _time(scene: Scene, method: Method) -> tuple[int | None, tuple[float, ...] | None]:
    """Which leading dimension is time, and the day number of each date."""
    if not method.temporal:
        return None, None
    template = scene.template()
    if "time" not in scene.lead or "time" not in template.coords:
        raise DataError(
            f"method {method.name!r} reads a series and the data has no time coordinate; give it "
            "one with ds.expand_dims(time=...) or ds.assign_coords(time=...), or call "
            'reconstruct(model="idw")'
        )
    times = template["time"].values
    if times.dtype.kind != "M" or np.isnat(times).any():
        raise DataError(
            f"the time coordinate holds {times.dtype} and not dates throughout; set it with "
            "ds.assign_coords(time=np.array([...], 'datetime64[ns]'))"
        )
    if len(times) < 2:
        raise DataError(
            f"method {method.name!r} reads other dates and the data has one; load a longer "
            'interval, or call reconstruct(model="idw")'
        )
    numbers = (times.astype("datetime64[ns]") - EPOCH) / np.timedelta64(1, "D")
    return scene.lead.index("time"), tuple(numbers.tolist())


def _check_options(method: Method, halo: Any, uncertainty: bool) -> None:
    if halo != "exact" or isinstance(halo, bool):
        raise ModelError(
            f"halo is {halo!r} and method {method.name!r} knows its own; "
            "call reconstruct(halo='exact')"
        )
    if uncertainty and not method.deviation:
        raise ModelError(
            f"method {method.name!r} estimates no uncertainty; choose one that does, such as "
            'reconstruct(model="kriging", uncertainty=True)'
        )


def _flags(scene: Scene, provenance: Any, attrs: dict[str, str]) -> xr.DataArray:
    template = scene.template()
    return xr.DataArray(
        provenance,
        dims=template.dims,
        coords=template.coords,
        name="provenance",
        attrs={
            "long_name": "provenance of the pixel",
            "flag_values": np.array([p.value for p in Provenance], np.uint8),
            "flag_meanings": " ".join(p.name.lower() for p in Provenance),
            **attrs,
            "xcloudfree_version": __version__,
        },
    ).transpose(*scene.dims)
