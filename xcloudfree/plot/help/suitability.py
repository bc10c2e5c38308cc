"""Which masks and models a scene is ready for, and why not the others; computes nothing."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcloudfree.core.plugins import names
from xcloudfree.core.scene import Scene, listed
from xcloudfree.exceptions import CloudFreeError, DataError
from xcloudfree.masks.adapters import mask_plugin
from xcloudfree.masks.scores import METHODS
from xcloudfree.models.shipped import shipped
from xcloudfree.models.spec import ModelSpec
from xcloudfree.reconstruct.checks import check_fitness

if TYPE_CHECKING:
    from xcloudfree.methods import Method


@dataclass(frozen=True)
class Verdict:
    """Whether something can be used.

    Parameters
    ----------
    name : str
        Of the mask or model.
    reason : str
        Why not; empty where it can.
    remarks : tuple of str
        What to know before it is used.
    """

    name: str
    reason: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it can be used."""
        return not self.reason


def judge_masks(scene: Scene) -> list[Verdict]:
    """Which mask methods, built in or of plug-ins, a scene has the bands for.

    Parameters
    ----------
    scene : Scene
        What was recognised.

    Returns
    -------
    list of Verdict
    """
    own = [Verdict(name, _lack(scene, method.bands)) for name, method in METHODS.items()]
    return own + [_judge_plugin(scene, name) for name in names("masks") if name not in METHODS]


def _judge_plugin(scene: Scene, name: str) -> Verdict:
    try:
        named = mask_plugin(name)
        named.check_level(scene.level)
    except CloudFreeError as error:
        return _refused(name, error)
    return Verdict(name, _lack(scene, tuple(named.plugin.bands)))


def _lack(scene: Scene, bands: tuple[str, ...]) -> str:
    if bands == ("SCL",):
        return "" if scene.classes is not None else "needs SCL"
    have = () if scene.optical is None else scene.optical.names
    missing = [b for b in bands if b not in have]
    if missing:
        return f"needs {listed(missing)}"
    try:
        scene.calibration()
    except CloudFreeError as error:
        return str(error)
    return ""


def judge_models(scene: Scene) -> list[Verdict]:
    """Which shipped weights a scene fits, by their specification.

    Parameters
    ----------
    scene : Scene
        What was recognised.

    Returns
    -------
    list of Verdict
        Those that read other dates first, then those of the most bands.
    """
    ranked = sorted(shipped().items(), key=lambda x: (not x[1].context, -len(x[1].optical_bands)))
    return [_judge(scene, name, spec) for name, spec in ranked]


def _judge(scene: Scene, name: str, spec: ModelSpec) -> Verdict:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_fitness(scene, spec)
            scene.calibration()
            scene.sar_calibration()
            if spec.context or spec.dates > 1:
                _need_dates(scene, f"model {name!r}")
        except CloudFreeError as error:
            return _refused(name, error)
    return Verdict(name, remarks=tuple(str(w.message) for w in caught))


def judge_methods(scene: Scene) -> list[Verdict]:
    """Which classical methods a scene fits.

    Parameters
    ----------
    scene : Scene
        What was recognised.

    Returns
    -------
    list of Verdict
    """
    from xcloudfree import methods

    return [_judge_method(scene, methods.get(name)) for name in methods.names()]


def _judge_method(scene: Scene, method: Method) -> Verdict:
    try:
        if scene.optical is None:
            scene.need_optical(("B02",), f"method {method.name!r}")
        scene.calibration()
        if method.polarisations:
            scene.need_sar(method.polarisations, f"method {method.name!r}")
            scene.sar_calibration()
        if method.temporal:
            _need_dates(scene, f"method {method.name!r}")
    except CloudFreeError as error:
        return _refused(method.name, error)
    return Verdict(method.name)


def _refused(name: str, error: CloudFreeError) -> Verdict:
    """The name stands beside the reason already, so it does not begin with it again."""
    reason = str(error)
    for called in (f"model {name!r}", f"method {name!r}", f"the mask {name!r}", f"mask({name!r})"):
        reason = reason.removeprefix(f"{called} ")
    return Verdict(name, reason)


def _need_dates(scene: Scene, why: str) -> None:
    if scene.source.sizes.get("time", 1) < 2:
        raise DataError(
            f"{why} reads several dates and the data has one; load more with "
            'xcloudfree.stac.load(..., datetime="2025-05/2025-07")'
        )
