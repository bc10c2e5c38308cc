"""Spectral indices of a labelled scene, with their deviations and bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.bands import optical_band
from xcloudfree.core.blocks import Output, Stage, map_windows
from xcloudfree.core.predictor import Doubles
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import beside, provenance_of
from xcloudfree.core.scene import BAND_DIMS, Scene
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.core.windows import Area
from xcloudfree.exceptions import CloudFreeError, DataError
from xcloudfree.methods import propagation
from xcloudfree.reconstruct.observe import FLOAT

STATED = ("std", "lower", "upper")


def indices(obj: Any, names: str | Sequence[str]) -> Any:
    """Compute spectral indices by name, from the catalogue of spyndex.

    Indices are computed from reflectance, with the default constants of the catalogue. Deviations
    and bounds of the bands are propagated to first order (delta method), for independent errors of
    the bands.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene in any accepted form, such as the result of `reconstruct` or `composite`.
    names : str or sequence of str
        Names such as ``"NDVI"``; ``spyndex.indices`` lists them.

    Returns
    -------
    Dataset or DataArray
        For a Dataset, a Dataset with a variable (..., y, x) per index, float32, without unit; for
        a DataArray, a DataArray with the names along ``band``. Lazy if the scene is. NaN without
        data, or where the formula has no finite value. ``provenance`` is kept. If the scene has
        deviations or bounds, so do the indices: ``NDVI_std``, ``NDVI_lower``, ``NDVI_upper``, or
        coordinates ``std``, ``lower``, ``upper``. The half widths of the bounds are propagated
        like deviations; if those of the bands are a multiple of the deviation, so are these.

    Raises
    ------
    CloudFreeError
        If spyndex is not installed.
    DataError
        If an index is unknown, or needs inputs other than reflectance and constants with defaults.
    MissingBandError
        If a band for an index is missing.
    UnitsError
        If the reflectance is ambiguous.

    References
    ----------
    Montero et al. 2023, A standardized catalogue of spectral indices,
    doi:10.1038/s41597-023-02096-0.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> ds = xcf.datasets.simulate_truth((32, 32), seed=1)
    >>> vegetation = ds.cloudfree.indices(["NDVI", "EVI"])
    >>> list(vegetation), bool((vegetation.NDVI < 1).all())
    (['NDVI', 'EVI'], True)
    """
    asked = [names] if isinstance(names, str) else list(dict.fromkeys(names)) or [""]
    catalogue = _spyndex()
    rules = [_rule(catalogue, name) for name in asked]
    scene = read(obj)
    every = list(dict.fromkeys(band for rule in rules for band in rule.bands.values()))
    layer = scene.need_optical(every, f"index {' or '.join(map(repr, asked))}")
    picked = [scene.optical.names.index(b) for b in layer.names]  # type: ignore[union-attr]
    stated = {kind: beside(scene, kind) for kind in STATED}
    kinds = [kind for kind, planes in stated.items() if planes is not None]
    if "lower" not in kinds or "upper" not in kinds:
        kinds = [kind for kind in kinds if kind == "std"]
    groups = [[a] for a in layer.by_band()]
    groups += [[(stated[kind] or [])[i].data] for kind in kinds for i in picked]
    work = _Compute(tuple(rules), layer.names, scene.calibration(), tuple(kinds))
    (data,) = map_windows(
        work, groups, [Output(FLOAT, len(rules) * (1 + len(kinds)))], lead=len(scene.lead)
    )
    planes = {
        (rule.name, kind): data[..., k * len(rules) + n, :, :]
        for k, kind in enumerate(("", *kinds))
        for n, rule in enumerate(rules)
    }
    return _labelled(scene, rules, planes, kinds)


@dataclass(frozen=True)
class _Rule:
    """An index of the catalogue."""

    name: str
    long_name: str
    bands: Mapping[str, str]  # canonical band by the letter in the formula
    constants: Mapping[str, float]

    def __call__(self, values: Mapping[str, Doubles]) -> Doubles:
        """The index of reflectance by canonical band."""
        letters = {letter: values[band] for letter, band in self.bands.items()}
        with np.errstate(all="ignore"):  # values that are not finite become NaN below
            found = import_module("spyndex").computeIndex(self.name, {**letters, **self.constants})
        return np.where(np.isfinite(found), found, np.nan)


@dataclass(frozen=True)
class _Compute(Stage):
    """Indices and their errors of the core of a block."""

    rules: tuple[_Rule, ...]
    bands: tuple[str, ...]
    calibration: Calibration
    kinds: tuple[str, ...]  # planes of each band, after the values

    def __call__(self, *windows: NDArray[Any], core: Area) -> tuple[NDArray[np.float32]]:
        """(*lead, index and error, y, x)."""
        planes = [w[..., *core] for w in windows]
        count = len(self.bands)
        stored = np.stack(planes[:count], axis=-3)
        reflectance = self.calibration.decode(stored).astype(np.float64)
        values = {b: reflectance[..., i, :, :] for i, b in enumerate(self.bands)}
        stated = {
            kind: {b: planes[(k + 1) * count + i].astype(np.float64) for i, b in enumerate(values)}
            for k, kind in enumerate(self.kinds)
        }
        found: dict[str, list[Doubles]] = {kind: [] for kind in ("", *self.kinds)}
        for rule in self.rules:
            own = {band: values[band] for band in rule.bands.values()}
            result = rule(own)
            found[""].append(result)
            slopes = propagation.gradient(rule, own) if self.kinds else {}
            if "std" in stated:
                found["std"].append(propagation.spread(slopes, stated["std"]))
            if "lower" in stated:
                below = {b: np.maximum(own[b] - stated["lower"][b], 0) for b in own}
                above = {b: np.maximum(stated["upper"][b] - own[b], 0) for b in own}
                down, up = propagation.reaches(slopes, below, above)
                found["lower"].append(result - down)
                found["upper"].append(result + up)
        whole = [plane for kind in ("", *self.kinds) for plane in found[kind]]
        return (np.stack(whole, axis=-3).astype(np.float32),)


def _spyndex() -> ModuleType:
    try:
        return import_module("spyndex")
    except ImportError as error:
        raise CloudFreeError(
            "spectral indices need spyndex", fix="install it with pip install 'xcloudfree[indices]'"
        ) from error


def _rule(catalogue: Any, name: str) -> _Rule:
    """Bands and constants of an index in the catalogue."""
    if name not in catalogue.indices:
        near = did_you_mean(name, catalogue.indices) if name else ""
        raise DataError(
            f"unknown index {name!r}{near}",
            fix='call indices(["NDVI"]) or with others of list(spyndex.indices)',
            option="--of NDVI",
        )
    entry = catalogue.indices[name]
    bands, constants = {}, {}
    for letter in entry.bands:
        sensor = getattr(catalogue.bands.get(letter), "sentinel2a", None)
        known = None if sensor is None else optical_band(sensor.band)
        constant = _constant(catalogue, letter)
        if known is not None:
            bands[letter] = known
        elif constant is not None:
            constants[letter] = constant
        else:
            raise DataError(
                f"index {name!r} needs {letter}, which is neither a band of Sentinel-2 nor a "
                "constant with a default",
                fix=f"compute it with spyndex.computeIndex({name!r}, {{{letter!r}: ..., ...}})",
                option="choose another index with --of",
            )
    return _Rule(name, entry.long_name, bands, constants)


def _constant(catalogue: Any, letter: str) -> float | None:
    """Default of a constant; wavelengths (nm) are those of Sentinel-2A."""
    if letter.startswith("lambda"):
        sensor = getattr(catalogue.bands.get(letter.removeprefix("lambda")), "sentinel2a", None)
        return None if sensor is None else float(sensor.wavelength)
    value = getattr(catalogue.constants.get(letter), "default", None)
    return None if value is None else float(value)


def _labelled(
    scene: Scene, rules: Iterable[_Rule], planes: Mapping[tuple[str, str], Any], kinds: list[str]
) -> Any:
    """Variables by index, or one array."""
    words = {
        "": "{}",
        "std": "standard deviation of {}",
        "lower": "lower bound of {}",
        "upper": "upper bound of {}",
    }
    template = scene.template()
    own = {k: c for k, c in template.coords.items() if k not in (*BAND_DIMS, *STATED)}
    carried = provenance_of(scene.source)
    found: dict[str, xr.DataArray] = {}
    for kind in ("", *kinds):
        for rule in rules:
            name = f"{rule.name}_{kind}" if kind else rule.name
            plane = xr.DataArray(planes[rule.name, kind], dims=template.dims, coords=own, name=name)
            plane.attrs = {"long_name": words[kind].format(rule.long_name), "units": "1"}
            found[name] = plane.transpose(*scene.dims)
    if scene.form != "array":
        if carried is not None:
            found["provenance"] = carried
        return xr.Dataset(found, attrs=scene.source.attrs)
    names = [rule.name for rule in rules]

    def stacked(kind: str) -> xr.DataArray:
        parts = [found[f"{n}_{kind}" if kind else n].drop_attrs() for n in names]
        whole = xr.concat(parts, dim=xr.Variable("band", names)).rename("indices")
        return whole.transpose(*scene.lead, "band", *scene.spatial)

    out = stacked("").assign_attrs(long_name="spectral indices", units="1")
    return out.assign_coords({kind: stacked(kind) for kind in kinds})
