"""Compare a published state dict with our networks, by names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

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
"""Prefixes that wrappers and training scripts add to the names of a network."""

_HALF = re.compile(r"(?:net_?|model_?|state_dict_?)?(?:g|gen|generator)_?([12])", re.IGNORECASE)


class Match(NamedTuple):
    """A state dict compared with a variant; names are ours."""

    variant: str
    config: NetworkConfig
    place: str  # position of the entries in the file
    state: Tensors
    missing: list[str]  # names that the file lacks
    unexpected: list[str]  # names that the network lacks
    different: list[str]  # shapes that differ, in words

    @property
    def misfits(self) -> int:
        """Number of names and shapes that disagree."""
        return len(self.missing) + len(self.unexpected) + len(self.different)


def matches(
    variants: Iterable[str], states: Mapping[str, Tensors], described: Mapping[str, Any]
) -> list[Match]:
    """Compare every state dict, with and without prefixes, with every variant."""
    compared = []
    for variant in variants:
        with torch.device("meta"):  # only shapes, without memory for the weights
            network = models.create(variant, **described).network
        published = networks.architecture(VARIANTS[variant][0]).published or str
        for place, theirs in _unwrapped(states).items():
            compared.append(_compare(variant, network, place, _renamed(theirs, published)))
    return compared


def pairs(files: list[Mapping[str, Tensors]]) -> dict[str, Tensors]:
    """Every way to join two generators, of one file or two, under ``G1.`` and ``G2.``."""
    first, second = _halves(files[0]) if len(files) == 1 else files
    return {
        (f"{one} as G1, {two} as G2" if one or two else ""): {
            **{f"G1.{name}": tensor for name, tensor in g1.items()},
            **{f"G2.{name}": tensor for name, tensor in g2.items()},
        }
        for (one, g1), (two, g2) in product(_unwrapped(first).items(), _unwrapped(second).items())
    }


def _halves(states: Mapping[str, Tensors]) -> tuple[dict[str, Tensors], dict[str, Tensors]]:
    """State dicts of the first and the second generator in a file that holds both."""
    halves: tuple[dict[str, Tensors], dict[str, Tensors]] = ({}, {})
    for place, state in states.items():
        if match := _HALF.fullmatch(place.split(".")[-1]):
            halves[int(match[1]) - 1][place] = state
    for place, state in _unwrapped(states).items():
        for first in dict.fromkeys(name.split(".")[0] for name in state):
            if match := _HALF.fullmatch(first):
                gap = " " if place and not place.endswith(".") else ""
                halves[int(match[1]) - 1][f"{place}{gap}{first}."] = _below(f"{first}.", state)
    return halves


def _unwrapped(states: Mapping[str, Tensors]) -> dict[str, Tensors]:
    """The state dicts, and the entries under each of the known prefixes, to any depth."""
    return {
        f"{place} {prefix}".strip(): inner
        for place, state in states.items()
        for prefix, inner in _stripped("", state)
    }


def _stripped(before: str, state: Tensors) -> Iterator[tuple[str, Tensors]]:
    yield before, state
    for prefix in PREFIXES:
        if inner := _below(prefix, state):
            yield from _stripped(before + prefix, inner)


def _below(prefix: str, state: Tensors) -> Tensors:
    return {k.removeprefix(prefix): tensor for k, tensor in state.items() if k.startswith(prefix)}


def _renamed(theirs: Tensors, published: networks.Names) -> Tensors:
    """Entries by our names; one whose name is taken keeps its own and is thus unexpected."""
    state: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        ours = published(name)
        if ours is not None:
            state[name if ours in state else ours] = tensor
    return state


def _compare(variant: str, network: Any, place: str, state: Tensors) -> Match:
    # counters of batch normalisation are not weights
    entries = network.state_dict().items()
    shapes = {k: tuple(t.shape) for k, t in entries if not k.endswith("num_batches_tracked")}
    return Match(
        variant,
        network.config,
        place,
        state,
        [name for name in shapes if name not in state],
        [name for name in state if name not in shapes],
        [
            f"{name} {tuple(tensor.shape)} for {shapes[name]}"
            for name, tensor in state.items()
            if name in shapes and tuple(tensor.shape) != shapes[name]
        ],
    )
