"""Networks by the name of their architecture: the one place that knows every class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from xcloudfree.exceptions import ModelError
from xcloudfree.models.carf import Carf, CarfConfig

NETWORKS: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "carf": lambda options: Carf(CarfConfig(**options)),
}
"""Constructors by architecture, each from the options that a specification stores."""


def build(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    """Build an untrained network.

    Parameters
    ----------
    architecture : str
        Key of :data:`NETWORKS`.
    options : mapping
        Hyper-parameters.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ModelError
        If the architecture is unknown or an option does not fit it.
    """
    if architecture not in NETWORKS:
        raise ModelError(
            f"unknown architecture {architecture!r}; known are {sorted(NETWORKS)}, "
            "and all names in xcloudfree.models.list()"
        )
    try:
        return NETWORKS[architecture](options)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{architecture} cannot be built with {dict(options)}: {error}; "
            "see the options in help(xcloudfree.models.create)"
        ) from error
