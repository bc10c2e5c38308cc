"""Declarations of a network that are needed to tile a scene for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xcloudfree.core.normalisation import Normalisation


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Hyper-parameters common to all networks, and the properties that follow from them.

    Parameters
    ----------
    optical_bands, sar_bands : int
        Channels of the two inputs.
    """

    optical_bands: int = 13
    sar_bands: int = 2

    @property
    def stride(self) -> int:
        """Period in pixels: if the input shifts by a multiple of it, so does the output."""
        return 1

    @property
    def reach(self) -> int | None:
        """Pixels beyond a stride-aligned output that can influence it; None if all can."""
        return None

    @property
    def tile(self) -> int | None:
        """Side of the fixed tiles for a network without reach."""
        return None if self.reach is not None else 256

    @property
    def dates(self) -> int:
        """Number of acquisitions that make one image."""
        return 1

    @property
    def variance(self) -> bool:
        """Whether ``forward(..., variance=True)`` returns a variance as well."""
        return False

    @property
    def needs_mask(self) -> bool:
        """Whether ``forward`` reads ``mask=``."""
        return False

    @property
    def context(self) -> tuple[str, ...]:
        """Parts of the temporal context that ``forward`` reads as ``context=``, in their order."""
        # See :data:`xcloudfree.methods.temporal_context.NAMES`.
        return ()

    @property
    def any_bands(self) -> bool:
        """Whether no weight belongs to a band, so that the weights work for other bands."""
        return False

    @property
    def reads_series(self) -> bool:
        """Whether ``forward`` reads all other dates, as ``others=``, ``shown=`` and ``apart=``."""
        return False

    def reads(self, preset: Normalisation) -> bool:
        """Whether the network works for inputs of this scaling."""
        return True

    def declared(self) -> dict[str, Any]:
        """The fields of a :class:`~xcloudfree.models.spec.ModelSpec` that the network sets."""
        names = ("stride", "reach", "tile", "dates", "variance", "needs_mask", "context")
        return {name: getattr(self, name) for name in names}


def through_convolutions(cells: int, count: int, kernel: int = 3) -> int:
    """Cells of reach before `count` convolutions: each adds half a kernel."""
    return cells + count * (kernel // 2)


def through_window(cells: int, window: int, shift: int) -> int:
    """Cells of reach before a window attention: the border of the outermost cell's window."""
    return -(-(cells - shift) // window) * window + shift


def window_shift(layer: int, window: int) -> int:
    """Offset of the windows in a layer: in every second one, counted from 1, half a window."""
    return window // 2 if layer % 2 == 0 else 0
