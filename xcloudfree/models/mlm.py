"""A model as an item of a STAC catalog, in the Machine Learning Model extension (MLM)."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import pystac
import torch

from xcloudfree.core.normalisation import PRESETS
from xcloudfree.methods.temporal_context import scaled_planes
from xcloudfree.models import networks
from xcloudfree.models.model import Model
from xcloudfree.models.published.checkpoints import sha256
from xcloudfree.models.spec import ModelSpec

MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
"""The newest version that pystac reads; the items are also valid in 1.5 and 1.6."""

FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"

_FIRST_IMAGE = dt.datetime(2015, 6, 23, tzinfo=dt.UTC)  # launch of Sentinel-2A
_OPEN_END = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
_WORLD = [-180.0, -90.0, 180.0, 90.0]


def to_stac_mlm(model: Model, *, href: str | Path | None = None) -> pystac.Item:
    """Describe a model as a STAC item: its inputs, their scaling, and its outputs.

    Parameters
    ----------
    model : Model
        Model to describe.
    href : str or Path, optional
        Location of the file of ``model.save``; by default ``model.safetensors`` next to the item.
        Size and checksum are included if it is a local file.

    Returns
    -------
    pystac.Item
        Covers the world since the launch of Sentinel-2, like the software; the complete
        specification is the property ``xcloudfree:spec``.

    References
    ----------
    STAC extension Machine Learning Model, version 1.4.

    Examples
    --------
    >>> from xcloudfree import models
    >>> item = to_stac_mlm(models.load("carf-tiny"))
    >>> item.id, [entry["bands"][:2] for entry in item.properties["mlm:input"]]
    ('carf-tiny', [['B01', 'B02'], ['VV', 'VH']])
    """
    spec = model.spec
    west, south, east, north = _WORLD
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = pystac.Item(
        id=_name(spec),
        geometry={"type": "Polygon", "coordinates": [corners]},
        bbox=_WORLD,
        datetime=None,
        start_datetime=_FIRST_IMAGE,
        end_datetime=_OPEN_END,
        stac_extensions=[MLM],
        properties={
            "title": spec.name,
            "description": _description(spec),
            "license": spec.licence if re.fullmatch(r"[\w.+-]+", spec.licence) else "other",
            "bands": _bands(spec),
            **_properties(model),
            "xcloudfree:spec": json.loads(json.dumps(dataclasses.asdict(spec))),
        },
    )
    item.add_asset("model", _asset(item, href))
    return item


def _asset(item: pystac.Item, href: str | Path | None) -> pystac.Asset:
    extra: dict[str, Any] = {
        "mlm:artifact_type": "safetensors.torch.save_file",
        # core STAC requires that bands described by the item are named by an asset too
        "bands": [{"name": band["name"]} for band in item.properties["bands"]],
    }
    if href is not None and Path(href).is_file():
        # multihash: 0x12 is SHA-256, 0x20 its length
        checksum = "1220" + sha256(Path(href))
        extra |= {"file:size": Path(href).stat().st_size, "file:checksum": checksum}
        item.stac_extensions.append(FILE)
    return pystac.Asset(
        str(href) if href is not None else "model.safetensors",
        title="Weights and specification",
        media_type="application/octet-stream; application=safetensors",
        roles=["mlm:model", "mlm:weights", "data"],
        extra_fields=extra,
    )


def _properties(model: Model) -> dict[str, Any]:
    spec = model.spec
    tensors = list(model.network.parameters())
    stored = [*tensors, *model.network.buffers()]
    version = re.match(r"\d+\.\d+\.\d+", torch.__version__)
    return {
        "mlm:name": _name(spec),
        "mlm:architecture": spec.architecture,
        "mlm:framework": "PyTorch",
        **({"mlm:framework_version": version[0]} if version else {}),
        "mlm:tasks": ["regression"],
        "mlm:total_parameters": sum(t.numel() for t in tensors),
        "mlm:memory_size": sum(t.numel() * t.element_size() for t in stored),
        "mlm:pretrained": spec.trained,
        "mlm:pretrained_source": spec.training_data if spec.trained else None,
        "mlm:accelerator": None,
        "mlm:accelerator_constrained": False,
        "mlm:accelerator_summary": "any device of PyTorch, also without accelerator",
        "mlm:input": _inputs(spec) + (_series(spec) if model.network.config.reads_series else []),
        "mlm:output": _outputs(spec),
        "mlm:hyperparameters": json.loads(json.dumps(dict(spec.options))),
    }


def _inputs(spec: ModelSpec) -> list[dict[str, Any]]:
    preset = PRESETS[spec.normalisation]
    several = spec.dates > 1
    cloudy = f"Cloudy reflectance ({spec.level}) of Sentinel-2; no data is 0."
    radar = f"Backscatter ({spec.sar_quantity}) of Sentinel-1 in dB; no data is the lower end."
    optical = [_scaling(preset.optical_range, preset.optical_scale)]  # one is for all bands
    sar = [_scaling(preset.sar_range[p], preset.sar_scale) for p in spec.polarisations]
    inputs = [
        {
            "name": name,
            "description": words,
            "bands": list(bands),
            "input": _structure(spec, len(bands), several),
            "value_scaling": scaling,
            "resize_type": None,
        }
        for name, words, bands, scaling in (
            ("optical", cloudy, spec.optical_bands, optical),
            ("sar", radar, spec.polarisations, sar),
        )
        if bands
    ]

    def further(name: str, words: str, shape: list[int], *dims: str) -> None:
        structure = {"shape": shape, "dim_order": ["batch", *dims], "data_type": "float32"}
        inputs.append({"name": name, "description": words, "bands": [], "input": structure})

    image = ("channel", "height", "width")
    if spec.needs_mask:
        further("mask", "1 where occluded by clouds, else 0.", [-1, 1, -1, -1], *image)
    if spec.context:
        words = f"Other dates of the pixel ({', '.join(spec.context)}), see Model.scale_context."
        planes = scaled_planes(spec.context, len(spec.optical_bands))
        further("context", words, [-1, planes, -1, -1], *image)
    if several:
        further("dates", "Acquisition days, as numbers of days.", [-1, spec.dates], "time")
    return inputs


def _series(spec: ModelSpec) -> list[dict[str, Any]]:
    """Inputs of a network that reads all dates."""
    bands, image = len(spec.optical_bands), ["height", "width"]
    each: Any = (
        ("others", "Reflectance of all other dates.", [-1, -1, bands, -1, -1], ["channel", *image]),
        ("shown", "1 where these are clear, else 0.", [-1, -1, -1, -1], image),
        ("apart", "Days to these dates.", [-1, -1], []),
    )
    return [
        {
            "name": name,
            "description": words,
            "bands": [],
            "input": {
                "shape": shape,
                "dim_order": ["batch", "time", *dims],
                "data_type": "float32",
            },
        }
        for name, words, shape, dims in each
    ]


def _outputs(spec: ModelSpec) -> list[dict[str, Any]]:
    preset = PRESETS[spec.normalisation]
    back = f"(A - ({preset.optical_scale[0]})) / {preset.gain} + ({preset.optical_range[0]})"
    mean = ("reflectance", f"Cloud-free reflectance ({spec.level}), scaled as the input.", back)
    variance = ("variance", "Variance of the reflectance, scaled.", f"A / {preset.gain} ** 2")
    return [
        {
            "name": name,
            "description": description,
            "tasks": ["regression"],
            "bands": list(spec.optical_bands),
            "result": _structure(spec, len(spec.optical_bands), several=False),
            "post_processing_function": {"format": "gdal-calc", "expression": expression},
        }
        for name, description, expression in ([mean, variance] if spec.variance else [mean])
    ]


def _scaling(ends: tuple[float, float], scale: tuple[float, float]) -> dict[str, Any]:
    """Clipping, and scaling if any; MLM can express both together only as an expression."""
    (low, high), (bottom, top) = ends, scale
    if ends == scale:
        return {"type": "clip", "minimum": low, "maximum": high}
    share = f"(clip(A, {low}, {high}) - ({low})) / {high - low}"
    expression = share if scale == (0.0, 1.0) else f"{share} * {top - bottom} + ({bottom})"
    return {"type": "processing", "format": "gdal-calc", "expression": expression}


def _structure(spec: ModelSpec, bands: int, several: bool) -> dict[str, Any]:
    time: list[tuple[str, int]] = [("time", spec.dates)] if several else []
    sizes = {"batch": -1, **dict(time), "bands": bands, "height": -1, "width": -1}
    return {"shape": list(sizes.values()), "dim_order": list(sizes), "data_type": "float32"}


def _bands(spec: ModelSpec) -> list[dict[str, Any]]:
    optical = [
        {"name": band, "description": f"reflectance, {spec.level}", "unit": "1"}
        for band in spec.optical_bands
    ]
    sar = [
        {"name": p, "description": f"backscatter, {spec.sar_quantity}", "unit": "dB"}
        for p in spec.polarisations
    ]
    return optical + sar


def _description(spec: ModelSpec) -> str:
    reach = (
        f"reads {spec.reach} pixels beyond each output"
        if spec.reach is not None
        else f"reads all of its input, so it is run in tiles of {spec.tile} pixels"
    )
    words = [
        "Removes clouds from Sentinel-2 with the help of Sentinel-1.",
        f"Network of {networks.architecture(spec.architecture).source}; it {reach}, on a grid of "
        f"{spec.stride} pixels.",
        f"Fitted on: {spec.training_data}." if spec.trained else "Not fitted.",
        "Demonstrates the software; no claim of quality." if spec.demonstration else "",
        f"Licence: {spec.licence}.",
        spec.note,
    ]
    return " ".join(filter(None, words))


def _name(spec: ModelSpec) -> str:
    """The name in the characters that MLM allows, starting with a letter."""
    plain = re.sub(r"[^\w.-]+", "-", spec.name, flags=re.ASCII).strip("-_.")
    return plain if re.match(r"[A-Za-z]..", plain) else f"model-{plain}".rstrip("-")
