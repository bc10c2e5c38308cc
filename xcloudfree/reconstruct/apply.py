"""Classical methods on a labelled scene, lazy where the scene is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xcloudfree.core.blocks import Output, map_windows
from xcloudfree.core.layer import Layer
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Halo
from xcloudfree.exceptions import MissingBandError, ModelError
from xcloudfree.masks.plan import MaskPlan
from xcloudfree.masks.resolve import Mask, plan_mask
from xcloudfree.masks.shadow import Shadow
from xcloudfree.methods.base import Method
from xcloudfree.reconstruct.dates import dates_of, planes
from xcloudfree.reconstruct.given import coarse_images
from xcloudfree.reconstruct.network_block import EDGE, Blend
from xcloudfree.reconstruct.provenance import label_provenance
from xcloudfree.reconstruct.series_windows import Hear, Reader, See
from xcloudfree.reconstruct.stages import Join
from xcloudfree.reconstruct.work import Work, side_of, whole_series

FLOAT, BYTE = (np.dtype(t) for t in ("float32", "uint8"))


def apply_method(
    obj: Any,
    method: Method,
    *,
    mask: Mask = "score",
    dilate: int = 0,
    shadow: Shadow = None,
    halo: Any = "exact",
    blend: Blend = "feather",
    uncertainty: bool = False,
) -> Any:
    """Reconstruct what clouds hide with a classical method."""
    _check_options(method, halo, uncertainty)
    scene = read(obj)
    optical = scene.optical
    if optical is None:
        raise MissingBandError(
            f"method {method.name!r} reconstructs optical bands and the data has none; load some, "
            "for example with xcf.stac.load(...)"
        )
    kind = optical.dtype()
    masked = plan_mask(scene, mask, None, dilate, shadow=shadow)
    rule, lead, bands = scene.calibration(), len(scene.lead), len(optical.names)
    stored, edge = planes(optical), EDGE if blend else 0
    reflectance, state = observe(scene, optical, masked, EDGE if blend else None)
    mean, *deviation = estimate(scene, method, reflectance, state, uncertainty)
    results = map_windows(
        Join(rule, bool(blend), uncertainty),
        [stored, *([a] for a in (state, mean, *deviation))],
        [Output(kind, bands), Output(BYTE)] + [Output(FLOAT, bands)] * uncertainty,
        lead=lead,
        plan=Halo(edge),
    )
    attrs = {"model": method.name, "mask": masked.label, "blend": blend or "none"}
    data, provenance, spread = (*results, None)[:3]
    return scene.restore(data, label_provenance(scene, provenance, attrs), spread)


def observe(
    scene: Scene, optical: Layer, masked: MaskPlan, around: int | None, read: int | None = None
) -> list[Any]:
    """What is seen of a scene."""
    return list(
        map_windows(
            See(optical.names, scene.calibration(), masked, around, read),
            [planes(optical), *(masked.groups if masked.separate else [])],
            [Output(FLOAT, len(optical.names)), Output(BYTE)],
            lead=len(scene.lead),
            plan=Halo(masked.reach + (around or 0)),
        )
    )


def estimate(
    scene: Scene, method: Method, reflectance: Any, state: Any, uncertainty: bool
) -> tuple[Any, ...]:
    """What a method says of the wanted pixels of a scene."""
    axis, days = _time(scene, method)
    lead, windows = len(scene.lead), [reflectance, state]
    bands = reflectance.shape[lead]
    if method.polarisations:
        layer = scene.need_sar(method.polarisations, f"method {method.name!r}")
        windows += map_windows(
            Hear(scene.sar_calibration()),
            [planes(layer)],
            [Output(FLOAT, len(method.polarisations))],
            lead=lead,
        )
    given = method.images is not None
    if given:
        layer, rule = coarse_images(scene, method)
        windows += map_windows(Hear(rule), [planes(layer)], [Output(FLOAT, bands)], lead=lead)
    side = None if days is None else side_of(len(days), bands, method.reach)
    reader = Reader(axis, days, bool(method.polarisations), bool(method.planes), given)
    whole = [whole_series(w, axis, side) for w in windows]
    return Work(replace(method, images=None), reader, lead, whole, side).predict(bands, uncertainty)


def _time(scene: Scene, method: Method) -> tuple[int | None, tuple[float, ...] | None]:
    """Which leading dimension is time, and the day number of each date."""
    if not method.temporal:
        return None, None
    axis, days = dates_of(scene, f"method {method.name!r}", 'reconstruct(model="idw")')
    method.check(days)
    return axis, days


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
