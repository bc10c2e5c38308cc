"""From a mask, or the name of one, to a plan for blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, map_windows
from xcloudfree.core.nodata import declared
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Tiles
from xcloudfree.exceptions import CloudFreeError, GridError, MissingBandError
from xcloudfree.masks import scores as kernel
from xcloudfree.masks.adapters import TILE, TiledMask, mask_plugin
from xcloudfree.masks.haze import haze_mask, takes_haze
from xcloudfree.masks.plan import MaskPlan
from xcloudfree.masks.quality_layers import LAYER_METHODS, find_layer, layer_mask
from xcloudfree.masks.scores import AUTO, HAZE, SERIES
from xcloudfree.masks.series import ENOUGH, dates_of, series_mask
from xcloudfree.masks.shadow import Shadow, with_shadow

MARGINS = {"scl": 2, "score": 4, "l2a": 4, HAZE: 2}
"""Pixels by which masks of single dates grow if no series refines them. The scene classification
missed a rim of about that width on three development series, and other layers grow equally. With 4
px of margin every method improved on 8 single images under real clouds, kernel fusion by 1.4 dB.
The haze mask has the margin of the classes, see examples/near_dates.py."""

Mask = str | xr.DataArray | Callable[[Any], xr.DataArray]
"""Name of a method, a boolean array, or a function from the scene to one."""


def plan_mask(
    scene: Scene,
    method: Mask,
    threshold: float | None,
    dilation: int,
    *,
    shadow: Shadow = False,
    haze: float | None = None,
) -> MaskPlan:
    """Turn a method into a plan; with shadow the plan reads a finished mask of the whole scene."""
    if isinstance(dilation, bool) or not isinstance(dilation, (int, np.integer)) or dilation < 0:
        raise CloudFreeError(
            f"dilate is {dilation!r}",
            fix="call reconstruct(dilate=3) or mask(dilate=3), or with other whole pixels",
            option="--dilate 3",
        )
    if threshold is not None and not _is_score(threshold):
        raise CloudFreeError(
            f"threshold is {threshold!r}", fix="call mask(threshold=0.2)", option="--threshold 0.2"
        )
    dilation = int(dilation)  # a small integer of numpy would overflow when squared
    if isinstance(method, str) and method == AUTO:
        method, margin, reason = best_mask(scene)
        found = plan_mask(scene, method, threshold, max(dilation, margin), shadow=shadow, haze=haze)
        return replace(found, reason=reason)
    plan = _plan_cloud(scene, method, threshold, dilation)
    scored = isinstance(method, str) and method in kernel.METHODS and method != "scl"
    if haze is not None:
        if not scored or not _is_score(haze) or not haze < plan.threshold:
            raise CloudFreeError(
                f"haze={haze!r} must be a score below that of cloud; mask method {plan.label!r} "
                f"{f'takes {plan.threshold:g} for cloud' if scored else 'has no score'}",
                fix='call mask(method="score", haze=0.15)',
            )
        plan = replace(plan, haze=float(haze))
    refined = isinstance(method, str) and method.endswith((SERIES, HAZE)) and "scl" not in method
    if shadow is False or (shadow is None and not scored and not refined):
        return plan
    if isinstance(method, str) and method == "scl":
        raise CloudFreeError(
            "the scene classification already contains cloud shadow",
            fix="call mask(method='scl', shadow=False), or mask(method='l2a', shadow=True)",
            option="--mask scl or --mask l2a --shadow",
        )
    dates = dates_of(scene) if isinstance(method, str) and method.endswith(SERIES) else None
    shaded = with_shadow(scene, replace(plan, dilation=0), shadow, dates)
    if shaded is None:
        return plan
    array, label = shaded
    return _finished(label, array, dilation)


def with_classes(plan: MaskPlan, classes: Sequence[int]) -> MaskPlan:
    """The same plan with other classes of the scene classification."""
    chosen = tuple(int(c) for c in classes)
    if plan.bands != ("SCL",) or not chosen or not set(chosen) <= set(range(kernel.LAST_CLASS + 1)):
        raise CloudFreeError(
            f"classes={list(classes)!r} must be whole numbers from 0 to {kernel.LAST_CLASS} of the "
            f"scene classification, and the mask is {plan.label!r}",
            fix='call mask("scl", classes=[1, 2, 3, 7, 8, 9, 10])',
        )
    return replace(plan, classes=chosen)


def best_mask(scene: Scene) -> tuple[str, int, str]:
    """The best method that the data allows, the pixels to grow it by, and why."""
    single, margin, what = _best_single(scene)
    dates = dates_of(scene)
    few = f"there are fewer than {ENOUGH} dates, so each is masked separately"
    refinement, grown = "", 0
    if dates is not None and len(dates[1]) >= ENOUGH:
        refinement, does = SERIES, f"compares the {len(dates[1])} dates with each other"
    elif takes_haze(scene):
        refinement, grown = HAZE, MARGINS[HAZE]
        does = f"looks for haze that a mask of one date misses; {few}"
    if refinement:
        begin = f"starts from {single!r}, because {what}, and" if single else f"{what}; it"
        method = f"{single}+{refinement}" if single else refinement
        return method, grown, f"{begin} {does}"
    if single is None:
        raise MissingBandError(
            "no mask of a single date can be made from these bands",
            fix="load the scene classification (SCL), or B01, B02, B03, B04 and B11; "
            f"{ENOUGH} dates with B02, B03, B04 and B08 are enough too; or give "
            "mask=, a boolean DataArray",
            option="load the scene classification (SCL), or B01, B02, B03, B04 and B11; "
            f"{ENOUGH} dates with B02, B03, B04 and B08 are enough too",
        )
    return single, margin, f"{what}; {few}"


def _best_single(scene: Scene) -> tuple[str | None, int, str]:
    """The best method for one date, its margin in pixels, and why."""
    have = scene.bands
    if scene.classes is not None:
        return "scl", MARGINS["scl"], "there is a scene classification"
    if set(kernel.METHODS["score"].bands) <= set(have):
        return "score", MARGINS["score"], "the bands of eq. 13-16 are available"
    if (found := find_layer(scene)) is not None:
        return found[0].method, MARGINS["scl"], f"there is {found[1]}"
    if set(kernel.METHODS["l2a"].bands) <= set(have):
        return "l2a", MARGINS["l2a"], "there is neither a scene classification nor B10"
    return None, 0, "there is no scene classification and no B01 or B11"


def _finished(label: str, array: Any, dilation: int) -> MaskPlan:
    """A plan that reads a mask and only dilates it."""
    return MaskPlan(label, (), None, Calibration(), 0.0, dilation, [[array]])


def _is_score(value: Any) -> bool:
    kinds = (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, bool) and bool(np.isfinite(value))


def _plan_cloud(scene: Scene, method: Mask, threshold: float | None, dilation: int) -> MaskPlan:
    if not isinstance(method, str):
        array: Any = method
        if callable(array) and not isinstance(array, xr.DataArray):
            array = array(scene.source)
        given = _on_scene(scene, array)
        return _finished("given", given.data, dilation)
    start, plus, refinement = method.rpartition("+")
    if refinement in (SERIES, HAZE):
        begin = start if plus else _best_single(scene)[0]
        plan = None
        if begin is not None:
            grown = MARGINS.get(begin, MARGINS["scl"]) if refinement == HAZE else 0
            plan = _plan_cloud(scene, begin, threshold, grown)
        refine = haze_mask if refinement == HAZE else series_mask
        return _finished(method, refine(scene, plan), dilation)
    if method in LAYER_METHODS:
        return _finished(method, layer_mask(scene, method, threshold).data, dilation)
    if method not in kernel.METHODS:
        return _plan_plugin(scene, method, threshold, dilation)
    chosen = kernel.METHODS[method]
    limit = chosen.threshold if threshold is None else threshold
    if chosen.bands == ("SCL",):
        if scene.classes is None:
            raise MissingBandError(
                'the mask "scl" needs the scene classification and the data has no variable SCL',
                fix='load it too, or call mask(method="l2a")',
                option="--mask l2a",
            )
        call = f"ds.assign({{{scene.classes.name!r}: ds[{scene.classes.name!r}].drop_attrs()}})"
        numbers = declared(scene.classes, call)
        rule = Calibration(nodata=numbers[0] if numbers else None)
        groups = [[_classes(scene, scene.classes, rule).data]]
    else:
        layer = scene.need_optical(chosen.bands, f"mask method {method!r}")
        groups, rule = [[a.data for a in layer.arrays]], scene.calibration()
    return MaskPlan(method, chosen.bands, chosen, rule, limit, dilation, groups)


def _classes(scene: Scene, classes: xr.DataArray, rule: Calibration) -> xr.DataArray:
    """The scene classification, marked where it has no class but the bands have data."""
    if scene.optical is None:
        return classes
    band, measured = scene.optical.arrays[0], scene.calibration().valid
    band = band.isel(band=0, drop=True) if scene.optical.stacked else band

    def marked(numbers: NDArray[Any], stored: NDArray[Any]) -> NDArray[Any]:
        without = (numbers == 0) | (~rule.valid(numbers) & ~np.isposinf(numbers))
        without &= measured(stored)
        return np.where(without, numbers.dtype.type(kernel.UNCLASSED), numbers)

    return xr.apply_ufunc(  # type: ignore[no-any-return]
        marked, classes, band, dask="parallelized", output_dtypes=[classes.dtype], join="override"
    )


def _plan_plugin(scene: Scene, name: str, threshold: float | None, dilation: int) -> MaskPlan:
    """A mask of another package; one that reads its whole input is computed beforehand."""
    named = mask_plugin(name)
    chosen, plugin = named.method, named.plugin
    layer = scene.need_optical(plugin.bands, f"mask method {name!r}")
    named.check_level(scene.level)
    rule, limit = scene.calibration(), plugin.threshold if threshold is None else threshold
    planes = layer.by_band()
    if plugin.reach is not None:
        return MaskPlan(name, plugin.bands, chosen, rule, limit, dilation, [planes])
    tiles = Tiles(TILE, TILE // 4)
    function = TiledMask(named, rule, limit, tiles)
    output = [Output(np.dtype(bool))]
    windows = [[plane] for plane in planes]
    (data,) = map_windows(function, windows, output, lead=len(scene.lead), plan=tiles)
    return _finished(name, data, dilation)


def _on_scene(scene: Scene, array: Any) -> xr.DataArray:
    """Check a mask from the user, and order its dimensions."""
    if not isinstance(array, xr.DataArray) or array.dtype.kind != "b":
        if array is None:
            raise CloudFreeError(
                "there is no mask",
                fix="call reconstruct(mask='score'), or mask(method='score')",
                option="--mask score",
            )
        kind = getattr(array, "dtype", None)
        what = type(array).__name__ + (f" of {kind}" if kind is not None else "")
        raise CloudFreeError(
            f"a mask must be a boolean DataArray, True where occluded, not a {what}",
            fix="convert it, for example with mask=xr.DataArray(array, dims=('y', "
            "'x')).astype(bool)",
        )
    template = scene.template()
    try:
        aligned = xr.align(template, array, join="exact", copy=False)[1]
    except ValueError as error:
        raise GridError(
            f"the mask is not on the grid of the scene ({error})",
            fix="put it there with mask.reindex_like(ds, method='nearest')",
        ) from error
    extra = set(aligned.dims) - set(template.dims)
    if extra:
        raise GridError(
            f"the mask has dimensions {sorted(map(str, extra))} that the scene lacks",
            fix="select along them with mask.isel(...)",
        )
    missing = {d: n for d, n in template.sizes.items() if d not in aligned.dims}
    return aligned.expand_dims(missing).transpose(*template.dims)
