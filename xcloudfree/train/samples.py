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
from xcloudfree.scene import Scene

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
    data : sequence of (scene, truth)
        Cloudy Sentinel-2 with Sentinel-1, and cloud-free Sentinel-2, on one grid.
    spec : ModelSpec
        Bands, polarisations and level to sample.
    crop : int
        Side of a crop in pixels.
    simulated : float
        Share of samples in which simulated clouds over the target replace the cloudy image.
    mask : {"score", "reference-code", "l2a"}
        Method of the mask, see :func:`xcloudfree.masks.mask`.

    Raises
    ------
    DataError
        If a patch is smaller than the crop, or no target is clear.
    MissingBandError
        If the model or the mask needs what the data lacks.
    """

    def __init__(
        self,
        data: Sequence[tuple[Scene, Scene]],
        *,
        spec: ModelSpec,
        crop: int,
        simulated: float,
        mask: str,
    ) -> None:
        if mask not in METHODS or METHODS[mask].bands == ("SCL",):
            raise DataError(
                f"fitting masks simulated clouds too, so it cannot use {mask!r}; "
                "call fit(..., mask='score'), or 'l2a' for Level-2A"
            )
        self.spec, self.crop, self.simulated, self.method = spec, crop, simulated, METHODS[mask]
        self.bands = tuple(dict.fromkeys((*spec.optical_bands, *self.method.bands)))
        self.sources = [self._arrays(scene, truth, mask) for scene, truth in data]
        for cloudy, _, _ in self.sources:
            if min(cloudy.shape[-2:]) < crop:
                raise DataError(
                    f"patches of {cloudy.shape[-2]}x{cloudy.shape[-1]} px are smaller than the "
                    f"crop; call fit(..., crop={min(cloudy.shape[-2:])})"
                )

    def mean_spectrum(self) -> Array:
        """Mean of the target in each band, each dataset weighing alike: the best constant guess."""
        means = [t.mean(dim=["sample", "y", "x"], dtype="float64") for _, t, _ in self.sources]
        spectrum = np.mean([m.values for m in means], axis=0)[: len(self.spec.optical_bands)]
        if not np.isfinite(spectrum).all():
            raise DataError(
                "a dataset has no valid target pixel in some band; "
                "leave it out, as in fit([ds for ds in data if ...])"
            )
        return spectrum.astype(np.float32)

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
            sky = simulate_clouds(target, rng=rng, cover=cover, bands=self.bands)
            cloudy, mask = sky.cloudy, self._mask(sky.cloudy)
        flip, turns = bool(rng.integers(2)), int(rng.integers(4))
        count = len(self.spec.optical_bands)
        planes = (cloudy[:count], target[:count], sar)
        cloudy, target, sar = (_symmetry(a, flip, turns) for a in planes)
        hidden = _symmetry(mask, flip, turns) | ~np.isfinite(cloudy).all(0)
        return cloudy, target, sar, hidden[None]

    def _mask(self, cloudy: Array) -> NDArray[np.bool_]:
        bands = dict(zip(self.bands, cloudy, strict=True))
        return self.method.kernel(bands, Calibration(), self.method.threshold)

    def _arrays(
        self, scene: Scene, truth: Scene, mask: str
    ) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
        """Cloudy reflectance, target and backscatter, each (sample, band, y, x)."""
        why = f"fitting {self.spec.name!r} with fit(..., mask={mask!r})"
        for part in (scene, truth):
            part.need_optical(self.bands, why)
        scene.need_sar(self.spec.polarisations, why)
        arrays = (
            scene.reflectance(self.bands),
            truth.reflectance(self.bands),
            scene.backscatter(self.spec.polarisations),
        )
        sizes = {a.shape[:-3] + a.shape[-2:] for a in arrays}
        if len(sizes) > 1:
            raise DataError(
                f"scene, target and backscatter differ in shape ({sizes}); "
                "bring them on one grid and the same dates, with truth.reindex_like(ds)"
            )
        return tuple(_samples(a, list(scene.lead)) for a in arrays)  # type: ignore[return-value]


def pair(ds: xr.Dataset, target: str | xr.Dataset) -> tuple[Scene, Scene]:
    """Scene and truth of one dataset.

    Parameters
    ----------
    ds : Dataset
        Cloudy Sentinel-2 with Sentinel-1, in any accepted form.
    target : str or Dataset
        Variable of `ds` with the cloud-free reflectance, or a Dataset in the form of `ds`.

    Returns
    -------
    tuple of Scene

    Raises
    ------
    DataError
        If there is no such variable.
    """
    if not isinstance(target, str):
        return read(ds), read(target)
    if target not in ds:
        raise DataError(
            f"the data has no variable {target!r} with the cloud-free reflectance, but "
            f"{list(map(str, ds.data_vars))}; call fit(..., target=...) with its name or a Dataset"
        )
    scene = read(ds.drop_vars(target))
    declared = {} if scene.optical is None else scene.optical.arrays[0].attrs
    truth = ds[target].assign_attrs(declared | ds[target].attrs)
    return scene, read(truth.to_dataset(name="s2"))


def _samples(array: xr.DataArray, lead: list[Any]) -> xr.DataArray:
    bare = array.reset_coords(drop=True).drop_vars(list(array.coords), errors="ignore")
    bare = bare.rename(dict(zip(bare.dims[-2:], ("y", "x"), strict=True)))
    if len(lead) == 1:
        return bare.rename({lead[0]: "sample"})
    bare = bare.expand_dims("sample") if not lead else bare.stack(sample=lead, create_index=False)
    return bare.transpose("sample", "band", ...)


def _symmetry(array: NDArray[Any], flip: bool, turns: int) -> NDArray[Any]:
    """One of the eight symmetries of the square; reflectance is physical and never changed."""
    array = array[..., ::-1] if flip else array
    return np.ascontiguousarray(np.rot90(array, turns, axes=(-2, -1)))
