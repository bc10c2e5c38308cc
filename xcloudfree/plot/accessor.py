"""``ds.cloudfree.plot``: each method is the function of the same name, called with the scene."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from xcloudfree.plot import overview, quality, single, strip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xcloudfree.plot.view import Spatial

Options = ParamSpec("Options")


def _of_scene(
    function: Callable[Concatenate[Any, Options], Figure],
) -> Callable[Concatenate[Plots, Options], Figure]:
    """A method that hands the scene to a function, with the signature and help of the function."""

    @wraps(function)
    def method(self: Plots, /, *args: Options.args, **options: Options.kwargs) -> Figure:
        return function(self._obj, *args, **options)

    return method


def _beside_input(
    function: Callable[Concatenate[Any, Options], Figure],
) -> Callable[Concatenate[Plots, Options], Figure]:
    """The same, with the cloudy input beside the scene where that is known."""

    @wraps(function)
    def method(self: Plots, /, *args: Options.args, **options: Options.kwargs) -> Figure:
        if options.get("observed") is None:
            options["observed"] = self._observed
        return function(self._obj, *args, **options)

    return method


class Plots:
    """Pictures of a scene: call it for an overview, or one of its methods."""

    def __init__(self, obj: Spatial, observed: Spatial | None = None) -> None:
        self._obj = obj
        self._observed = observed  # the cloudy input that `obj` was made from, where known

    def __repr__(self) -> str:
        return (
            "<pictures of a scene: plot(), plot.rgb(), plot.mask(), plot.provenance(), "
            "plot.uncertainty(), plot.series()>"
        )

    __call__ = _beside_input(overview.plot)
    rgb = _of_scene(single.rgb)
    mask = _of_scene(single.mask)
    provenance = _of_scene(quality.provenance)
    uncertainty = _of_scene(quality.uncertainty)
    series = _beside_input(strip.series)
