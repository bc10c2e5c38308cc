"""Settings of the optimiser that are rarely changed, and schedules."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from xcloudfree.exceptions import DataError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Rarely used settings of :func:`xcloudfree.fit`.

    Parameters
    ----------
    warm_up : int, optional
        Steps until the highest learning rate; by default a tenth of all, at most 500.
    weight_decay : float
        Weight decay of matrices and kernels.
    clip : float
        Largest norm of the gradient; losses of adversaries are not clipped.
    average : float, optional
        Decay of the moving average of the weights that the fit returns; by default over a tenth of
        all steps, at most 1000.
    every : int, optional
        Steps from one validation and checkpoint to the next; by default a twentieth of all.
    held_out : int
        Number of validation batches, always the same ones.
    precision : {"auto", "float32", "bfloat16"}
        Precision of the network during fitting; "auto" is bfloat16 on CUDA, with losses in float32.
    devices : int
        Accelerators, or processes on a CPU. Each draws its own `batch` samples. With more than
        one, call `fit` from a script, because it is started again for each.
    threads : int, optional
        Threads that draw samples ahead; by default one on a CPU and up to eight with an
        accelerator. The samples do not depend on it.
    gaps : tuple of int
        Days around a date whose observations are withheld, for fitting on a series.
    cloudy_targets : {"refuse", "omit", "keep"}
        If the mask finds clouds in the target: raise an error for targets that are mostly cloudy,
        ignore those pixels, or treat them as ground.

    Raises
    ------
    DataError
        If a number is out of range.

    Examples
    --------
    >>> Recipe(average=2.0)
    Traceback (most recent call last):
    ...
    xcloudfree.exceptions.DataError: average is 2.0; call Recipe(average=...) with ...
    """

    warm_up: int | None = None
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float | None = None
    every: int | None = None
    held_out: int = 4
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    devices: int = 1
    threads: int | None = None
    gaps: tuple[int, ...] = (0, 15, 30, 45)
    cloudy_targets: Literal["refuse", "omit", "keep"] = "refuse"

    def __post_init__(self) -> None:
        rules = {
            "warm_up": (self.warm_up is None or self.warm_up >= 1, "1 or more"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "clip": (self.clip > 0, "a number above 0"),
            "average": (self.average is None or 0 <= self.average < 1, "0 or more, below 1"),
            "every": (self.every is None or self.every >= 1, "1 or more"),
            "held_out": (self.held_out >= 1, "1 or more"),
            "precision": (
                self.precision in ("auto", "float32", "bfloat16"),
                "'auto', 'float32' or 'bfloat16'",
            ),
            "devices": (self.devices >= 1, "1 or more"),
            "threads": (self.threads is None or self.threads >= 0, "0 or more"),
            "cloudy_targets": (
                self.cloudy_targets in ("refuse", "omit", "keep"),
                "'refuse', 'omit' or 'keep'",
            ),
        }
        for name, (good, rule) in rules.items():
            if not good:
                raise DataError(
                    f"{name} is {getattr(self, name)!r}", fix=f"call Recipe({name}=...) with {rule}"
                )

    def rate(self, step: int, steps: int) -> float:
        """Share of the highest learning rate: linear warm-up, then a cosine to 1/200."""
        warm = self.warm_up or min(500, max(1, steps // 10))
        if step < warm:
            return (step + 1) / warm
        done = (step - warm) / max(1, steps - warm)
        return 0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * done))

    def decay(self, steps: int) -> float:
        """Decay of the moving average of the weights."""
        return min(0.999, 1 - 10 / max(steps, 20)) if self.average is None else self.average

    def interval(self, steps: int) -> int:
        """Steps from one validation and checkpoint to the next."""
        return self.every or max(1, steps // 20)

    def groups(self, network: nn.Module) -> Iterator[dict[str, Any]]:
        """Parameters with their weight decay, only for matrices and kernels."""
        named = list(network.named_parameters())
        heavy = [p for n, p in named if p.ndim > 1 and "relative_bias" not in n]
        light = [p for n, p in named if p.ndim <= 1 or "relative_bias" in n]
        yield {"params": heavy, "weight_decay": self.weight_decay}
        yield {"params": light, "weight_decay": 0.0}


def halving_rate(step: int, steps: int) -> float:
    """Share of the learning rate in adversarial fitting: constant, then linear to 0."""
    # Isola et al. (2017), Image-to-Image Translation with Conditional Adversarial Networks, CVPR.
    return min(1.0, 2 * (1 - step / steps))
