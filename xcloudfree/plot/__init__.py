"""Pictures: before and after, masks, provenance, uncertainty, series. Imports Matplotlib on use.

``ds.cloudfree.plot()`` gives an overview; ``ds.cloudfree.plot.rgb()``, ``.mask()``,
``.provenance()``, ``.uncertainty()``, ``.series()`` and ``.calendar()`` show one thing each.
"""

from xcloudfree.plot.colours import COMPOSITES, MASK, PROVENANCE, percentile_limits, stretch
from xcloudfree.plot.overview import plot
from xcloudfree.plot.quality import provenance, uncertainty
from xcloudfree.plot.single import mask, rgb
from xcloudfree.plot.strip import series
from xcloudfree.plot.year import calendar

__all__ = [
    "COMPOSITES",
    "MASK",
    "PROVENANCE",
    "calendar",
    "mask",
    "percentile_limits",
    "plot",
    "provenance",
    "rgb",
    "series",
    "stretch",
    "uncertainty",
]
