"""Specification of a model: one frozen value, stored with the weights as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xcloudfree._version import __version__
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.normalisation import PRESETS
from xcloudfree.exceptions import WeightsError
from xcloudfree.methods.temporal_context import NAMES

LEVELS = ("TOA", "BOA")
QUANTITIES = ("sigma0", "gamma0")

SPEC_VERSION = 2
"""Version of the fields below; a file of a newer version raises an error. Version 2 has `context`;
a specification without it is written as version 1, which older releases read."""


@dataclass(frozen=True)
class ModelSpec:
    """Description of a model.

    Parameters
    ----------
    name : str
        Name of the model.
    architecture : str
        Name of the network's family, e.g. ``"carf"``.
    options : mapping
        Hyper-parameters of the network.
    optical_bands : tuple of str
        Canonical names of the reflectance bands that it reads and returns, in its order.
    polarisations : tuple of str
        Polarisations that it reads, in its order.
    level : {"TOA", "BOA"}
        Processing level of the reflectance that it was fitted on.
    sar_quantity : {"sigma0", "gamma0"}
        Backscatter that it was fitted on.
    normalisation : str
        Name of the preset, see :data:`xcloudfree.core.normalisation.PRESETS`.
    stride : int
        Period in pixels: if the scene shifts by a multiple of it, so does the output.
    reach : int or None
        Pixels beyond a stride-aligned output that can influence it; None if all of the input can.
    tile : int or None
        Side in pixels of the fixed tiles for a network without reach.
    dates : int
        Number of acquisitions that make one image.
    variance : bool
        Whether the network estimates the variance of its output.
    needs_mask : bool
        Whether the network reads the mask.
    context : tuple of str
        Parts of the temporal context that the network reads, in the order of
        :data:`xcloudfree.methods.temporal_context.NAMES`.
    trained : bool
        Whether the weights were fitted.
    demonstration : bool
        Whether the weights only demonstrate the software.
    training_data, licence, note : str
        Descriptions in words.
    metrics : mapping
        Figures of the model card.
    library_version : str
        Version of xcloudfree that wrote the file.

    Examples
    --------
    >>> from xcloudfree import models
    >>> spec = models.load("carf-tiny").spec
    >>> spec.architecture, spec.level, spec.stride, spec.polarisations
    ('carf', 'TOA', 16, ('VV', 'VH'))
    """

    name: str
    architecture: str
    options: Mapping[str, Any]
    stride: int
    reach: int | None
    optical_bands: tuple[str, ...] = S2_BANDS
    polarisations: tuple[str, ...] = ("VV", "VH")
    level: str = "TOA"
    sar_quantity: str = "sigma0"
    normalisation: str = "dsen2cr"
    tile: int | None = None
    dates: int = 1
    variance: bool = False
    needs_mask: bool = False
    context: tuple[str, ...] = ()
    trained: bool = False
    demonstration: bool = False
    training_data: str = "none"
    licence: str = "Apache-2.0"
    note: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    library_version: str = __version__

    def to_json(self) -> str:
        """Serialise.

        Returns
        -------
        str
            JSON text.

        Examples
        --------
        >>> spec = ModelSpec("a", "carf", {}, stride=16, reach=42)
        >>> ModelSpec.from_json(spec.to_json()) == spec
        True
        """
        values = dataclasses.asdict(self)
        if not self.context:
            del values["context"]
        return json.dumps({"spec_version": SPEC_VERSION if self.context else 1, **values})

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read the output of :meth:`to_json`.

        Parameters
        ----------
        text : str
            JSON text.

        Returns
        -------
        ModelSpec

        Raises
        ------
        WeightsError
            If the text is no specification, or of a newer version of the format.
        """
        try:
            values = json.loads(text)
            version = values.pop("spec_version")
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise WeightsError(
                "the weights have no readable specification",
                fix="write the file with model.save(path)",
                option="convert the checkpoint with xcloudfree models convert",
            ) from error
        if not isinstance(version, int) or version > SPEC_VERSION:
            raise WeightsError(
                f"the weights' specification is of version {version}, but this xcloudfree reads up "
                f"to {SPEC_VERSION}",
                fix="install a newer one with `pip install --upgrade xcloudfree`",
            )
        try:
            for name in ("optical_bands", "polarisations", "context"):
                values[name] = tuple(values.get(name) or ())
            spec = cls(**values)
        except TypeError as error:
            raise WeightsError(
                f"the weights' specification has unknown fields ({error})",
                fix="write the file again with model.save(path)",
                option="convert the checkpoint again with xcloudfree models convert",
            ) from error
        spec._check_types()
        return spec

    def _check_types(self) -> None:
        """Raise an error for values of a wrong type, as in a damaged file, before they are used."""
        kinds: dict[str, Any] = {"str": str, "bool": bool, "int": int, "int | None": int | None}
        kinds |= {"Mapping[str, Any]": dict, "tuple[str, ...]": tuple}
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            good = isinstance(value, kinds[str(one.type)])
            if isinstance(value, tuple):
                good = all(isinstance(name, str) for name in value)
            if one.name == "metrics" and good:
                good = not any(isinstance(figure, (dict, list)) for figure in value.values())
            if not good:
                raise WeightsError(
                    f"the weights' specification has {one.name} as {str(value)[:80]!r}, which "
                    f"is not {one.type}",
                    fix="write the file again with model.save(path)",
                    option="convert the checkpoint again with xcloudfree models convert",
                )

    def choices(self) -> dict[str, tuple[bool, Sequence[str]]]:
        """By field: whether the library knows its names, and the names that it may contain."""
        preset = PRESETS.get(self.normalisation)
        ranges = sorted(preset.sar_range) if preset else sorted(self.polarisations)
        return {
            "normalisation": (preset is not None, sorted(PRESETS)),
            "optical_bands": (set(self.optical_bands) <= set(S2_BANDS), S2_BANDS),
            "level": (self.level in LEVELS, LEVELS),
            "sar_quantity": (self.sar_quantity in QUANTITIES, QUANTITIES),
            "polarisations": (set(self.polarisations) <= set(ranges), ranges),
            "context": (set(self.context) <= set(NAMES), NAMES),
        }

    def replace(self, **changes: Any) -> ModelSpec:
        """Return a copy with some fields changed.

        Parameters
        ----------
        **changes
            New values by field name.

        Returns
        -------
        ModelSpec
        """
        return dataclasses.replace(self, **changes)
