"""Which of our networks a published state dict fits, found by names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from xcloudfree import models
from xcloudfree.models import networks
from xcloudfree.models.config import NetworkConfig
from xcloudfree.models.published.checkpoints import Tensors
from xcloudfree.models.variants import VARIANTS

PREFIXES = (
    "module.", "_orig_mod.", "net_G.", "netG.", "generator.", "network.", "net.", "denoise_fn.",
    "model.",
)  # fmt: skip
"""What wrappers and training scripts put before the names of a network."""

_HALF = re.compile(r"(?:net_?|model_?|state_dict_?)?(?:g|gen|generator)_?([12])", re.IGNORECASE)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """A state dict held against a network."""

    variant: str  # name of the network
    config: NetworkConfig  # its hyper-parameters
    place: str  # where in the file the entries lie
    state: Tensors  # entries by our names
    ignored: tuple[str, ...]  # entries, in the authors' names, that carry no weight of the network
    # names (ours) that the file lacks, and that the network lacks
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    different: Mapping[str, tuple[Shape, Shape]]  # shapes by our name: the file's, the network's

    @property
    def good(self) -> bool:
        """Whether every name and shape agrees."""
        return not (self.missing or self.unexpected or self.different)

    @property
    def likeness(self) -> tuple[int, int]:
        """Greater is closer: names that agree, less those that do not; shapes that agree."""
        named = len(self.state) - len(self.unexpected)
        return named - len(self.missing) - len(self.unexpected), named - len(self.different)


def fits(
    variants: Iterable[str], states: Mapping[str, Tensors], described: Mapping[str, Any]
) -> list[Fit]:
    """Hold every state dict, with and without prefixes, against every network."""
    candidates = [
        (f"{place} {prefix}".strip(), state)
        for place, whole in states.items()
        for prefix, state in stripped(whole)
    ]
    found = []
    for variant in variants:
        config, shapes = outline(variant, described)
        published = networks.architecture(VARIANTS[variant][0]).published or _unchanged
        found += [_held(variant, config, shapes, published, *c) for c in candidates]
    return found


def outline(variant: str, described: Mapping[str, Any]) -> tuple[NetworkConfig, dict[str, Shape]]:
    """Hyper-parameters and shapes of a network, without memory for its weights."""
    with torch.device("meta"):
        network = models.create(variant, **described).network
    config: NetworkConfig = network.config
    entries = network.state_dict().items()
    return config, {k: tuple(t.shape) for k, t in entries if not k.endswith("num_batches_tracked")}


def stripped(state: Tensors) -> Iterator[tuple[str, Tensors]]:
    """The state dict, and what lies under each of the known prefixes, to any depth."""
    waiting = [("", state)]
    while waiting:
        prefix, inner = waiting.pop(0)
        yield prefix, inner
        for known in PREFIXES:
            under = {k.removeprefix(known): t for k, t in inner.items() if k.startswith(known)}
            if under:
                waiting.append((prefix + known, under))


def halves(states: Mapping[str, Tensors]) -> tuple[dict[str, Tensors], dict[str, Tensors]]:
    """State dicts of the first and of the second generator in a file that holds both."""
    found: tuple[dict[str, Tensors], dict[str, Tensors]] = ({}, {})
    for place, whole in states.items():
        if match := _HALF.fullmatch(place.split(".")[-1]):
            found[int(match[1]) - 1][place] = whole
        for prefix, state in stripped(whole):
            for first in dict.fromkeys(name.split(".")[0] for name in state):
                if match := _HALF.fullmatch(first):
                    part = {
                        name.removeprefix(f"{first}."): tensor
                        for name, tensor in state.items()
                        if name.startswith(f"{first}.")
                    }
                    found[int(match[1]) - 1][f"{place} {prefix}{first}.".strip()] = part
    return found


def joined(first: Mapping[str, Tensors], second: Mapping[str, Tensors]) -> dict[str, Tensors]:
    """Every way to make one state dict of two generators, with prefixes ``G1.`` and ``G2.``."""
    sides = [
        [
            (f"{place} {prefix}".strip(), inner)
            for place, s in side.items()
            for prefix, inner in stripped(s)
        ]
        for side in (first, second)
    ]
    return {
        (f"{one[0]} as G1, {two[0]} as G2" if one[0] or two[0] else ""): {
            **{f"G1.{name}": tensor for name, tensor in one[1].items()},
            **{f"G2.{name}": tensor for name, tensor in two[1].items()},
        }
        for one, two in product(*sides)
    }


def band_counts(fit: Fit, described: Mapping[str, Any]) -> tuple[int, int] | None:
    """Optical bands and polarisations with which the file fits, where only these are wrong."""
    # Every size in a network is an affine function of the two counts, so three outlines tell them.
    ranks_agree = all(len(ours) == len(theirs) for ours, theirs in fit.different.values())
    if fit.missing or fit.unexpected or not ranks_agree:
        return None

    def shapes(optical: int, sar: int) -> dict[str, Shape]:
        bands = {"optical_bands": ("B02",) * optical, "polarisations": ("VV",) * sar}
        return outline(fit.variant, {**described, **bands})[1]

    base, more_optical, more_sar = shapes(1, 1), shapes(2, 1), shapes(1, 2)
    sizes = [
        (theirs, one, two - one, three - one)
        for name, tensor in fit.state.items()
        for theirs, one, two, three in zip(
            tensor.shape, base[name], more_optical[name], more_sar[name], strict=True
        )
    ]
    for optical, sar in product(range(1, 17), range(1, 9)):
        if all(t == one + (optical - 1) * a + (sar - 1) * b for t, one, a, b in sizes):
            return optical, sar
    return None


def _held(
    variant: str,
    config: NetworkConfig,
    shapes: Mapping[str, Shape],
    published: networks.Names,
    place: str,
    theirs: Tensors,
) -> Fit:
    state: dict[str, Tensor] = {}
    ignored, twice = [], []
    for name, tensor in theirs.items():
        ours = published(name)
        if ours is None:
            ignored.append(name)
        elif ours in state:
            twice.append(name)
        else:
            state[ours] = tensor
    return Fit(
        variant,
        config,
        place,
        state,
        tuple(ignored),
        tuple(name for name in shapes if name not in state),
        tuple(twice + [name for name in state if name not in shapes]),
        {
            name: (tuple(tensor.shape), shapes[name])
            for name, tensor in state.items()
            if name in shapes and tuple(tensor.shape) != shapes[name]
        },
    )


def _unchanged(name: str) -> str:
    return name
