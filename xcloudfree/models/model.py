"""A network with its specification: the object that is fitted, saved, loaded and applied."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xcloudfree.core.normalisation import PRESETS
from xcloudfree.exceptions import ModelError, WeightsError
from xcloudfree.methods.temporal_context import scale
from xcloudfree.models import networks
from xcloudfree.models.spec import ModelSpec
from xcloudfree.models.weights_file import (
    check,
    check_digest,
    check_size,
    read_tensors,
    write_tensors,
)


class Model:
    """A network and its specification.

    Parameters
    ----------
    spec : ModelSpec
        Bands, units, stride, reach and provenance of the weights.
    network : torch.nn.Module
        ``forward(optical, sar)`` on normalised tensors of shape (n, bands, h, w), or (n, dates,
        bands, h, w) if ``spec.dates`` is above 1; ``mask=``, ``dates=`` and ``context=`` if
        the specification requires them.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> model = xcf.models.load("carf-tiny")
    >>> model.spec.stride, model.spec.reach
    (16, 42)
    """

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        self.spec = spec
        self.network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __repr__(self) -> str:
        s = self.spec
        count = sum(p.numel() for p in self.network.parameters()) / 1e6
        state = "fitted" if s.trained else "not fitted"
        reads = "reads its whole input" if s.reach is None else f"reach {s.reach} px"
        return (
            f"<xcloudfree model {s.name!r}: {s.architecture}, {count:.2f} M parameters, {state}, "
            f"{len(s.optical_bands)} bands {s.level}, "
            f"{'+'.join(s.polarisations)} {s.sar_quantity}, "
            f"stride {s.stride} px, {reads}>"
        )

    @property
    def digest(self) -> str:
        """Hash of the specification and the weights, which identifies the model in a graph."""
        sha = hashlib.blake2b(self.spec.to_json().encode(), digest_size=16)
        for name, tensor in sorted(self.network.state_dict().items()):
            sha.update(name.encode())
            sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return sha.hexdigest()

    def normalise(
        self, optical: NDArray[Any], sar: NDArray[Any], device: str | torch.device = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Scale physical arrays to the tensors that the network reads.

        Parameters
        ----------
        optical : ndarray
            Reflectance, (n, band, y, x) in the order of ``spec.optical_bands``; NaN is no data.
        sar : ndarray
            Backscatter in dB, (n, polarisation, y, x) in the order of ``spec.polarisations``.
        device : str or torch.device
            Device of the tensors.

        Returns
        -------
        tuple of Tensor
            Normalised optical and backscatter tensors, float32.
        """
        preset = PRESETS[self.spec.normalisation]
        scaled = preset.optical(optical), preset.sar(sar, self.spec.polarisations)
        x, r = (torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in scaled)
        return x, r

    def scale_context(
        self, context: NDArray[np.float32], device: str | torch.device = "cpu"
    ) -> Tensor:
        """Scale the temporal context to the tensor that the network reads.

        Parameters
        ----------
        context : ndarray of float32
            (n, plane, y, x), the parts of ``spec.context`` as in
            :func:`xcloudfree.methods.temporal_context.planes`; NaN is missing.
        device : str or torch.device
            Device of the tensor.

        Returns
        -------
        Tensor
            See :func:`xcloudfree.methods.temporal_context.scale`.
        """
        preset, bands = PRESETS[self.spec.normalisation], len(self.spec.optical_bands)
        return torch.from_numpy(scale(context, self.spec.context, bands, preset)).to(device)

    def denormalise(self, output: Tensor | NDArray[Any]) -> NDArray[np.float32]:
        """Turn the network's output into reflectance.

        Parameters
        ----------
        output : Tensor or ndarray
            Normalised output of the network.

        Returns
        -------
        ndarray of float32
            Reflectance of the same shape.
        """
        scaled: NDArray[np.float32] = torch.as_tensor(output).detach().float().cpu().numpy()
        return PRESETS[self.spec.normalisation].to_reflectance(scaled)

    def deviation(self, variance: Tensor) -> NDArray[np.float32]:
        """Turn the network's variance into the standard deviation of reflectance.

        Parameters
        ----------
        variance : Tensor
            Second output of ``network(..., variance=True)``.

        Returns
        -------
        ndarray of float32
            Standard deviation of the same shape, in reflectance.
        """
        values = variance.detach().float().sqrt().cpu().numpy()
        return np.asarray(values / np.float32(PRESETS[self.spec.normalisation].gain), np.float32)

    def for_bands(self, optical_bands: Sequence[str]) -> Model:
        """Return the same weights for other optical bands.

        Parameters
        ----------
        optical_bands : sequence of str
            Canonical names, in any order.

        Returns
        -------
        Model

        Raises
        ------
        ModelError
            If the weights belong to the bands that they were fitted on, or a band does not exist.

        Examples
        --------
        >>> import xcloudfree as xcf
        >>> model = xcf.models.create("carf-bandwise", optical_bands=["B05", "B11"], level="BOA")
        >>> model.for_bands(["B02", "B03", "B04"]).spec.optical_bands
        ('B02', 'B03', 'B04')
        """
        config: Any = self.network.config
        if not config.any_bands:
            raise ModelError(
                f"the weights of {self.spec.name!r} belong to its bands, "
                f"{', '.join(self.spec.optical_bands)}",
                fix="load these, or take a network "
                "that treats each band separately, such as "
                'xcloudfree.models.load("carf-bandwise")',
                option="leave out --optical-bands, or use --model carf-bandwise",
            )
        spec = self.spec.replace(
            optical_bands=tuple(optical_bands),
            options={**self.spec.options, "optical_bands": len(optical_bands)},
        )
        good, choices = spec.choices()["optical_bands"]
        if not good or not optical_bands or len(set(optical_bands)) < len(optical_bands):
            raise ModelError(
                f"the bands are {tuple(optical_bands)}",
                fix=f"call for_bands([...]) with some of {choices}",
                option=f"--optical-bands with some of {choices}",
            )
        return Model(spec, _filled(spec, self.network.state_dict()))

    def save(self, path: str | Path) -> Path:
        """Write weights and specification as one safetensors file.

        Parameters
        ----------
        path : str or Path
            File to write, usually ``*.safetensors``.

        Returns
        -------
        Path
            The file, which :func:`xcloudfree.models.load` reads.

        Raises
        ------
        WeightsError
            If the path is a folder, or its folder does not exist.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise WeightsError(
                f"there is no folder {path.parent}",
                fix="make it and call save() again",
                option="make it first",
            )
        if path.is_dir():
            raise WeightsError(
                f"{path} is a folder",
                fix="call save() with the name of a file in it",
                option="name a file in it",
            )
        metadata = {"xcloudfree": self.spec.to_json(), "digest": self.digest}
        return write_tensors(path, self.network.state_dict(), metadata)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Publish on the Hugging Face Hub, with a model card made from the specification.

        Parameters
        ----------
        repo_id : str
            ``"owner/name"``; created if it does not exist.
        private : bool
            Whether a new repository is private.
        token : str, optional
            Access token; by default ``HF_TOKEN`` or that of ``hf auth login``.

        Returns
        -------
        str
            Address of the repository, which :func:`xcloudfree.models.from_pretrained` reads.
        """
        from xcloudfree.models import hub

        return hub.push_to_hub(self, repo_id, private=private, token=token)

    @classmethod
    def read(cls, path: str | Path) -> Model:
        """Read a file written by :meth:`save`; never unpickles anything.

        Parameters
        ----------
        path : str or Path
            A safetensors file.

        Returns
        -------
        Model

        Raises
        ------
        WeightsError
            If the file is missing, truncated, damaged, a pickle, or does not match its own
            specification.
        """
        path = Path(path)
        metadata, state = read_tensors(path)
        if "xcloudfree" not in metadata:
            raise WeightsError(
                f"{path} contains tensors but no specification",
                fix=f"write it with model.save({str(path)!r})",
                option="convert the checkpoint with xcloudfree models convert",
            )
        spec = ModelSpec.from_json(metadata["xcloudfree"])
        check_size(path, spec, len(state))
        try:
            network = _filled(spec, state)
        except RuntimeError as error:
            raise WeightsError(
                f"{path} does not fit the network that it names, {spec.architecture}: {error}",
                fix=f"write it again with model.save({str(path)!r})",
                option="copy it again, or convert the checkpoint again with xcloudfree "
                "models convert",
            ) from error
        check(path, spec, network)
        model = cls(spec, network)
        check_digest(path, metadata.get("digest"), model.digest)  # older files have none
        return model


def _filled(spec: ModelSpec, state: Mapping[str, Tensor]) -> nn.Module:
    """The network of a specification with the given weights, copied."""
    options = dict(spec.options)
    with torch.random.fork_rng(devices=[]):
        # names and shapes first, without the memory that a damaged file may demand
        with torch.device("meta"):
            networks.build(spec.architecture, options).load_state_dict(state, assign=True)
        network = networks.build(spec.architecture, options)
    network.load_state_dict(state)
    return network
