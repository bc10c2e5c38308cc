"""Samples for fitting: crops of paired patches, under their own clouds or simulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError
from xcloudfree.kernels.clouds import simulate_clouds
from xcloudfree.kernels.mask import METHODS
from xcloudfree.kernels.radiometry import Calibration
from xcloudfree.models.spec import ModelSpec
from xcloudfree.recognise import read

Array = NDArray[np.float32]

ENOUGH_CLOUD = 0.1
"""Share of a crop that must be occluded for its own clouds to be worth learning from."""


@dataclass(frozen=True)
class Batch:
    """Physical arrays of one step.

    Parameters
    ----------
    cloudy, target : ndarray
        Reflectance (n, band, y, x); NaN is no data.
    sar : ndarray
        Backscatter in dB, (n, polarisation, y, x).
    mask : ndarray of bool
        True where occluded, (n, 1, y, x).
    """

    cloudy: Array
    target: Array
    sar: Array
    mask: NDArray[np.bool_]


class PatchSamples:
    """Random crops of paired patches.

    Each dataset is drawn equally often, so one dataset a region weighs regions alike. A crop with
    hardly any cloud gets simulated ones: the few pixels that a mask takes there are bright ground,
    and would teach that what clouds hide is bright.

    Parameters
    ----------
    data : sequence of Dataset
        Each with cloudy Sentinel-2, Sentinel-1 and the cloud-free `target`.
    target : str
        Variable with the cloud-free reflectance, dimensions as ``s2``.
    spec : ModelSpec
        Bands, polarisations and level to sample.
    crop : int
        Side of a crop in pixels.
    simulated : float
        Share of samples in which simulated clouds over the target replace the cloudy image.
    mask : str
        Method of the mask, see :func:`xcloudfree.masks.mask`.

    Raises
    ------
    DataError
        If the target is missing, or a patch is smaller than the crop.
    """

    def __init__(
        self,
        data: Sequence[xr.Dataset],
        *,
        target: str,
        spec: ModelSpec,
        crop: int,
        simulated: float,
        mask: str,
    ) -> None:
        self.spec, self.crop, self.simulated, self.mask = spec, crop, simulated, mask
        self.sources = [_paired(ds, target, spec) for ds in data]
        for cloudy, _, _ in self.sources:
            if min(cloudy.shape[-2:]) < crop:
                raise DataError(
                    f"patches of {cloudy.shape[-2]}x{cloudy.shape[-1]} px are smaller than the "
                    f"crop; call fit(..., crop={min(cloudy.shape[-2:]) // 16 * 16})"
                )

    def mean_spectrum(self) -> Array:
        """Mean of the target in each band, each dataset weighing alike: the best constant guess."""
        means = [t.mean(dim=["sample", "y", "x"], dtype="float64") for _, t, _ in self.sources]
        return np.mean([m.values for m in means], axis=0).astype(np.float32)

    def draw(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw a batch.

        Parameters
        ----------
        rng : numpy.random.Generator
            Decides everything.
        size : int
            Samples.

        Returns
        -------
        Batch
        """
        samples = [self._one(rng) for _ in range(size)]
        cloudy, target, sar, mask = (np.stack(parts) for parts in zip(*samples, strict=True))
        return Batch(cloudy, target, sar, mask)

    def _one(self, rng: np.random.Generator) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        source = self.sources[rng.integers(len(self.sources))]
        sample = int(rng.integers(source[0].shape[0]))
        height, width = source[0].shape[-2:]
        y, x = (int(rng.integers(n - self.crop + 1)) for n in (height, width))
        window = (sample, slice(None), slice(y, y + self.crop), slice(x, x + self.crop))
        cloudy, target, sar = (np.asarray(a[window].values) for a in source)
        mask = self._mask(cloudy)
        if rng.random() < self.simulated or mask.mean() < ENOUGH_CLOUD:
            cover = rng.uniform(0.2, 0.9)
            sky = simulate_clouds(target, rng=rng, cover=cover, bands=self.spec.optical_bands)
            cloudy, mask = sky.cloudy, self._mask(sky.cloudy)
        flip, turns = bool(rng.integers(2)), int(rng.integers(4))
        cloudy, target, sar = (_symmetry(a, flip, turns) for a in (cloudy, target, sar))
        return cloudy, target, sar, _symmetry(mask[None], flip, turns)

    def _mask(self, cloudy: Array) -> NDArray[np.bool_]:
        method = METHODS[self.mask]
        bands = dict(zip(self.spec.optical_bands, cloudy, strict=True))
        return method.kernel(bands, Calibration(), method.threshold)


def _paired(
    ds: xr.Dataset, target: str, spec: ModelSpec
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Cloudy reflectance, target and backscatter, each (sample, band, y, x)."""
    if target not in ds:
        raise DataError(
            f"the data has no variable {target!r} with the cloud-free reflectance; name the one "
            f"that holds it with fit(..., target=...); it has {list(map(str, ds.data_vars))}"
        )
    scene = read(ds.drop_vars(target))
    if scene.form != "stacked":
        raise DataError(
            "paired patches come as variables 's2', 's1' and the target, each with a band "
            "dimension; see xcloudfree.datasets.sen12mscr"
        )
    why = f"fitting {spec.name}"
    scene.need_optical(spec.optical_bands, why)
    scene.need_sar(spec.polarisations, why)
    truth = read(ds[[target]].rename({target: "s2"}))
    truth.need_optical(spec.optical_bands, why)
    arrays = (
        scene.reflectance(spec.optical_bands),
        truth.reflectance(spec.optical_bands),
        scene.backscatter(spec.polarisations),
    )
    lead = list(scene.lead)
    return tuple(_samples(a, lead) for a in arrays)  # type: ignore[return-value]


def _samples(array: xr.DataArray, lead: list[Any]) -> xr.DataArray:
    bare = array.reset_coords(drop=True).drop_vars(list(array.coords), errors="ignore")
    if len(lead) == 1:
        return bare.rename({lead[0]: "sample"})
    bare = bare.expand_dims("sample") if not lead else bare.stack(sample=lead, create_index=False)
    return bare.transpose("sample", "band", ...)


def _symmetry(array: NDArray[Any], flip: bool, turns: int) -> NDArray[Any]:
    """One of the eight symmetries of the square; reflectance is physical and never changed."""
    array = array[..., ::-1] if flip else array
    return np.ascontiguousarray(np.rot90(array, turns, axes=(-2, -1)))
