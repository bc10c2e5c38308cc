"""Masks of other packages behind the same call as the built-in ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.plugins import PACKAGES, find, names
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.core.windows import Tiles
from xcloudfree.exceptions import CloudFreeError, PluginError, UnitsError
from xcloudfree.masks.quality_layers import LAYER_METHODS
from xcloudfree.masks.scores import AUTO, HAZE, METHODS, SERIES, Bands, MaskMethod

TILE = 1000
"""Side in pixels of the fixed tiles in which a mask without reach runs."""


@runtime_checkable
class MaskPlugin(Protocol):
    """Interface of a mask from another package; any object with these attributes.

    Attributes
    ----------
    bands : tuple of str
        Canonical names of the bands that it reads, such as ``("B02", "B03")``.
    level : {"TOA", "BOA"} or None
        Processing level that it was made for; None for both.
    reach : int or None
        Pixels around a pixel that influence its value; None if the whole image can. Such a mask
        runs on fixed tiles of the scene.
    threshold : float
        Default of its second argument.

    Examples
    --------
    >>> class Bright:
    ...     bands, level, reach, threshold = ("B02",), None, 0, 0.3
    ...     def __call__(self, reflectance, threshold):
    ...         return reflectance[0] > threshold
    >>> isinstance(Bright(), MaskPlugin)
    True
    """

    bands: tuple[str, ...]
    level: str | None
    reach: int | None
    threshold: float

    def __call__(
        self, reflectance: NDArray[np.float32], threshold: float
    ) -> NDArray[np.bool_]:  # pragma: no cover
        """Mask (y, x), True = occluded, of reflectance (band, y, x), NaN = no data."""
        ...


@dataclass(frozen=True)
class NamedMask:
    """A plug-in with its name, ready for a block."""

    name: str  # name for users
    plugin: MaskPlugin  # third-party code

    def __call__(
        self, bands: Bands, calibration: Calibration, threshold: float
    ) -> NDArray[np.bool_]:
        """Mask of stored numbers by band, each (y, x); False where a band has no data."""
        planes = [np.asarray(bands[name]) for name in self.plugin.bands]
        reflectance = np.stack([calibration.decode(plane) for plane in planes])
        try:
            made = np.asarray(self.plugin(reflectance, threshold))
        except CloudFreeError:
            raise
        except Exception as error:  # third-party code may raise anything
            raise PluginError(
                f"failed, {type(error).__name__}: {error}",
                fix='choose another, such as mask("l2a")',
                subject=f"the mask {self.name!r}",
                option="--mask with another, such as l2a",
            ) from error
        if made.shape != reflectance.shape[1:] or made.dtype.kind != "b":
            raise PluginError(
                f"returned {made.dtype} of shape {made.shape} and must return bool of shape "
                f"{reflectance.shape[1:]}",
                fix="ask its authors to correct it",
                subject=f"the mask {self.name!r}",
            )
        return np.asarray(made & np.isfinite(reflectance).all(0))

    @property
    def method(self) -> MaskMethod:
        """As one of the built-in methods."""
        plugin = self.plugin
        return MaskMethod(plugin.bands, self, plugin.reach or 0, plugin.threshold)

    def check_level(self, level: str | None) -> None:
        """Raise an error for reflectance of another level than the mask was made for."""
        wanted = self.plugin.level
        if wanted is None or level == wanted:
            return
        if level is None:
            raise UnitsError(
                f"reads {wanted} reflectance and the level of the data is not declared",
                fix=f"declare it with ds.cloudfree.calibrate(level={wanted!r}) if that is what "
                "it is",
                subject=f"the mask {self.name!r}",
                option=f"--level {wanted}",
            )
        other = '"l2a"' if level == "BOA" else '"score"'
        raise UnitsError(
            f"was made for {wanted} reflectance and the data is {level}",
            fix=f"call mask({other}), or load Level-{'1C' if wanted == 'TOA' else '2A'} items",
            subject=f"the mask {self.name!r}",
            option=f"--mask {other}, or load Level-{'1C' if wanted == 'TOA' else '2A'} items",
        )


@dataclass(frozen=True)
class TiledMask:
    """A mask that reads its whole input, on fixed tiles of the scene; overlapping tiles vote."""

    named: NamedMask  # the mask
    calibration: Calibration  # from stored numbers to reflectance
    threshold: float  # for the mask
    tiles: Tiles  # their positions

    def __dask_tokenize__(self) -> Any:
        """Everything but the third-party code."""
        return (self.named.name, self.calibration, self.threshold, self.tiles)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "named": self.named.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in {**state, "named": mask_plugin(state["named"])}.items():
            object.__setattr__(self, key, value)

    def __call__(
        self, *windows: NDArray[Any], core: tuple[slice, slice]
    ) -> tuple[NDArray[np.bool_]]:
        """Mask of the core of windows, one per band, (*lead, y, x)."""
        order = self.named.plugin.bands
        lead, size = windows[0].shape[:-2], windows[0].shape[-2:]
        out = np.zeros((*lead, *size), bool)
        for place in np.ndindex(lead):
            votes, total = np.zeros(size, np.float32), np.zeros(size, np.float32)
            for top in self.tiles.origins(size[0]):
                for left in self.tiles.origins(size[1]):
                    area = slice(top, top + self.tiles.side), slice(left, left + self.tiles.side)
                    bands = {n: p[(*place, *area)] for n, p in zip(order, windows, strict=True)}
                    found = self.named(bands, self.calibration, self.threshold)
                    rows, columns = (self.tiles.weights(n) for n in found.shape)
                    weight = rows[:, None] * columns
                    votes[area] += weight * found
                    total[area] += weight
            out[place] = 2 * votes > total
        return (out[..., *core],)


@cache
def mask_plugin(name: str) -> NamedMask:
    """A mask of another package by its name."""
    found = find("masks", name)
    if found is None:
        raise CloudFreeError(
            f"unknown mask method {name!r}{did_you_mean(name, mask_names())}",
            fix=f"call mask(method=...) with one of {mask_names()}, a boolean DataArray or a "
            "function",
            option=f"--mask with one of {mask_names()}",
        )
    package = PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise PluginError(
            f"needs the package {package}, which is not installed",
            fix=f"install it with pip install {package}, or pip install 'xcloudfree[masks]'",
            subject=f"the mask {name!r}",
        )
    plugin = found.load()
    if not isinstance(plugin, MaskPlugin) or not set(plugin.bands) <= set(S2_BANDS):
        raise PluginError(
            f"of {found.distribution} is not a mask: it needs bands (of {', '.join(S2_BANDS)}), "
            "level, reach, threshold and a call",
            fix="ask its authors, see help(xcloudfree.masks.adapters.MaskPlugin)",
            subject=f"the plug-in {name!r}",
            option="ask its authors",
        )
    return NamedMask(name, plugin)


def mask_names() -> list[str]:
    """All names that ``mask(method=...)`` accepts."""
    own = [AUTO, SERIES, HAZE, *METHODS, *LAYER_METHODS]
    return own + [name for name in names("masks") if name not in own]


def mask_method(name: str) -> MaskMethod:
    """A mask method by its name, built-in or of a plug-in."""
    return METHODS[name] if name in METHODS else mask_plugin(name).method
