"""Pictures: before and after, masks, provenance, uncertainty, series. Imports Matplotlib on use.

``ds.cloudfree.plot()`` gives an overview; ``ds.cloudfree.plot.rgb()``, ``.mask()``,
``.provenance()``, ``.uncertainty()``, ``.series()`` and ``.calendar()`` show one thing each.
``.movie()`` and ``.swipe()`` write a film, and a page with a slider between before and after.
"""

from xcloudfree.plot.colours import COMPOSITES, MASK, PROVENANCE, percentile_limits, stretch
from xcloudfree.plot.film import movie
from xcloudfree.plot.overview import plot
from xcloudfree.plot.quality import provenance, reliability, uncertainty
from xcloudfree.plot.single import mask, rgb
from xcloudfree.plot.strip import series
from xcloudfree.plot.swipe_page import swipe
from xcloudfree.plot.year import calendar

__all__ = [
    "COMPOSITES",
    "MASK",
    "PROVENANCE",
    "calendar",
    "mask",
    "movie",
    "percentile_limits",
    "plot",
    "provenance",
    "reliability",
    "rgb",
    "series",
    "stretch",
    "swipe",
    "uncertainty",
]
