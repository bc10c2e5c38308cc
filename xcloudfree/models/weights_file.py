"""Safetensors files: written atomically, read without unpickling, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from xcloudfree.core.files import replacing
from xcloudfree.core.normalisation import PRESETS
from xcloudfree.exceptions import WeightsError
from xcloudfree.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

NESTED = ("stages", "blocks", "layers")
"""Options that count parts within parts of a network."""

REPEATED = (*NESTED, "levels", "encoder_blocks", "decoder_blocks")
"""Options that count parts of a network."""


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str], call: str = ""
) -> Path:
    """Write a safetensors file under a temporary name and rename it when complete."""
    from safetensors.torch import save

    whole = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    with replacing(path, call or f"model.save({str(path)!r})") as partial:
        # save_file would make it readable for its owner alone
        partial.write_bytes(save(whole, metadata=metadata))
    return path


def check_file(path: Path) -> None:
    """Raise an error for a missing file, or for a pickle; reads a few bytes."""
    if not path.is_file():
        raise WeightsError(
            f"there is no file {path}",
            fix="call xcloudfree.models.load(...) with a file that model.save(path) wrote, or "
            "with one of the names in xcloudfree.models.list()",
            option="see `xcloudfree models list`",
        )
    with path.open("rb") as start:
        head = start.read(9)
    if head[8:] != b"{" and (head[:2] == b"PK" or head[:1] == b"\x80"):
        raise WeightsError(
            f"{path} is a pickle, which can run any code when read, so it is not opened",
            fix="build a model with xcloudfree.models.create(name), load the tensors into "
            "model.network and write them with model.save(path), if you trust the file",
            option="convert it with xcloudfree models convert, if you trust the file",
        )


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file; never unpickles anything."""
    check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {}), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is truncated or not a safetensors file ({error})",
            fix=f"copy it again, or write it with model.save({str(path)!r})",
            option="copy it again, or convert the checkpoint again",
        ) from error


def check_size(path: Path, spec: ModelSpec, tensors: int) -> None:
    """Raise an error for more repeated parts than the file has tensors, before building them."""
    # every layer of a block of a stage has at least one tensor
    counts = {k: n for k, n in spec.options.items() if k in REPEATED and isinstance(n, int)}
    nested = math.prod(max(1, counts.get(option, 1)) for option in NESTED)
    if max(nested, *counts.values(), 0) > tensors:
        raise WeightsError(
            f"{path} names {counts} but has {tensors} tensors, so it is damaged",
            fix=f"copy it again, or write it with model.save({str(path)!r})",
            option="copy it again, or convert the checkpoint again",
        )


def check(path: Path, spec: ModelSpec, network: nn.Module) -> None:
    """Raise an error for a specification that contradicts the network, or weights not finite."""
    for name, (good, choices) in spec.choices().items():
        if not good:
            raise WeightsError(
                f"{path} names {name} {getattr(spec, name)!r}, which may only contain {choices}",
                fix=f"set that in model.spec and write it again with model.save({str(path)!r})",
                option="convert the checkpoint again with xcloudfree models convert",
            )
    config: Any = network.config
    # buffers as well: a statistic of batch normalisation that is no number spoils all
    tensors = network.state_dict().values()
    claims = {
        **{name: (getattr(spec, name), value) for name, value in config.declared().items()},
        "optical bands": (len(spec.optical_bands), config.optical_bands),
        "polarisations": (len(spec.polarisations), config.sar_bands),
        "normalisation": (config.reads(PRESETS[spec.normalisation]), True),
        "finite weights": (all(bool(t.isfinite().all()) for t in tensors), True),
    }
    wrong = [name for name, (claim, truth) in claims.items() if claim != truth]
    if wrong:
        raise WeightsError(
            f"{path} contradicts its network in {', '.join(wrong)}",
            fix=f"write it again with model.save({str(path)!r})",
            option="convert the checkpoint again with xcloudfree models convert",
        )


def check_digest(path: Path, written: str | None, read: str) -> None:
    """Raise an error if the weights are not those that were written."""
    if written not in (None, read):
        raise WeightsError(
            f"{path} is damaged: its weights are not those that were written",
            fix=f"copy it again, or write it with model.save({str(path)!r})",
            option="copy it again, or convert the checkpoint again",
        )
