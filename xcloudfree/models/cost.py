"""Cost of a network: parameters and multiply-adds."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from xcloudfree.methods.temporal_context import scaled_planes
from xcloudfree.models.model import Model


def parameters(model: Model) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.network.parameters())


def multiply_adds(model: Model, size: int = 256) -> int:
    """Multiply-adds for one image of `size` pixels a side, counted in a run."""
    optical, sar, extra = _inputs(model, size)
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),  # as matrix products, which are counted
        torch.no_grad(),
    ):
        model.network(optical, sar, **extra)
    return counter.get_total_flops() // 2


def peak_bytes(model: Model, size: int = 128) -> int:
    """Peak memory of the activations for one image of `size` pixels a side, counted in a run."""
    # It grows with the number of pixels. It excludes weights and memory that libraries below torch
    # allocate for themselves.
    optical, sar, extra = _inputs(model, size)
    with _Live() as live, torch.no_grad():
        model.network(optical, sar, **extra)
    return live.peak


class _Live(TorchDispatchMode):
    """Counts the bytes of existing tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor):
                self._watch(tensor.untyped_storage())
        return out

    def _watch(self, storage: Any) -> None:
        key, size = storage.data_ptr(), storage.nbytes()
        if key in self._known or not size:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _inputs(model: Model, size: int) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Empty images in the input shape of the network."""
    spec = model.spec
    dates = (spec.dates,) if spec.dates > 1 else ()
    shapes = ((1, *dates, len(b), size, size) for b in (spec.optical_bands, spec.polarisations))
    optical, sar = (torch.zeros(shape) for shape in shapes)
    extra: dict[str, Any] = {}
    if spec.needs_mask:
        extra["mask"] = torch.zeros((1, 1, size, size))
    if spec.context:
        planes = scaled_planes(spec.context, len(spec.optical_bands))
        extra["context"] = torch.zeros((1, planes, size, size))
    if dates:
        extra["dates"] = torch.zeros((1, *dates))
    return optical, sar, extra
