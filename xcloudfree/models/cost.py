"""What a network costs: parameters and multiply-adds."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from xcloudfree.models.model import Model


def parameters(model: Model) -> int:
    """Number of fitted numbers.

    Parameters
    ----------
    model : Model
        Any model.

    Returns
    -------
    int

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> round(parameters(xcf.models.load("carf-tiny")) / 1e6, 2)
    0.37
    """
    return sum(p.numel() for p in model.network.parameters())


def multiply_adds(model: Model, size: int = 256) -> int:
    """Multiply-adds of one image in convolutions, matrix products and attention, counted in a run.

    Parameters
    ----------
    model : Model
        Any model.
    size : int
        Side of the image in pixels.

    Returns
    -------
    int

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> round(multiply_adds(xcf.models.load("carf-tiny"), size=64) / 1e9, 2)
    0.41
    """
    spec = model.spec
    dates = (spec.dates,) if spec.dates > 1 else ()
    shapes = ((1, *dates, len(b), size, size) for b in (spec.optical_bands, spec.polarisations))
    optical, sar = (torch.zeros(shape) for shape in shapes)
    extra: dict[str, Any] = {}
    if spec.needs_mask:
        extra["mask"] = torch.zeros((1, 1, size, size))
    if dates:
        extra["dates"] = torch.zeros((1, *dates))
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),  # as matrix products, which are counted
        torch.no_grad(),
    ):
        model.network(optical, sar, **extra)
    return counter.get_total_flops() // 2
