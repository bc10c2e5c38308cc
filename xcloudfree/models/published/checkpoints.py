"""Read published weights in the authors' formats, without running code in a file."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xcloudfree.exceptions import WeightsError
from xcloudfree.models.published.keras_weights import read_convolutions

Tensors = Mapping[str, Tensor]
Convolutions = Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]

_NO_WEIGHTS = {b"<": "a web page", b"version https://git-lfs": "a pointer of Git LFS"}


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a weights file."""

    path: Path  # the file
    digest: str  # its SHA-256, hexadecimal
    # state dicts by their place in the file; ``""`` is the file itself
    states: Mapping[str, Tensors]
    # kernel and bias of each layer of a Keras file; empty for the others
    convolutions: Convolutions = ()


def read(path: str | Path) -> Checkpoint:
    """Read a PyTorch, safetensors or Keras HDF5 file; pickles with code raise an error."""
    path = Path(path)
    head = _head(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return Checkpoint(path, sha256(path), {}, read_convolutions(path))
    states = _safetensors(path) if head[8:9] == b"{" else dict(_states(_unpickled(path), ""))
    if not states:
        raise WeightsError(
            f"{path} contains no named tensors",
            fix="pass the file with the state dict of the network, as "
            "written by torch.save(network.state_dict(), path)",
            option="name the file with the state dict of the network",
        )
    return Checkpoint(path, sha256(path), states)


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise WeightsError(
            f"{path} is a folder",
            fix="call convert() with the file of weights in it",
            option="name the file of weights in it",
        )
    if not path.is_file():
        raise WeightsError(
            f"there is no file {path}",
            fix="call convert() with the path of a checkpoint",
            option="name an existing checkpoint",
        )
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise WeightsError(f"{path} is empty", fix="download it again")
    for start, words in _NO_WEIGHTS.items():
        if head.startswith(start) and head[8:9] != b"{":  # "{" there: the length of a safetensors
            raise WeightsError(
                f"{path} is {words} and contains no weights", fix="download the file itself"
            )
    return head


def _safetensors(path: Path) -> dict[str, Tensors]:
    try:
        with safe_open(path, framework="pt") as file:
            if "xcloudfree" in (file.metadata() or {}):
                raise WeightsError(
                    f"{path} already is a model",
                    fix=f"call xcloudfree.models.load({str(path)!r})",
                    option=f"use it as it is, with --model {path}",
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is truncated ({error})", fix="download it again") from error
    return {"": tensors} if tensors else {}


def _unpickled(path: Path) -> Any:
    """The content of a file of ``torch.save``, tensors and plain values only."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # from None: torch's own message advises to read the file without protection
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            raise WeightsError(
                f"{path} contains {code[1]} besides tensors; reading it could run any code, so "
                "nothing was read",
                fix="ask its authors for the state dict alone, or, where you trust them, write "
                "it with torch.save(torch.load(path, weights_only=False)['state_dict'], "
                "new_path) and convert that",
                option="ask its authors for the state dict alone",
            ) from None
    except Exception:  # torch documents no errors for damaged files
        pass
    raise WeightsError(
        f"{path} is truncated, or not a PyTorch state dict, safetensors or Keras HDF5 file",
        fix="download it again, or ask its authors for torch.save(network.state_dict(), path)",
        option="download it again, or ask its authors for the state dict",
    )


def _states(value: Any, place: str, depth: int = 4) -> Iterator[tuple[str, Tensors]]:
    """State dicts inside nested dicts and lists, without those of optimisers."""
    if isinstance(value, (list, tuple)):
        value = {str(number): inner for number, inner in enumerate(value)}
    if not isinstance(value, Mapping) or "param_groups" in value or not depth:
        return
    named = {key: inner for key, inner in value.items() if isinstance(key, str)}
    tensors = {key: inner for key, inner in named.items() if isinstance(inner, Tensor)}
    if tensors:
        yield place, tensors
    for key, inner in named.items():
        yield from _states(inner, f"{place}.{key}" if place else key, depth - 1)
