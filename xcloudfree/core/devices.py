"""Devices of torch: the one that a user names, the one that a process has, and its gate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from xcloudfree.core.threads import DeviceGate
from xcloudfree.exceptions import DeviceMemoryError, ModelError


def chosen(device: Any) -> str:
    """Name of a device that is there, or ``"auto"``."""
    if device is None:
        return "auto"
    import torch

    try:
        place = torch.device(device)
        if place.type == "cuda":  # asked without claiming memory on it in this process
            there = (place.index or 0) < torch.cuda.device_count()
        else:
            there = torch.empty(0, device=place).device.type != "meta"
    except (RuntimeError, TypeError, NotImplementedError, AssertionError) as error:
        raise ModelError(
            f"{device!r} is no device of this torch",
            fix="call reconstruct(device='cpu')",
            option="--device cpu",
        ) from error
    if not there:
        raise ModelError(
            f"there is no device {device!s} here",
            fix="call reconstruct(device='cpu')",
            option="--device cpu",
        )
    return str(place)


def resolved(device: str) -> str:
    """The device where this process computes."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def device_gate(device: str) -> DeviceGate:
    """The gate of a device, one a process, shared by all that computes on it."""
    import torch

    return DeviceGate(device, torch.get_num_threads, torch.set_num_threads)


@contextmanager
def computing(device: str) -> Iterator[None]:
    """Compute what is no network: on an accelerator alone, on a CPU with one thread.

    The products are small, and threads that wait for one another would take several times the
    processor time; dask keeps all cores busy with blocks side by side.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if torch.device(device).type != "cpu":
            stack.enter_context(device_gate(device)())
        elif (before := torch.get_num_threads()) > 1:  # a number of the calling thread
            torch.set_num_threads(1)
            stack.callback(torch.set_num_threads, before)
        yield


def memory_error(what: str, device: str) -> DeviceMemoryError:
    """What is said when a block does not fit into the memory of a device."""
    return DeviceMemoryError(
        f"{what} do not fit into the memory of {device}",
        fix="use smaller chunks, ds.chunk(y=512, x=512), or call reconstruct(device='cpu')",
        option="--device cpu",
    )
