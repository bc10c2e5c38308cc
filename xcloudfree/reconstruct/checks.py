"""Check that a scene, a model, and the images passed to a method fit together."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree import methods, models
from xcloudfree.core.grid import coordinate_system
from xcloudfree.core.radiometry import Calibration, SarCalibration
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Layer, Scene, listed
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import (
    DataError,
    DemonstrationWarning,
    GridError,
    MissingBandError,
    ModelError,
    QuantityWarning,
    UnitsError,
    UntrainedWarning,
)
from xcloudfree.models.shipped import shipped
from xcloudfree.models.spec import ModelSpec
from xcloudfree.models.variants import ANY_LEVEL

SIDE = 64
"""Rows and columns of a scene in memory that are searched for data."""


def check_inputs(scene: Scene, spec: ModelSpec) -> None:
    """Raise an error for data that does not suit the model."""
    why = f"model {spec.name!r}"
    scene.need_optical(spec.optical_bands, why)
    if spec.polarisations:
        scene.need_sar(spec.polarisations, why)
    if scene.level is None:
        raise UnitsError(
            f"reads {spec.level} reflectance and the level of the data is not declared",
            fix=f"declare it with ds.cloudfree.calibrate(level={spec.level!r}) if that is what "
            "it is",
            subject=why,
            option=f"--level {spec.level}",
        )
    if scene.level != spec.level:
        items = f"load {'Level-1C' if spec.level == 'TOA' else 'Level-2A'} items"
        raise UnitsError(
            f"was fitted on {spec.level} reflectance and the data is {scene.level}",
            fix=f"choose a model for {scene.level}{_shipped_for(scene)}, or {items}",
            subject=why,
            option=f"choose another with --model, or {items}",
        )


def check_fitness(scene: Scene, spec: ModelSpec) -> None:
    """Raise an error for data that does not suit the model; warn of weights of low quality."""
    if spec.architecture in ANY_LEVEL:
        scene.need_optical(() if scene.optical else ("B02",), f"model {spec.name!r}")
        _warn_of(spec)
        return
    check_inputs(scene, spec)
    why = f"model {spec.name!r}"
    extra = [b for b in scene.bands if b not in spec.optical_bands]
    if extra:
        warnings.warn(
            f"{why} does not reconstruct {', '.join(extra)}; occluded pixels of these bands become "
            "no data",
            UserWarning,
            stacklevel=4,
        )
    if spec.trained and spec.polarisations and scene.quantity not in (None, spec.sar_quantity):
        warnings.warn(
            f"{why} was fitted on {spec.sar_quantity} and the data is {scene.quantity}, which is "
            "about 1 to 2 dB brighter or darker depending on the incidence angle",
            QuantityWarning,
            stacklevel=4,
        )
    _warn_of(spec)


def _warn_of(spec: ModelSpec) -> None:
    """Warn of weights that were not fitted, or only to demonstrate the software."""
    why = f"model {spec.name!r}"
    if not spec.trained:
        warnings.warn(
            f"{why} was not fitted: it has its initial weights, and the result "
            "means nothing; fit it with xcloudfree.fit(...)",
            UntrainedWarning,
            stacklevel=5,
        )
    if spec.demonstration:
        warnings.warn(
            f"{why} demonstrates the software: it was fitted on a handful of regions and makes "
            "no claim of quality elsewhere; fit your own with xcloudfree.fit(...)",
            DemonstrationWarning,
            stacklevel=5,
        )


def _shipped_for(scene: Scene) -> str:
    """Names of shipped weights that fit the level and the bands of a scene."""
    have = set(scene.bands)
    fit = [
        repr(name)
        for name, spec in shipped().items()
        if spec.level == scene.level and set(spec.optical_bands) <= have
    ]
    return f", such as {', '.join(fit)}" if fit else " in xcloudfree.models.list()"


def check_known(name: str, others: Iterable[str] = ()) -> None:
    """Raise an error for a name that is neither a model nor a method."""
    others = list(others)
    if methods.known(name) or models.known(name) or name in others:
        return
    besides = f", or {', '.join(map(repr, others))}" if others else ""
    raise ModelError(
        "there is no model or method "
        f"{name!r}{did_you_mean(name, [*methods.names(), *models.list(), *others])}",
        fix=f"see the names in xcloudfree.models.list() and xcloudfree.methods.names(){besides}",
        option="see `xcloudfree models list` and `xcloudfree methods`",
    )


def check_suitable(scene: Scene, model: Any) -> None:
    """Raise an error for an unknown model, or one that needs other data, before torch is needed."""
    if isinstance(model, str):
        check_known(model)
    if (spec := models.declared(model)) is not None:
        check_inputs(scene, spec)


def check_options(blend: Any, precision: Any, interval: Any) -> None:
    """Raise an error for an unknown blending or precision, or an interval that is no share."""
    number = isinstance(interval, (int, float, np.number)) and not isinstance(interval, bool)
    if interval is not None and not (number and 0 < interval < 1):
        raise ModelError(
            f"interval is {interval!r}",
            fix="call reconstruct(interval=0.9) or with another share above 0 and below 1",
            option="--interval 0.9",
        )
    if blend not in ("feather", None):
        raise ModelError(
            f"blend is {blend!r}", fix="call reconstruct(blend='feather') or blend=None"
        )
    if precision not in ("float32", "bfloat16"):
        raise ModelError(
            f"precision is {precision!r}",
            fix="call reconstruct(precision='float32') or 'bfloat16'",
            option="--precision float32",
        )


def coarse_images(scene: Scene, images: Any) -> tuple[Layer, Calibration]:
    """The bands of a scene as seen by the coarse sensor, in the order of the scene."""
    optical = scene.need_bands()
    names = optical.names
    if all(isinstance(a.data, np.ndarray) for a in optical.arrays):
        images = images.compute()
    coarse = read(images)
    have = coarse.bands
    missing = [n for n in names if n not in have]
    if missing:
        raise MissingBandError(
            f"the scene has {listed(missing)} and the coarse images have {listed(have)}",
            fix="rename "
            "bands of the sensor to those nearest in wavelength, for example with "
            f"coarse.rename({{...: {missing[0]!r}}}), or leave bands of the scene out with "
            f"ds.drop_vars({missing})",
        )
    layer = coarse.need_optical(names, "the method")
    _check_dates(scene, coarse)
    _check_grid(scene, coarse)
    layer.dtype("coarse")
    return layer, coarse.calibration()


def _check_dates(scene: Scene, coarse: Scene) -> None:
    same = coarse.lead == scene.lead
    ours, theirs = (s.template() for s in (scene, coarse))
    for dim in scene.lead:
        same = same and ours.sizes[dim] == theirs.sizes[dim]
        if same and dim in ours.coords:
            same = dim in theirs.coords and bool((ours[dim].values == theirs[dim].values).all())
    if not same:
        raise DataError(
            f"the coarse images run along {_lead(coarse, theirs)} and the scene along "
            f"{_lead(scene, ours)}, and they must be of the same dates",
            fix="take those nearest with coarse.sel(time=ds.time, "
            "method='nearest').assign_coords(time=ds.time)",
        )


def _lead(scene: Scene, template: xr.DataArray) -> str:
    return listed([f"{d} ({template.sizes[d]})" for d in scene.lead])


def _check_grid(scene: Scene, coarse: Scene) -> None:
    ours, theirs = (_grid(s) for s in (scene, coarse))
    same = scene.shape == coarse.shape and ours.keys() == theirs.keys()
    for name, axis in ours.items():
        if same and len(axis) > 1:
            step = abs(float(axis[1] - axis[0]))
            same = bool((np.abs(axis - theirs[name]) < 0.01 * step).all())
    systems = [coordinate_system(s.source, s.template()) for s in (scene, coarse)]
    if None not in systems and systems[0] != systems[1]:
        same = False
    if not same:
        raise GridError(
            f"the coarse images ({_size(coarse)}) are not on the grid of the scene "
            f"({_size(scene)})",
            fix="put them there with coarse.odc.reproject(ds.odc.geobox, resampling='bilinear')",
        )


def _grid(scene: Scene) -> dict[Any, Any]:
    """Coordinates of rows and columns, if there are any."""
    template = scene.template()
    return {d: template[d].values for d in scene.spatial if d in template.coords}


def _size(scene: Scene) -> str:
    height, width = scene.shape
    return f"{height} x {width} px"


def in_memory(scene: Scene) -> bool:
    """Whether the values of a series are in memory, so that its gaps are known."""
    layers = [layer for layer in (scene.optical, scene.sar) if layer is not None]
    return all(a.variable._in_memory for layer in layers for a in layer.arrays)


def gaps(scene: Scene) -> list[tuple[str, str]]:
    """Problems of dates and bands of a scene in memory, each with the call that fixes it."""
    if scene.optical is None or len(scene.lead) != 1 or scene.lead[0] != "time":
        return []
    seen = _present(scene.optical, scene.calibration())
    if seen is None or not seen.size:
        return []
    found = []
    images: Any = seen.any(axis=1)
    heard = None if scene.sar is None else _present(scene.sar, scene.sar_calibration())
    if heard is not None:
        acquired = scene.source.coords.get("acquired")  # other times have no pass of their own
        taken = images if acquired is None else images & acquired.values
        lacking = taken & ~heard.all(axis=1)
        if (lacking == taken).all():
            call = 'xcf.pair(s2, s1, max_gap="6D")'
            found.append(("no date has both Sentinel-2 and Sentinel-1", f"pair them with {call}"))
        elif lacking.any():
            problem = f"Sentinel-1 is missing on {lacking.sum()} of {taken.sum()} dates"
            fix = 'look further for passes with xcf.pair(s2, s1, max_gap="12D"), or call '
            fix += 'reconstruct(model="kernel-fusion"), which reads dates without radar too'
            found.append((problem, fix))
    absent = images[:, None] & ~seen
    dates = np.flatnonzero(absent.any(axis=1)).tolist()
    if dates:
        bands = [n for n, gone in zip(scene.optical.names, absent.any(axis=0), strict=True) if gone]
        variables = [v for n, v in zip(scene.optical.names, scene.optical.variables, strict=False)
                     if n in bands]  # fmt: skip
        leave = f"ds.drop_vars({[str(v) for v in variables]})"
        if scene.optical.stacked:
            leave = f"ds.drop_sel(band={bands})"
        count = f"{len(dates)} date{'s' * (len(dates) > 1)}, which stay{'s' * (len(dates) == 1)}"
        problem = f"there is no data of {listed(bands)} on {count} unchanged"
        found.append((problem, f"leave them out with {leave} or ds.drop_isel(time={dates})"))
    return found


def dates_without_radar(scene: Scene) -> dict[str, str]:
    """Which dates of a series have no radar at all, as attributes, as far as that costs nothing."""
    name, said = "dates_without_radar", "dates_without_radar_from"
    template = scene.template()
    if "time" not in scene.lead or "time" not in template.coords:
        return {}
    if scene.sar is None:
        return {name: "all", said: "there is no Sentinel-1"}
    passes = scene.source.coords.get("time_gap")
    if scene.lead == ("time",) and in_memory(scene):
        heard = _present(scene.sar, scene.sar_calibration())
        assert heard is not None
        silent: NDArray[np.bool_] = np.array(~heard.any(axis=1))
        for date in np.flatnonzero(silent):  # a few pixels may lie between those looked at
            planes = np.stack([a.values[date] for a in scene.sar.arrays])
            silent[date] = not scene.sar_calibration().valid(planes).any()
        source = "pixels"
    elif passes is not None and passes.dims == ("time",):
        silent, source = passes.isnull().values, "passes (coordinate time_gap), not pixels"
    else:
        return {name: "not counted"}
    dates = [str(d.astype("datetime64[s]")) for d in utc_times(template["time"])[silent]]
    return {name: ", ".join(dates) or "none", said: source}


def _present(layer: Layer, rule: Calibration | SarCalibration) -> NDArray[np.bool_] | None:
    """Whether bands have data (date, band), on a grid of pixels; None if it must be read."""
    planes = layer.arrays
    if not all(a.variable._in_memory for a in planes):
        return None
    y, x = (slice(None, None, max(1, -(-n // SIDE))) for n in planes[0].shape[-2:])
    values = [a.variable.values[..., y, x] for a in planes]
    seen = rule.valid(values[0] if layer.stacked else np.stack(values, axis=1))
    return np.asarray(seen.any((-2, -1)))
