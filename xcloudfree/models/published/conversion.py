"""Convert published checkpoints to models of this library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xcloudfree import models
from xcloudfree.exceptions import WeightsError
from xcloudfree.models import networks
from xcloudfree.models.dsen2cr import from_keras
from xcloudfree.models.model import Model
from xcloudfree.models.published.checkpoints import Checkpoint, Tensors, read
from xcloudfree.models.published.matching import Match, matches, pairs
from xcloudfree.models.variants import ALIASES, VARIANTS

PAIRED = ("simulation-fusion-gan",)
"""Architectures of two networks, which are published as two files."""

KERAS = ("dsen2cr",)
"""Architectures that are published for Keras."""


def convert(
    path: str | Path | Sequence[str | Path],
    architecture: str,
    *,
    name: str | None = None,
    optical_bands: Sequence[str] | None = None,
    polarisations: Sequence[str] | None = None,
    level: str = "TOA",
    sar_quantity: str = "sigma0",
    **options: Any,
) -> Model:
    """Convert a published checkpoint to a model.

    Names and shapes determine the variant of the architecture. Reads PyTorch state dicts
    (never code in a pickle), also inside training checkpoints, safetensors, and
    the Keras files of DSen2-CR.

    Parameters
    ----------
    path : str or Path, or two of them
        The authors' file; for ``"simulation-fusion-gan"`` the files of its two generators
        ``(G1, G2)`` or one file with both.
    architecture : str
        Architecture, or a variant of :func:`xcloudfree.models.list`, which is tried first.
    name : str, optional
        Name of the model; by default the variant's and the file's.
    optical_bands, polarisations : sequence of str, optional
        Training bands of the checkpoint, in its order; by default 13 bands, VV and VH.
    level, sar_quantity : str
        Training data of the checkpoint, see :class:`~xcloudfree.models.spec.ModelSpec`.
    **options
        Further arguments of :func:`xcloudfree.models.create`.

    Returns
    -------
    Model
        Ready for ``reconstruct(model=...)`` and ``save``.

    Raises
    ------
    WeightsError
        If the file cannot be read, contains code, or fits no variant.
    ModelError
        If there is no such architecture.

    Examples
    --------
    >>> import tempfile, torch
    >>> network = models.create("carf-tiny", seed=1).network
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"epoch": 3, "net_G": network.state_dict()}, f"{folder}/best.pth")
    ...     model = convert(f"{folder}/best.pth", "carf")
    >>> model.spec.name, model.spec.trained
    ('carf-tiny-best', True)
    """
    given = {"optical_bands": optical_bands, "polarisations": polarisations}
    bands = {key: tuple(value) for key, value in given.items() if value is not None}
    described = {"level": level, "sar_quantity": sar_quantity, **bands, **options}
    family, variants = _variants(architecture)
    files = [read(file) for file in _paths(path, family)]
    compared = matches(variants, _candidates(files, family), described)
    fitting = [match for match in compared if not match.misfits]
    if not fitting:
        raise _misfit(files, architecture, compared)
    match = _only(files, architecture, fitting)
    model = models.create(match.variant, **described)
    model.network.load_state_dict(_finite_floats(files[0].path, match.state))
    source = networks.architecture(family)
    labels = " and ".join(f"{file.path.name} (SHA-256 {file.digest})" for file in files)
    place = f", entry {match.place}" if match.place else ""
    model.spec = model.spec.replace(
        name=name or f"{match.variant}-{files[-1].path.stem}",
        trained=True,
        training_data=f"that of the authors' checkpoint; the network is that of {source.source}",
        licence=source.licence,
        note=f"converted from {labels}{place}",
    )
    return model


def _paths(path: str | Path | Sequence[str | Path], family: str) -> list[str | Path]:
    """The files as a list: one, or two if they are published as a pair."""
    paths: list[str | Path] = [path] if isinstance(path, (str, Path)) else list(path or ())
    if not 1 <= len(paths) <= 2:
        raise WeightsError(
            f"{len(paths)} files were given",
            fix=f"call xcloudfree.models.convert(path, {family!r}), or with (path_of_G1, "
            f"path_of_G2) for {PAIRED[0]!r}",
            option="give one file, or the two of a pair",
        )
    return paths


def _variants(architecture: str) -> tuple[str, list[str]]:
    """The architecture, and its variants in the order to try."""
    named = ALIASES.get(architecture, architecture)
    family = VARIANTS[named][0] if named in VARIANTS else architecture
    networks.architecture(family)
    variants = [variant for variant, (other, _) in VARIANTS.items() if other == family]
    return family, sorted(variants, key=lambda variant: variant != named)


def _candidates(files: Sequence[Checkpoint], family: str) -> Mapping[str, Tensors]:
    """Candidate state dicts of the network."""
    paths = " and ".join(str(file.path) for file in files)
    if any(file.convolutions for file in files):
        if family not in KERAS or len(files) > 1:
            raise WeightsError(
                f"{paths} is a Keras file, which only DSen2-CR uses",
                fix=f"call xcloudfree.models.convert({str(files[0].path)!r}, 'dsen2cr')",
                option="--architecture dsen2cr",
            )
        return {"": from_keras(files[0].convolutions)}
    if family in PAIRED:
        if joined := pairs([file.states for file in files]):
            return joined
        raise WeightsError(
            f"{family} has two generators but {paths} does not contain both as G1 and G2",
            fix=f"call xcloudfree.models.convert((path_of_G1, path_of_G2), {family!r})",
            option="give both files, G1 and G2",
        )
    if len(files) > 1:
        raise WeightsError(
            f"{family} is one network but {len(files)} files were given",
            fix=f"call convert(path, {family!r}) with one of {paths}",
            option="give one of them",
        )
    return files[0].states


def _only(files: list[Checkpoint], architecture: str, fitting: list[Match]) -> Match:
    """The match to convert; raises an error if several matches compute different things."""
    named = ALIASES.get(architecture, architecture)
    kept = [match for match in fitting if match.variant == named] or fitting
    by_config = {match.config: match.variant for match in reversed(kept)}
    if len(by_config) > 1:
        choices = sorted(by_config.values())
        raise WeightsError(
            f"{files[0].path} fits {' and '.join(choices)}, which compute different things from "
            "the same weights",
            fix=f"call xcloudfree.models.convert(path, {choices[0]!r})",
            option=f"--architecture {choices[0]}",
        )
    first, *others = kept
    for other in others:
        if any(not torch.equal(first.state[name], other.state[name]) for name in first.state):
            raise WeightsError(
                f"{files[0].path} contains several sets of weights that fit, {first.place!r} and "
                f"{other.place!r}",
                fix="write the one that you want with torch.save(torch.load(path, "
                "weights_only=True)[...], new_path) and convert that",
                option="give a file that contains only the one that you want",
            )
    return first


def _finite_floats(path: Path, state: Tensors) -> dict[str, torch.Tensor]:
    """The weights as finite float32."""
    floats = {}
    for name, tensor in state.items():
        plain = tensor.is_floating_point() and tensor.layout == torch.strided
        if not plain or tensor.is_quantized or tensor.is_meta:
            raise WeightsError(
                f"{path} contains {name} as {tensor.dtype} on {tensor.device}, not as plain "
                "floating point",
                fix="ask its authors for network.float().state_dict()",
                option="ask its authors for weights in floating point",
            )
        floats[name] = tensor.detach().float()
    bad = [name for name, tensor in floats.items() if not tensor.isfinite().all()]
    if bad:
        raise WeightsError(
            f"{path} contains values that are not finite in {_some(bad)}, so its fit diverged or "
            "the file is damaged",
            fix="download it again or take another checkpoint",
        )
    return floats


def _misfit(files: list[Checkpoint], architecture: str, compared: list[Match]) -> WeightsError:
    """The error about the closest variant."""
    closest = min(compared, key=lambda match: match.misfits)
    faults = {
        "lacks": closest.missing,
        "also has": closest.unexpected,
        "has other shapes:": closest.different,
    }
    words = ", ".join(f"{verb} {_some(names)}" for verb, names in faults.items() if names)
    return WeightsError(
        f"the checkpoint {' and '.join(str(file.path) for file in files)} does not fit "
        f"{architecture}: compared with {closest.variant}, it {words}",
        fix="pass its bands and options, xcloudfree.models.convert(path, "
        f"{architecture!r}, optical_bands=(...), option=...), or its own architecture",
        option="name its bands with --optical-bands and --polarisations, or its own --architecture",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
