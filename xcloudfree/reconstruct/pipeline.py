"""Cloud-free reconstruction of a labelled scene, from the input to the output.

recognise -> observe -> measure -> predict -> compose -> encode, lazy for lazy scenes.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from xcloudfree import methods
from xcloudfree.core.blocks import Output, map_windows
from xcloudfree.core.predictor import Predictor
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import restore
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Halo
from xcloudfree.exceptions import ModelError
from xcloudfree.masks.plan import MaskPlan
from xcloudfree.masks.resolve import Mask, plan_mask
from xcloudfree.masks.shadow import Shadow
from xcloudfree.methods.base import Method
from xcloudfree.reconstruct.calibration import Calibrated, calibrate, described, lead_axis
from xcloudfree.reconstruct.checks import (
    check_fitness,
    check_options,
    check_suitable,
    dates_without_radar,
    gaps,
)
from xcloudfree.reconstruct.choice import AUTO, JUDGED, best_model, winner_of
from xcloudfree.reconstruct.compose import Blend, Compose, label_provenance
from xcloudfree.reconstruct.dates import dates_read, nearest_groups
from xcloudfree.reconstruct.image_block import ReconstructBlock
from xcloudfree.reconstruct.inputs import inputs_of
from xcloudfree.reconstruct.observe import BYTE, CLEAR, FLOAT, WANTED, Observe, Reader, observe
from xcloudfree.reconstruct.parameters import written
from xcloudfree.reconstruct.predict import reconstructed
from xcloudfree.reconstruct.quality import Parts, assess, label_flags

if TYPE_CHECKING:
    import torch

    from xcloudfree.models.model import Model
    from xcloudfree.reconstruct.align import Align
    from xcloudfree.reconstruct.network import Network, Precision
    from xcloudfree.reconstruct.series_network import SeriesNetwork


def reconstruct(
    obj: Any,
    model: str | Path | Model | Method | xr.Dataset = AUTO,
    *,
    mask: Mask = "auto",
    dilate: int = 0,
    shadow: Shadow = None,
    halo: Literal["exact"] | int = "exact",
    blend: Blend = "feather",
    fill_missing: bool = False,
    times: Any = None,
    interval: float | None = None,
    uncertainty: bool = False,
    quality: bool = False,
    age: bool = False,
    align: Align = None,
    precision: Precision = "float32",
    device: str | torch.device | None = None,
) -> Any:
    """Reconstruct the occluded pixels of a scene.

    Without arguments, the mask and the model are chosen to suit the data. Clear pixels are returned
    unchanged, lazy data stays lazy, and the result does not depend on the chunks. The sections
    below the parameters say more about each choice.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene in any accepted form, with the bands and polarisations of the model.
    model : str, Path, Model, Method or Dataset
        ``"auto"``, ``"judged"``, the name of a method or a network, a file, a model or method
        object, or a table of :func:`xcloudfree.judge.own_scene.judge_scene`.
    mask : str, DataArray or callable
        The occluded pixels, see :func:`xcloudfree.masks.mask`.
    dilate : int
        Radius in pixels by which to extend the mask.
    shadow : bool, None or tuple
        Whether to mask the shadow of clouds too, see :func:`xcloudfree.masks.mask`; None: if the
        position of the sun is known.
    fill_missing : bool
        Whether to reconstruct pixels without data in all bands too, such as clouds that were cut
        out before. By default they stay without data.
    times : str, DatetimeIndex or sequence of dates, optional
        Times at which to reconstruct, inside the series: a frequency such as ``"10D"``, which
        starts on the first day, or a list. For methods that read other dates.
    interval : float, optional
        Share of the true values that lower and upper bounds should contain, such as 0.9.
    uncertainty : bool
        Whether to return the standard deviation of each pixel.
    quality : bool
        Whether to return ``quality`` (uint16 flags): how each pixel was made and from what, and,
        with `interval`, whether its bounds are wider than 0.2. It needs all dates of a place.
    age : bool
        Whether to return ``age`` (float32): days from the date to the nearest date on which the
        mask calls the pixel clear, 0 if it is that itself, NaN without one.

    Other Parameters
    ----------------
    halo : "exact" or int
        Pixels to read around each block: as many as influence it, or fewer for speed. For a
        network that reads its whole input: the overlap of its fixed tiles in pixels, a quarter of a
        tile by default.
    blend : "feather" or None
        Whether to adjust the reconstruction to the observed pixels; None returns the output of the
        network everywhere (eq. 12).
    align : {"check", "correct"}, optional
        Whether to measure how far Sentinel-1 lies off Sentinel-2, or to correct it too.
    precision : {"float32", "bfloat16"}
        Arithmetic of a network.
    device : str or torch.device, optional
        Torch device of a network or of ``"kernel-fusion"``; by default CUDA if the computing
        process has it, else the CPU.

    Returns
    -------
    Dataset or DataArray
        In the form of the input, with ``provenance`` (uint8 flags: nodata, observed,
        reconstructed, unreconstructable) as variable, or as coordinate of a DataArray. Occluded
        pixels (with ``blend=None``: all pixels) without backscatter become no data and are
        flagged unreconstructable. Pixels without data in some band are unchanged and
        flagged nodata. With `uncertainty`, the standard deviation of reflectance for each band
        (float32, NaN where nothing was reconstructed): variables ``B02_std`` ..., ``s2_std``, or a
        coordinate ``std``. With `interval`, bounds of each band, stored as the band is: variables
        ``B02_lower``, ``B02_upper`` ..., ``s2_lower``, ``s2_upper``, or coordinates ``lower`` and
        ``upper``. Both are the value itself where it was observed, and no data where nothing could
        be reconstructed; they may lie below 0, as reflectance may. Their attributes say of how
        many dates they come (``interval_dates``, of an input in memory).
        ``quality`` and ``age`` come as ``provenance`` does. The lowest bits of ``quality`` say how
        ``"kernel-fusion"`` made its values; these are there without `quality` too.

    Raises
    ------
    MissingBandError
        If the data lacks a band that the model or the mask needs.
    UnitsError
        If units or level are undeclared or contradict the model.
    ModelError
        If the model does not exist or cannot run with these arguments.
    WeightsError
        If the file of a model cannot be read, or contains damaged values.
    DataError
        If the model reads other dates and the data is no series, or, for intervals while they are
        computed, if nothing of it is clear.
    GridError
        If a mask passed as an array is not on the grid of the scene.
    DeviceMemoryError
        At compute, if a block does not fit into the memory of the device.

    Warns
    -----
    UserWarning
        If `align` finds a shift above one pixel, or nothing to tell it by.
    SeamWarning
        If the network reads its whole input, so that it runs in fixed tiles.
    DemonstrationWarning, UntrainedWarning, QuantityWarning
        If the weights are a demonstration, were not fitted, or were fitted on another kind
        of backscatter.

    Notes
    -----
    * **Quick use**: ``ds.cloudfree.reconstruct()``; ``provenance.attrs`` records what was chosen
      and why (:doc:`/start`, :doc:`/gallery`).
    * **Choosing a model**: ``"auto"`` is ``"kernel-fusion"``, for a series or one date, with or
      without radar. ``"judged"`` takes the winner on this scene (:doc:`/guides/judge`). Methods
      have no weights: :func:`xcloudfree.methods.names`, with own settings from
      :func:`xcloudfree.methods.get`; networks do: :func:`xcloudfree.models.list` (:doc:`/models`).
    * **Masks**: ``"auto"`` picks the best mask that the data allows (:doc:`/guides/masks`).
    * **Chunks and memory**: A block is read with the halo that the model needs, on its grid. Models
      that read other dates take all dates of a place together, so chunks with all their dates must
      fit into memory (:doc:`/guides/large_areas`).
    * **Uncertainty**: Deviations are the model's own, or those of its errors on hidden pixels;
      bounds are calibrated on clear pixels that are hidden again, without all dates within a gap of
      0, 15, 30 and 45 days: about ten more runs over at most four pieces of 64 x 64 px
      (:doc:`/guides/uncertainty`).
    * **Times**: A time without an image is treated as a wholly hidden date, with the radar nearest
      to it; the coordinate ``acquired`` marks those with an image (:doc:`/guides/cubes`).
    * **Expert**: `align` reads the scene when called and records ``radar_shift`` in ``provenance``;
      opposite shifts of ascending and descending orbits are layover, which is reported and kept.
      ``"bfloat16"`` has an error of about 1e-3 with the shipped weights, and maybe ten times as
      much with others (:doc:`/benchmarks`). Halos and tiles: :doc:`/concepts`.

    References
    ----------
    Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space Missions, eq. 1-16.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((64, 64), seed=1)
    >>> out = scene.cloudfree.reconstruct(model=xcf.models.create("carf-tiny", base="prior"))
    >>> out.provenance.attrs["flag_meanings"]
    'nodata observed reconstructed unreconstructable'
    """
    check_options(blend, precision, interval)
    chosen: dict[str, str] = {}
    if isinstance(model, xr.Dataset):
        model, reasons = winner_of(model)
        chosen |= reasons
    given = {
        "model": model, "mask": mask, "dilate": dilate, "shadow": shadow, "halo": halo,
        "blend": blend, "fill_missing": fill_missing, "times": times, "interval": interval,
        "uncertainty": uncertainty, "quality": quality, "age": age,
        "align": align, "precision": precision, "device": device,
    }  # fmt: skip
    chosen["parameters"] = written(given)
    if align is not None:
        from xcloudfree.reconstruct.align import aligned

        obj, chosen["radar_shift"] = aligned(obj, align, mask)
    if times is not None or fill_missing:
        return _hidden_in_addition(obj, given, chosen)

    # Recognise: what the scene contains, who predicts it, and whether they fit.
    predictor: Method | Network | SeriesNetwork
    wide = uncertainty or interval is not None
    if isinstance(model, str) and model == AUTO:
        model, reason = best_model(read(obj))
        chosen["model_reason"] = reason
    elif isinstance(model, str) and model == JUDGED:
        raise ModelError(
            'model "judged" is chosen by the accessor',
            fix='call ds.cloudfree.reconstruct(model="judged")',
        )
    if isinstance(model, Method) or (isinstance(model, str) and methods.known(model)):
        predictor = methods.get(model) if isinstance(model, str) else model
        predictor = predictor.for_run(device, wide)
        scene, attrs = read(obj), {"model": predictor.name}
    else:
        scene = read(obj)
        check_suitable(scene, model)
        from xcloudfree.reconstruct.network import network_of  # torch is needed from here on

        predictor = network_of(model, device, halo, wide, precision, scene.bands)
        attrs = {"model": predictor.name, "model_digest": predictor.digest}
        check_fitness(scene, predictor.spec)
    attrs |= chosen
    why = f"{'method' if isinstance(predictor, Method) else 'model'} {predictor.name!r}"
    _check_halo(predictor, halo)
    stated = wide and predictor.deviation
    calibrated = interval is not None or (uncertainty and not stated)
    optical = scene.need_bands(why)
    for problem, fix in gaps(scene) if predictor.temporal or predictor.polarisations else ():
        if predictor.polarisations or "Sentinel-1" not in problem:
            warnings.warn(f"{problem}; {fix}", UserWarning, stacklevel=3)
    kind, lead, bands = optical.dtype(), len(scene.lead), optical.names
    masked = plan_mask(scene, mask, None, dilate, shadow=shadow)
    attrs |= {"mask": masked.label, "blend": blend or "none"}
    others = calibrated or quality or age or align is not None
    attrs["dates_read"] = dates_read(predictor, mask, masked.label, others)
    if masked.reason:
        attrs["mask_reason"] = masked.reason
    if predictor.polarisations or quality:
        attrs |= dates_without_radar(scene)

    picked = tuple(bands.index(b) for b in predictor.bands or bands)
    rule, bounds = scene.calibration(), interval is not None
    compose = Compose(
        rule, picked, blend, uncertainty, bool(predictor.flags), stated, bounds, calibrated,
        lead_axis(scene),
    )  # fmt: skip
    look = Observe(bands, picked, rule, masked, compose.sight if blend else None)
    outputs = [Output(kind, len(bands)), Output(BYTE)]
    outputs += [Output(FLOAT, len(bands))] * uncertainty + [Output(kind, len(bands))] * 2 * bounds
    outputs += [Output(BYTE)] * bool(predictor.flags)
    errors: Calibrated | None = None

    if isinstance(predictor, Method) and (predictor.temporal or predictor.passes):
        # Measure the scene; then observe, predict, compose and encode all dates of a block.
        work = inputs_of(scene, predictor, optical, look)
        if calibrated:
            errors = calibrate(scene, *work[:3], interval, bool(blend))
        results = reconstructed(work, compose, outputs, errors)
    else:
        # A predictor of single images measures nothing, and each date is a block of its own.
        margin = masked.reach + compose.sight
        sar = scene.need_sar(predictor.polarisations, why) if predictor.polarisations else None
        sar_rule = None if sar is None else scene.sar_calibration()
        groups = [optical.planes(), *([] if sar is None else [sar.planes()])]
        groups += masked.groups if masked.separate else []
        context: list[Any] = []
        if not isinstance(predictor, Method):
            if predictor.spec.context:
                context = _context(scene, predictor, masked, margin if blend else None)
            groups += context
            if predictor.spec.dates > 1:
                groups += nearest_groups(scene, predictor.spec)
            attrs["precision"] = predictor.precision
        if calibrated:
            fused = not isinstance(predictor, Method) and "kernel-fusion" in predictor.spec.context
            radar = scene.sar if fused else sar  # kernel fusion reads what there is
            own = [optical.planes(), *(masked.groups if masked.separate else [])]
            own += [] if radar is None else [radar.planes()]
            reader = Reader(None, None, look, None if radar is None else scene.sar_calibration())
            errors = calibrate(scene, predictor, reader, own, interval, bool(blend))
            groups += errors.windows
        results = map_windows(
            ReconstructBlock(look, predictor, compose, sar_rule, len(context)),
            groups,
            outputs,
            lead=lead,
            plan=predictor.plan.around(margin),
            scene=[] if errors is None else [errors.table],
            resources=_resources(predictor),
        )

    # Restore the form of the input, and record where each pixel comes from.
    planes = {"provenance": label_provenance(scene, results[1], attrs)}
    flags, lower = results[-1] if predictor.flags else None, 2 + uncertainty
    if quality or age:
        clear = None
        if not blend:  # else the observed pixels are the clear ones
            clear = observe(scene, optical, masked, None, predictor.bands)[1] == WANTED | CLEAR
        parts = Parts(results[1], clear, flags, results[lower : lower + 2] if bounds else ())
        planes |= assess(scene, parts, predictor.flags, quality, age)
    if predictor.flags and not quality:
        planes["quality"] = label_flags(scene, flags, predictor.flags)
    limits = {}
    if errors is not None and interval is not None:
        said = described(errors.table, interval, [bands[i] for i in picked])
        limits = {
            name: (results[lower + k], {"long_name": f"{name} bound of reflectance", **said})
            for k, name in enumerate(("lower", "upper"))
        }
    return restore(scene, results[0], planes, results[2] if uncertainty else None, limits)


def _hidden_in_addition(obj: Any, given: dict[str, Any], attrs: dict[str, str]) -> Any:
    """The series at chosen times, some of them without an image, or with missing pixels filled."""
    from xcloudfree.reconstruct.any_time import at_times, with_missing

    plan = plan_mask(read(obj), given["mask"], None, given["dilate"], shadow=given["shadow"])
    # the mask that follows has these already, and the radar is aligned
    options = {**given, "times": None, "align": None, "dilate": 0, "shadow": False}
    if given["times"] is None:
        whole, hidden = with_missing(obj, plan)
        out = reconstruct(whole, **options | {"mask": hidden, "fill_missing": False})
    else:
        whole, hidden, chosen = at_times(obj, given["times"], plan)
        out = reconstruct(whole, **options | {"mask": hidden}).sel(time=chosen)
    reason = {"mask_reason": plan.reason} if plan.reason else {}
    out["provenance"].attrs |= {"mask": plan.label, **reason, **attrs}
    return out


def _context(scene: Scene, network: Network, mask: MaskPlan, margin: int | None) -> list[Any]:
    """Planes of other dates that a network reads, around each block up to its reach."""
    from xcloudfree.reconstruct.context import context_groups

    around = margin
    if margin is not None:
        plan = network.plan
        around = margin + (plan.pixels + plan.stride if isinstance(plan, Halo) else plan.side)
    return context_groups(scene, network.spec, network.device, mask, around)


def _check_halo(predictor: Predictor, halo: Any) -> None:
    if isinstance(predictor, Method) and (halo != "exact" or isinstance(halo, bool)):
        raise ModelError(
            f"halo is {halo!r} and method {predictor.name!r} knows its own",
            fix="call reconstruct(halo='exact')",
        )


def _resources(predictor: Predictor) -> dict[str, float] | None:
    """Resources that tasks request: one GPU, if the cluster in use declares GPUs."""
    distributed = sys.modules.get("distributed")
    if getattr(predictor, "device", "cpu") == "cpu" or distributed is None:
        return None
    try:
        workers = distributed.get_client().scheduler_info(n_workers=-1)["workers"]
    except ValueError:
        return None
    declared = any("GPU" in worker.get("resources", {}) for worker in workers.values())
    return {"GPU": 1} if declared else None
