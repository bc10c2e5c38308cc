"""Whether a model may be applied to a scene."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from xcloudfree import methods, models
from xcloudfree.core.scene import Scene
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import (
    DemonstrationWarning,
    ModelError,
    QuantityWarning,
    UnitsError,
    UntrainedWarning,
)
from xcloudfree.models.shipped import shipped
from xcloudfree.models.spec import ModelSpec


def check_fitness(scene: Scene, spec: ModelSpec) -> None:
    """Refuse data that the model was not made for, and warn of weights that promise little."""
    why = f"model {spec.name!r}"
    scene.need_optical(spec.optical_bands, why)
    scene.need_sar(spec.polarisations, why)
    if scene.level is None:
        raise UnitsError(
            f"{why} reads {spec.level} reflectance and the level of the data is not declared; "
            f"declare it with ds.cloudfree.calibrate(level={spec.level!r}) if that is what it is"
        )
    if scene.level != spec.level:
        raise UnitsError(
            f"{why} was fitted on {spec.level} reflectance and the data is {scene.level}; "
            f"choose a model for {scene.level}{_shipped_for(scene)}, or load "
            f"{'Level-1C' if spec.level == 'TOA' else 'Level-2A'} items"
        )
    extra = [
        b for b in (scene.optical.names if scene.optical else ()) if b not in spec.optical_bands
    ]
    if extra:
        warnings.warn(
            f"{why} does not reconstruct {', '.join(extra)}; occluded pixels of these bands become "
            "no data",
            UserWarning,
            stacklevel=4,
        )
    if spec.trained and scene.quantity not in (None, spec.sar_quantity):
        warnings.warn(
            f"{why} was fitted on {spec.sar_quantity} and the data is {scene.quantity}, which is "
            "about 1 to 2 dB brighter or darker depending on the incidence angle",
            QuantityWarning,
            stacklevel=4,
        )
    if not spec.trained:
        warnings.warn(
            f"{why} was not fitted: its weights are those that it started with, and the result "
            "means nothing; fit it with xcloudfree.fit(...)",
            UntrainedWarning,
            stacklevel=4,
        )
    if spec.demonstration:
        warnings.warn(
            f"{why} demonstrates the software: fitted on a handful of regions, it makes no claim "
            "of quality elsewhere; fit your own with xcloudfree.fit(...)",
            DemonstrationWarning,
            stacklevel=4,
        )


def _shipped_for(scene: Scene) -> str:
    """Names of shipped weights that read the level and the bands of a scene."""
    have = set(scene.optical.names) if scene.optical else set()
    fit = [
        repr(name)
        for name, spec in shipped().items()
        if spec.level == scene.level and set(spec.optical_bands) <= have
    ]
    return f", such as {', '.join(fit)}" if fit else " in xcloudfree.models.list()"


def check_known(name: str, others: Iterable[str] = ()) -> None:
    """Refuse a name that is neither that of a model nor of a method."""
    others = list(others)
    if methods.known(name) or models.known(name) or name in others:
        return
    besides = f", or {', '.join(map(repr, others))}" if others else ""
    raise ModelError(
        f"there is no model or method {name!r}"
        f"{did_you_mean(name, [*methods.names(), *models.list(), *others])}; see the names in "
        f"xcloudfree.models.list() and xcloudfree.methods.names(){besides}"
    )
