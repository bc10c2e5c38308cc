"""Random fields for simulated clouds and landscapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

Field = NDArray[np.float32]


def power_law_noise(
    rng: np.random.Generator,
    shape: Sequence[int],
    *,
    slope: float,
    scale: float,
    stretch: float = 1.0,
    orientation: float = 0.0,
) -> Field:
    """Smooth, periodic Gaussian noise of zero mean and unit variance with a power-law spectrum."""
    white = rng.standard_normal(tuple(shape), dtype=np.float32)
    ky = scipy.fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    kx = scipy.fft.rfftfreq(shape[1]).astype(np.float32)[None, :]
    sine, cosine = math.sin(orientation), math.cos(orientation)
    along, across = cosine * kx + sine * ky, cosine * ky - sine * kx
    square = (along * stretch) ** 2 + across**2 + scale**-2
    spectrum = scipy.fft.rfft2(white) * square ** np.float32(-slope / 4)
    spectrum[0, 0] = 0
    noise: Field = scipy.fft.irfft2(spectrum, tuple(shape)).astype(np.float32, copy=False)
    return noise / max(float(noise.std()), 1e-12)


def block_mean(field: Field, step: int) -> Field:
    """Mean over blocks of ``step x step`` pixels, repeated on the original grid."""
    if step <= 1:
        return field
    whole = np.pad(field, [(0, -n % step) for n in field.shape], mode="edge")
    rows, columns = (n // step for n in whole.shape)
    tall = whole.reshape(rows, step, columns * step)
    total = tall[:, 0].copy()
    for k in range(1, step):  # one order of summation, whatever the size of the field
        total += tall[:, k]
    flat = total.reshape(rows, columns, step)
    mean = flat[..., 0].copy()
    for k in range(1, step):
        mean += flat[..., k]
    mean /= np.float32(step * step)
    out: Field = mean.repeat(step, 0).repeat(step, 1)[: field.shape[0], : field.shape[1]]
    return out
