"""``ds.cloudfree.plot``: each method is the function of the same name, called with the scene."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from xcloudfree.core.documented import without_first_parameter
from xcloudfree.exceptions import DataError
from xcloudfree.plot import film, overview, quality, single, strip, swipe_page, year

if TYPE_CHECKING:
    from xcloudfree.plot.view import Spatial

Options = ParamSpec("Options")
Made = TypeVar("Made")


def _method(
    function: Callable[Concatenate[Any, Options], Made],
) -> Callable[Concatenate[Plots, Options], Made]:
    """A method with the signature and the help of a function of the scene."""
    beside = "observed" in signature(function).parameters

    @wraps(function)
    def method(self: Plots, /, *args: Options.args, **options: Options.kwargs) -> Made:
        if 0 in self._obj.sizes.values():
            raise DataError(
                f"there is nothing to show among {dict(self._obj.sizes)}",
                fix="select dates and pixels that there are, for example with scene.isel(time=...)",
                option="choose a scene with dates and pixels",
            )
        if beside and options.get("observed") is None:
            options["observed"] = self._observed
        return function(self._obj, *args, **options)

    method.__doc__ = without_first_parameter(function.__doc__)
    return method


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

    __call__ = _method(overview.plot)
    rgb = _method(single.rgb)
    mask = _method(single.mask)
    provenance = _method(quality.provenance)
    uncertainty = _method(quality.uncertainty)
    reliability = _method(quality.reliability)
    series = _method(strip.series)
    calendar = _method(year.calendar)
    movie = _method(film.movie)
    swipe = _method(swipe_page.swipe)
