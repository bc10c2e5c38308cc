"""Convolutions of a Keras HDF5 file, in the order of the layers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcloudfree.exceptions import WeightsError

Array = NDArray[np.float32]


def read_convolutions(path: str | Path) -> list[tuple[Array, Array]]:
    """Kernel (h, w, in, out) and bias of every convolution of a file of Keras 1, 2 or 3."""
    try:
        import h5py
    except ImportError:
        raise WeightsError(
            f"{path} is a Keras file, which needs h5py",
            fix="call `pip install 'xcloudfree[convert]'`",
        ) from None
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            arrays = _listed(root) if _has(root, "layer_names") else _numbered(path, file, h5py)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{path} is truncated or not a Keras file ({error})", fix="download it again"
        ) from error
    kernels = [
        (name, array, after)
        for (name, array), (_, after) in zip(arrays, [*arrays[1:], ("", None)], strict=True)
        if array.ndim == 4
    ]
    if not kernels:
        raise WeightsError(
            f"{path} contains no convolutions",
            fix="pass the output of model.save_weights(path)",
            option="name the file of weights that Keras wrote",
        )
    for name, kernel, bias in kernels:
        if bias is None or bias.shape != kernel.shape[3:]:
            raise WeightsError(
                f"{path} has no bias for {name}, so it is not DSen2-CR",
                fix="pass the file of the authors' Keras model",
            )
    return [(kernel, bias) for _, kernel, bias in kernels if bias is not None]


def _listed(root: Any) -> list[tuple[str, Array]]:
    """All weights in the order given by the attributes of Keras 1 and 2."""
    return [
        (f"{layer}/{name}", np.asarray(root[layer][name], np.float32))
        for layer in _names(root, "layer_names")
        for name in _names(root[layer], "weight_names")
    ]


def _numbered(path: str | Path, file: Any, h5py: Any) -> list[tuple[str, Array]]:
    """Convolutions in the order of the numbers in their names."""
    places: list[str] = []
    layers = file.get("layers", file)
    layers.visititems(
        lambda name, node: (
            places.append(name) if isinstance(node, h5py.Dataset) and node.ndim in (1, 4) else None
        )
    )
    places = [p for p in places if re.match(r"\w*conv2d", p)]
    stems = {re.sub(r"_\d+$", "", p.split("/")[0]) for p in places}
    if len(stems) > 1:
        raise WeightsError(
            f"{path} does not record the order of its layers {sorted(stems)[:5]}",
            fix="write it from Keras 2 with model.save_weights('weights.h5') and convert that",
            option="write it again as weights.h5 with Keras 2",
        )
    # the kernel (4 dimensions) before its bias
    places.sort(key=lambda place: (_number(place), -layers[place].ndim))
    return [(place, np.asarray(layers[place], np.float32)) for place in places]


def _number(place: str) -> int:
    number = re.search(r"_(\d+)$", place.split("/")[0])
    return int(number[1]) if number else 0


def _has(node: Any, attribute: str) -> bool:
    return attribute in node.attrs or f"{attribute}0" in node.attrs


def _names(node: Any, attribute: str) -> list[str]:
    """An attribute of names, which Keras splits into ``attribute0, attribute1, ...`` if long."""
    parts, number = [], 0
    if attribute in node.attrs:
        parts = list(node.attrs[attribute])
    while f"{attribute}{number}" in node.attrs:
        parts += list(node.attrs[f"{attribute}{number}"])
        number += 1
    return [part.decode() if isinstance(part, bytes) else str(part) for part in parts]
