"""Cloud-free reconstruction of a labelled scene, block by block, lazy where the scene is."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xcloudfree.core.blocks import Output, map_windows
from xcloudfree.core.recognise import read
from xcloudfree.core.tiles import Tiles
from xcloudfree.core.windows import Halo
from xcloudfree.exceptions import ModelError, SeamWarning
from xcloudfree.masks.resolve import Mask, plan_mask
from xcloudfree.masks.shadow import Shadow
from xcloudfree.models.spec import ModelSpec
from xcloudfree.reconstruct.checks import check_fitness, check_known
from xcloudfree.reconstruct.context import context_groups
from xcloudfree.reconstruct.dates import neighbours, planes
from xcloudfree.reconstruct.inference import Inference, Precision
from xcloudfree.reconstruct.network_block import EDGE, Blend, Reconstruction
from xcloudfree.reconstruct.provenance import label_provenance

if TYPE_CHECKING:
    import torch

    from xcloudfree.methods.base import Method
    from xcloudfree.models.model import Model


def reconstruct(
    obj: Any,
    *,
    model: str | Path | Model | Method = "carf-small-demo",
    mask: Mask = "score",
    dilate: int = 0,
    shadow: Shadow = None,
    halo: Literal["exact"] | int = "exact",
    blend: Blend = "feather",
    uncertainty: bool = False,
    precision: Precision = "float32",
    device: str | torch.device | None = None,
) -> Any:
    """Reconstruct what clouds hide."""
    # Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space Missions, eq. 1-16.
    from xcloudfree import methods
    from xcloudfree.reconstruct.apply import apply_method

    _check_options(blend, precision)
    if isinstance(model, methods.Method) or (isinstance(model, str) and methods.known(model)):
        method = methods.get(model) if isinstance(model, str) else model
        return apply_method(
            obj, method, mask=mask, dilate=dilate, shadow=shadow, halo=halo, blend=blend,
            uncertainty=uncertainty,
        )  # fmt: skip
    if isinstance(model, str):
        check_known(model)
    from xcloudfree.models.cache import reference  # torch is needed from here on

    place = _chosen(device)
    scene = read(obj)
    ref, loaded = reference(model)
    spec = loaded.spec
    check_fitness(scene, spec)
    if uncertainty and not spec.variance:
        raise ModelError(
            f"model {spec.name!r} estimates no uncertainty; choose one that does, such as "
            'reconstruct(model="uncrtaints", uncertainty=True)'
        )
    optical, sar = scene.optical, scene.need_sar(spec.polarisations, f"model {spec.name!r}")
    assert optical is not None
    kind = optical.dtype()
    masked = plan_mask(scene, mask, None, dilate, shadow=shadow)
    margin = masked.reach + (EDGE if blend else 0)
    plan = _plan(spec, halo, margin)
    context = context_groups(scene, spec, masked, _seen(plan, margin) if blend else None)
    block = Reconstruction(
        inference=Inference(ref, spec, place, plan, uncertainty, precision),
        bands=optical.names,
        calibration=scene.calibration(),
        sar_calibration=scene.sar_calibration(),
        mask=masked,
        blend=blend,
        context=len(context),
    )
    bands = len(optical.names)
    outputs = [Output(kind, bands), Output(np.dtype("uint8"))]
    results = map_windows(
        block,
        [
            planes(optical),
            planes(sar),
            *(masked.groups if masked.separate else []),
            *context,
            *neighbours(scene, spec),
        ],
        outputs + [Output(np.dtype("float32"), bands)] * uncertainty,
        lead=len(scene.lead),
        plan=plan if isinstance(plan, Tiles) else _around(plan, margin),
        resources=_resources(place),
    )
    data, provenance, deviation = (*results, None)[:3]
    return scene.restore(data, label_provenance(scene, provenance, _made_by(block)), deviation)


def _plan(spec: ModelSpec, halo: Literal["exact"] | int, margin: int) -> Halo | Tiles:
    """What the network reads around a pixel: a halo, or the fixed tiles that hold it."""
    if halo != "exact" and (
        isinstance(halo, bool) or not isinstance(halo, (int, np.integer)) or halo < 0
    ):
        raise ModelError(f"halo is {halo!r}; call reconstruct(halo='exact') or with pixels >= 0")
    if spec.reach is not None:
        return Halo(spec.reach if halo == "exact" else int(halo), spec.stride)
    side = spec.tile or 256
    overlap = side // 4 if halo == "exact" else int(halo)
    if overlap > side // 2:
        raise ModelError(
            f"model {spec.name!r} runs in tiles of {side} pixels, which cannot share {overlap} "
            f"with each neighbour; call reconstruct(halo={side // 4}) or up to {side // 2}"
        )
    warnings.warn(
        f"model {spec.name!r} reads its whole input, so no halo is exact: it runs in fixed tiles "
        f"of {side} x {side} pixels that share {overlap} and are blended; seams can show",
        SeamWarning,
        stacklevel=4,
    )
    return Tiles(side, overlap, margin)


def _around(halo: Halo, margin: int) -> Halo:
    """A halo for a block and a margin around it, of which predictions are needed too."""
    grid = -(-margin // halo.stride) * halo.stride
    return Halo(halo.pixels + grid, halo.stride)


def _seen(plan: Halo | Tiles, margin: int) -> int:
    """Pixels around an occluded one that the network may read for it, at most."""
    return margin + (plan.pixels + plan.stride if isinstance(plan, Halo) else plan.side)


def _resources(device: str) -> dict[str, float] | None:
    """What tasks ask of the workers: one GPU, where the cluster in use declares them."""
    distributed = sys.modules.get("distributed")
    if device == "cpu" or distributed is None:
        return None
    try:
        workers = distributed.get_client().scheduler_info(n_workers=-1)["workers"]
    except ValueError:
        return None
    declared = any("GPU" in worker.get("resources", {}) for worker in workers.values())
    return {"GPU": 1} if declared else None


def _check_options(blend: Any, precision: Any) -> None:
    if blend not in ("feather", None):
        raise ModelError(f"blend is {blend!r}; call reconstruct(blend='feather') or blend=None")
    if precision not in ("float32", "bfloat16"):
        raise ModelError(
            f"precision is {precision!r}; call reconstruct(precision='float32') or 'bfloat16'"
        )


def _chosen(device: Any) -> str:
    """Name of a device that is there, or ``"auto"``."""
    import torch

    if device is None:
        return "auto"
    try:
        place = torch.device(device)
        if place.type == "cuda":  # asked without claiming memory on it in this process
            there = (place.index or 0) < torch.cuda.device_count()
        else:
            there = torch.empty(0, device=place).device.type != "meta"
    except (RuntimeError, TypeError, NotImplementedError, AssertionError) as error:
        raise ModelError(
            f"{device!r} is no device of this torch; call reconstruct(device='cpu')"
        ) from error
    if not there:
        raise ModelError(f"there is no device {device!s} here; call reconstruct(device='cpu')")
    return str(place)


def _made_by(block: Reconstruction) -> dict[str, str]:
    inference = block.inference
    return {
        "model": inference.spec.name,
        "model_digest": inference.reference.digest,
        "mask": block.mask.label,
        "blend": block.blend or "none",
        "precision": inference.precision,
    }
