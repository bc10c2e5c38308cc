"""Cloud-free reconstruction of a labelled scene, block by block, lazy where the scene is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree._version import __version__
from xcloudfree.blocks import Output, map_windows
from xcloudfree.exceptions import ModelError, UnitsError
from xcloudfree.fitness import check_fitness
from xcloudfree.kernels.composite import MARGIN, RADIUS, Provenance, feather
from xcloudfree.kernels.radiometry import Calibration, SarCalibration
from xcloudfree.masks import Mask, MaskPlan, plan_mask
from xcloudfree.models.spec import ModelSpec
from xcloudfree.recognise import read
from xcloudfree.scene import Scene

if TYPE_CHECKING:
    from xcloudfree.models.cache import Reference
    from xcloudfree.models.model import Model

Blend = Literal["feather"] | None


def reconstruct(
    obj: Any,
    *,
    model: str | Path | Model = "carf-small-demo",
    mask: Mask = "score",
    dilate: int = 0,
    halo: Literal["exact"] | int = "exact",
    blend: Blend = "feather",
    device: str | None = None,
) -> Any:
    """Reconstruct what clouds hide.

    Each block is read with the halo that the network needs, on the network's grid, so that the
    result does not depend on the chunks. Pixels that are not occluded leave as they came in.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene in any accepted form, with the bands and polarisations of the model.
    model : str, Path or Model
        Name of :func:`xcloudfree.models.list`, file, or model.
    mask : str, DataArray or callable
        What is occluded, see :func:`xcloudfree.masks.mask`.
    dilate : int
        Radius in pixels by which to extend the mask.
    halo : "exact" or int
        Pixels to read around each block: as many as influence it, or fewer for speed.
    blend : "feather" or None
        ``"feather"``: observed pixels stay, and the reconstruction meets them without a seam.
        None: the output of the network everywhere (eq. 12).
    device : str, optional
        Torch device; by default CUDA where there is one, else the CPU.

    Returns
    -------
    Dataset or DataArray
        Of the form that came in, with ``provenance`` (uint8 flags: nodata, observed,
        reconstructed, unreconstructable) as variable, or as coordinate of a DataArray. Pixels that
        are occluded and have no backscatter become no data and are flagged unreconstructable;
        pixels of which a band has no data stay as they are and are flagged nodata.

    Raises
    ------
    MissingBandError
        If the model or the mask needs what the data lacks.
    UnitsError
        If units or level are undeclared or contradict the model.
    ModelError
        If the model does not exist or cannot run as asked.

    Warns
    -----
    DemonstrationWarning, UntrainedWarning, QuantityWarning
        If the weights carry no claim of quality, were not fitted, or were fitted on another kind
        of backscatter.

    References
    ----------
    Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space Missions, eq. 1-16.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((64, 64), seed=1)
    >>> out = scene.cloudfree.reconstruct(model=xcf.models.create("carf-tiny", base="prior"))
    >>> out.provenance.attrs["flag_meanings"]
    'nodata observed reconstructed unreconstructable'
    """
    from xcloudfree.models.cache import reference

    _check_options(blend, dilate, device)
    scene = read(obj)
    ref, loaded = reference(model)
    spec = loaded.spec
    check_fitness(scene, spec)
    block = Reconstruction(
        reference=ref,
        spec=spec,
        bands=scene.optical.names if scene.optical else (),
        calibration=scene.calibration(),
        sar_calibration=scene.sar_calibration(),
        mask=plan_mask(scene, mask, None, dilate),
        blend=blend,
        device=device or _device(),
    )
    optical, sar = scene.optical, scene.need_sar(spec.polarisations, f"model {spec.name!r}")
    assert optical is not None
    kinds = {a.dtype for a in optical.arrays}
    if len(kinds) > 1:
        raise UnitsError(
            f"the reflectance bands differ in type ({sorted(map(str, kinds))}); "
            "make them alike with ds.astype('float32')"
        )
    data, provenance = map_windows(
        block,
        [[a.data for a in optical.arrays], [a.data for a in sar.arrays], *block.mask.groups],
        [Output(kinds.pop(), len(optical.names)), Output(np.dtype("uint8"))],
        lead=len(scene.lead),
        halo=_halo(spec, halo, blend) + block.mask.reach,
        stride=spec.stride,
    )
    return _labelled(scene, data, provenance, spec, ref, block)


@dataclass(frozen=True)
class Reconstruction:
    """The work on one block.

    Parameters
    ----------
    reference : Reference
        Where to find the model.
    spec : ModelSpec
        What the model needs.
    bands : tuple of str
        Bands of the optical window.
    calibration, sar_calibration
        From stored numbers to physical ones.
    mask : MaskPlan
        How to find occluded pixels.
    blend : "feather" or None
        See :func:`reconstruct`.
    device : str
        Torch device.
    """

    reference: Reference
    spec: ModelSpec = field(repr=False)
    bands: tuple[str, ...]
    calibration: Calibration
    sar_calibration: SarCalibration
    mask: MaskPlan
    blend: Blend
    device: str

    def __dask_tokenize__(self) -> Any:
        """What decides the result; the specification is part of the digest."""
        return (
            __version__, self.reference.digest, self.bands, self.calibration, self.sar_calibration,
            self.mask.__dask_tokenize__(), self.blend, self.device,
        )  # fmt: skip

    def __call__(
        self, *windows: NDArray[Any], core: tuple[slice, slice]
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Reconstruct the core of a window; all windows are (*lead, [band,] y, x)."""
        optical = windows[0]
        lead = optical.shape[:-3]
        images = [w.reshape(-1, *w.shape[len(lead) :]) for w in windows]
        results = [self._image(*planes, core=core) for planes in zip(*images, strict=True)]
        data, provenance = (np.stack(parts) for parts in zip(*results, strict=True))
        return data.reshape(*lead, *data.shape[1:]), provenance.reshape(
            *lead, *provenance.shape[1:]
        )

    def _image(
        self,
        stored: NDArray[Any],
        backscatter: NDArray[Any],
        *given: NDArray[Any],
        core: tuple[slice, slice],
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        picked = [self.bands.index(b) for b in self.spec.optical_bands]
        reflectance = self.calibration.decode(stored)
        sar = self.sar_calibration.decode(backscatter)
        observed = np.isfinite(reflectance[picked]).all(0)
        measured = np.isfinite(sar).all(0)
        occluded = self._occluded(stored, given) & observed

        wanted = occluded if self.blend else observed
        provenance = np.full(observed.shape, Provenance.OBSERVED, np.uint8)
        provenance[~observed] = Provenance.NODATA
        provenance[wanted & measured] = Provenance.RECONSTRUCTED
        provenance[wanted & ~measured] = Provenance.UNRECONSTRUCTABLE
        provenance = provenance[core]
        out = stored[:, *core].copy()
        filled = provenance == Provenance.RECONSTRUCTED
        lost = provenance == Provenance.UNRECONSTRUCTABLE
        if filled.any():
            guess = self._predict(reflectance[picked], sar, occluded | ~observed)
            if self.blend:
                guess = feather(guess, reflectance[picked], observed & ~occluded)
            guess = guess[:, *core]
            others = [i for i in range(len(stored)) if i not in picked]
            for band, values in zip(picked, guess, strict=True):
                out[band][filled] = self.calibration.encode(values[filled], out.dtype)
            for band in others:
                out[band][filled] = self._empty(out.dtype)
        out[:, lost] = self._empty(out.dtype)
        return out, provenance

    def _occluded(self, stored: NDArray[Any], given: tuple[NDArray[Any], ...]) -> NDArray[np.bool_]:
        if given and (self.mask.method is None or self.mask.bands == ("SCL",)):
            return self.mask.compute(given[0])
        return self.mask.compute(stored[[self.bands.index(b) for b in self.mask.bands]])

    def _predict(
        self, reflectance: NDArray[Any], sar: NDArray[Any], hidden: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """One forward pass; no two at a time on a device."""
        import torch

        from xcloudfree.models.cache import slot

        place = slot(self.reference, self.device)
        x, r = place.model.normalise(reflectance[None], sar[None], self.device)
        extra = {}
        if self.spec.needs_mask:
            extra["mask"] = torch.from_numpy(hidden[None, None].astype(np.float32)).to(self.device)
        with place.lock, torch.inference_mode():
            x = x.contiguous(memory_format=torch.channels_last)
            out = place.model.denormalise(place.model.network(x, r, **extra))
        return np.asarray(out[0])

    def _empty(self, dtype: np.dtype[Any]) -> Any:
        return self.calibration.encode(np.array([np.nan], np.float32), dtype)[0]


def _halo(spec: ModelSpec, halo: Literal["exact"] | int, blend: Blend) -> int:
    edge = -(-(RADIUS + MARGIN) // spec.stride) * spec.stride if blend else 0
    if halo == "exact":
        if spec.reach is None:
            raise ModelError(
                f"model {spec.name!r} reads its whole input, so no halo is exact; "
                "call reconstruct(halo=64) or another number of pixels"
            )
        return spec.reach + edge
    if isinstance(halo, bool) or not isinstance(halo, (int, np.integer)) or halo < 0:
        raise ModelError(f"halo is {halo!r}; call reconstruct(halo='exact') or with pixels >= 0")
    return int(halo)


def _check_options(blend: Any, dilate: Any, device: str | None) -> None:
    import torch

    if blend not in ("feather", None):
        raise ModelError(f"blend is {blend!r}; call reconstruct(blend='feather') or blend=None")
    if not isinstance(dilate, (int, np.integer)) or dilate < 0:
        raise ModelError(f"dilate is {dilate!r}; call reconstruct(dilate=3) or other whole pixels")
    try:
        cuda = torch.device(device or "cpu").type == "cuda"
    except RuntimeError as error:
        raise ModelError(f"unknown device {device!r}; call reconstruct(device='cpu')") from error
    if cuda and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here; call reconstruct(device='cpu')")


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _labelled(
    scene: Scene,
    data: Any,
    provenance: Any,
    spec: ModelSpec,
    ref: Reference,
    block: Reconstruction,
) -> Any:
    template = scene.template()
    flags = xr.DataArray(
        provenance,
        dims=template.dims,
        coords=template.coords,
        name="provenance",
        attrs={
            "long_name": "provenance of the pixel",
            "flag_values": np.array([p.value for p in Provenance], np.uint8),
            "flag_meanings": " ".join(p.name.lower() for p in Provenance),
            "model": spec.name,
            "model_digest": ref.digest,
            "mask": block.mask.label,
            "blend": block.blend or "none",
            "xcloudfree_version": __version__,
        },
    ).transpose(*scene.dims)
    return scene.restore(data, flags)
