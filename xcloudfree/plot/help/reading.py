"""What the halo costs: pixels read for each pixel written."""

from __future__ import annotations

from xcloudfree.core.windows import Halo
from xcloudfree.models.shipped import shipped

DEFAULT_MODEL = "carf-small-demo"
"""What ``reconstruct()`` takes without a further word."""


def reading_cost(chunks: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[float, int, int]:
    """How many pixels the windows of the default network hold for each pixel of the scene.

    Parameters
    ----------
    chunks : tuple of two tuples of int
        Lengths of the blocks along y and x.

    Returns
    -------
    tuple of (float, int, int)
        Factor, stride and reach of the network.

    Examples
    --------
    >>> factor, stride, reach = reading_cost(((1024, 1024), (1024, 1024)))
    >>> round(factor, 2), stride, reach
    (1.13, 16, 58)
    """
    spec = shipped()[DEFAULT_MODEL]
    plan = Halo(spec.reach or 0, spec.stride)
    return reading_factor(plan, chunks), spec.stride, spec.reach or 0


def reading_factor(plan: Halo, chunks: tuple[tuple[int, ...], tuple[int, ...]]) -> float:
    """How many pixels windows hold for each pixel of the scene.

    Parameters
    ----------
    plan : Halo
        How windows are cut.
    chunks : tuple of two tuples of int
        Lengths of the blocks along y and x.

    Returns
    -------
    float

    Examples
    --------
    >>> reading_factor(Halo(8), ((16, 16), (32,)))
    1.5
    """
    factor = 1.0
    for lengths in chunks:
        read = sum(span.read_stop - span.read_start for span in plan.spans(lengths))
        factor *= read / max(1, sum(lengths))
    return factor
