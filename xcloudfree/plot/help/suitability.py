"""Which masks, models and methods suit a scene, and why others do not; computes nothing."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from xcloudfree import methods
from xcloudfree.core.plugins import BUNDLED
from xcloudfree.core.scene import Scene, listed
from xcloudfree.exceptions import CloudFreeError, DataError
from xcloudfree.masks.adapters import mask_plugin
from xcloudfree.masks.quality_layers import LAYER_METHODS, find_layer
from xcloudfree.masks.resolve import best_mask
from xcloudfree.masks.scores import AUTO, METHODS, SERIES
from xcloudfree.masks.series import ENOUGH, dates_of
from xcloudfree.models.shipped import shipped
from xcloudfree.models.spec import ModelSpec
from xcloudfree.reconstruct.checks import check_fitness


@dataclass(frozen=True)
class Verdict:
    """Whether a mask, model or method can be used."""

    name: str
    reason: str = ""  # why not; empty if it can
    fix: str = ""  # the call that helps
    remarks: tuple[str, ...] = ()  # to know before use
    chosen: str = ""  # the method behind an automatic choice

    @property
    def fits(self) -> bool:
        """Whether it can be used."""
        return not self.reason


def _refused(name: str, error: CloudFreeError) -> Verdict:
    return Verdict(name, error.problem, error.fix)


def judge_masks(scene: Scene) -> list[Verdict]:
    """Which built-in or bundled masks a scene has the bands and dates for."""
    first = [_judge_auto(scene), _judge_series(scene)]
    built_in = [_judge_bands(scene, name, method.bands) for name, method in METHODS.items()]
    built_in += [Verdict(name) for name in LAYER_METHODS if find_layer(scene, name) is not None]
    return first + built_in + [_judge_adapter(scene, name) for name in sorted(BUNDLED["masks"])]


def _judge_auto(scene: Scene) -> Verdict:
    try:
        method, margin, reason = best_mask(scene)
        scene.calibration()
    except CloudFreeError as error:
        return _refused(AUTO, error)
    grown = f" grown by {margin} px" if margin else ""
    return Verdict(AUTO, remarks=(f"{method}{grown}: {reason}",), chosen=method)


def _judge_series(scene: Scene) -> Verdict:
    dates = dates_of(scene)
    few = dates is None or len(dates[1]) < ENOUGH
    return Verdict(SERIES, f"needs {ENOUGH} dates" if few else "")


def _judge_adapter(scene: Scene, name: str) -> Verdict:
    try:
        named = mask_plugin(name)
        named.check_level(scene.level)
    except CloudFreeError as error:
        return _refused(name, error)
    return _judge_bands(scene, name, tuple(named.plugin.bands))


def _judge_bands(scene: Scene, name: str, bands: tuple[str, ...]) -> Verdict:
    if bands == ("SCL",):
        return Verdict(name, "" if scene.classes is not None else "needs SCL")
    missing = [b for b in bands if b not in scene.bands]
    if missing:
        return Verdict(name, f"needs {listed(missing)}")
    try:
        scene.calibration()
    except CloudFreeError as error:
        return _refused(name, error)
    return Verdict(name)


def judge_models(scene: Scene) -> list[Verdict]:
    """Which shipped weights suit a scene: networks of several dates first, then by bands."""
    ranked = sorted(shipped().items(), key=lambda x: (not x[1].context, -len(x[1].optical_bands)))
    return [_judge_model(scene, name, spec) for name, spec in ranked]


def _judge_model(scene: Scene, name: str, spec: ModelSpec) -> Verdict:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_fitness(scene, spec)
            scene.calibration()
            if scene.sar is not None:
                scene.sar_calibration()
            if spec.context or spec.dates > 1:
                _need_dates(scene, f"model {name!r}")
        except CloudFreeError as error:
            return _refused(name, error)
    return Verdict(name, remarks=tuple(str(w.message) for w in caught))


def judge_methods(scene: Scene) -> list[Verdict]:
    """Which classical methods suit a scene."""
    return [_judge_method(scene, methods.get(name)) for name in methods.names()]


def _judge_method(scene: Scene, method: methods.Method) -> Verdict:
    why = f"method {method.name!r}"
    try:
        scene.need_bands(why)
        scene.calibration()
        if method.polarisations and not method.takes_any_radar:
            scene.need_sar(method.polarisations, why)
            scene.sar_calibration()
        if method.temporal and not method.takes_single_images:
            _need_dates(scene, why)
    except CloudFreeError as error:
        return _refused(method.name, error)
    return Verdict(method.name)


def _need_dates(scene: Scene, why: str) -> None:
    if scene.source.sizes.get("time", 1) < 2:
        raise DataError(
            "reads several dates and the data has one",
            fix='load more with xcloudfree.stac.load(..., datetime="2025-05/2025-07")',
            subject=why,
            option="load more dates",
        )
