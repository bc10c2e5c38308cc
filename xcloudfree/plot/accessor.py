"""``ds.cloudfree.plot``: each method is the function of the same name, called with the scene."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Any, Concatenate

from xcloudfree.core.documented import Made, Options, like
from xcloudfree.exceptions import DataError
from xcloudfree.plot import film, overview, quality, single, strip, swipe_page, year

if TYPE_CHECKING:
    from xcloudfree.plot.view import Spatial


def _picture(
    function: Callable[Concatenate[Any, Options], Made],
) -> Callable[Concatenate[Any, Options], Made]:
    """A method that draws the scene, beside its cloudy input if the function takes one."""
    beside = "observed" in signature(function).parameters

    def method(self: Plots, *args: Any, **options: Any) -> Any:
        if 0 in self._obj.sizes.values():
            raise DataError(
                f"there is nothing to show among {dict(self._obj.sizes)}",
                fix="select dates and pixels that there are, for example with scene.isel(time=...)",
                option="choose a scene with dates and pixels",
            )
        if beside and options.get("observed") is None:
            options["observed"] = self._observed
        return function(self._obj, *args, **options)

    return like(function)(method)


class Plots:
    """Pictures of a scene: call it for an overview, or one of its methods."""

    def __init__(self, obj: Spatial, observed: Spatial | None = None) -> None:
        self._obj = obj
        self._observed = observed  # the cloudy input of `obj`, if known

    def __repr__(self) -> str:
        return (
            "<pictures of a scene: plot(), plot.rgb(), plot.mask(), plot.provenance(), "
            "plot.uncertainty(), plot.reliability(), plot.series(), plot.calendar(), "
            "plot.movie(), plot.swipe()>"
        )

    __call__ = _picture(overview.plot)
    rgb = _picture(single.rgb)
    mask = _picture(single.mask)
    provenance = _picture(quality.provenance)
    uncertainty = _picture(quality.uncertainty)
    reliability = _picture(quality.reliability)
    series = _picture(strip.series)
    calendar = _picture(year.calendar)
    movie = _picture(film.movie)
    swipe = _picture(swipe_page.swipe)
