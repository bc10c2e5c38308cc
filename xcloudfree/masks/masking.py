"""Cloud score and masks of a labelled scene, lazy for lazy scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, map_windows
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import labelled
from xcloudfree.core.scene import Scene
from xcloudfree.masks import scores as kernel
from xcloudfree.masks.plan import MaskPlan, apply_plan, planes_of
from xcloudfree.masks.resolve import Mask, plan_mask, with_classes
from xcloudfree.masks.shadow import Shadow


def score(obj: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Cloud score S_c of eq. 13.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene with B01, B02, B03, B04 and B10.

    Returns
    -------
    DataArray of float32
        Dimensions as the bands (..., y, x), no unit. NaN without data; above 0.2 is cloud.

    Raises
    ------
    MissingBandError
        If a band is absent.
    UnitsError
        If the reflectance cannot be read without guessing.

    References
    ----------
    Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space Missions, eq. 13.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudfree
    >>> bands = ("B01", "B02", "B03", "B04", "B10")
    >>> ds = xr.Dataset({b: (("y", "x"), np.full((1, 1), 0.4, "float32")) for b in bands})
    >>> ds.cloudfree.score().values.round(4).tolist()
    [[0.75]]
    """
    scene = read(obj)
    layer = scene.need_optical(("B01", "B02", "B03", "B04", "B10"), "the cloud score (eq. 13)")
    function = _Score(layer.names, scene.calibration())
    (data,) = map_windows(
        function,
        [[a.data] for a in layer.arrays],
        [Output(np.dtype("float32"))],
        lead=len(scene.lead),
    )
    return labelled(scene, data, "cloud_score", {"long_name": "cloud score S_c, eq. 13"})


def mask(
    obj: xr.Dataset | xr.DataArray,
    method: Mask = "auto",
    *,
    threshold: float | None = None,
    dilate: int = 0,
    shadow: Shadow = False,
    haze: float | None = None,
    classes: Sequence[int] | None = None,
) -> xr.DataArray:
    """Return the mask of occluded pixels.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene with the bands that the method reads.
    method : str, DataArray or callable
        ``"auto"``: the best of the following that the data allows; the attributes ``method`` and
        ``reason`` record the choice. ``"series"``: cloud and shadow found by comparing at least 5
        dates of a series (:mod:`xcloudfree.masks.matched_filter`), starting from
        the best mask of single dates; ``"scl+series"``, ``"score+series"`` and so on start from
        the named one. ``"haze"``: haze, thin cloud and shadow that the mask of one date misses,
        found by a small network (:mod:`xcloudfree.masks.haze_network`), starting from the best such
        mask; ``"scl+haze"`` and so on. ``"score"``: eq. 13-16 as printed. ``"reference-code"``: as
        the authors' code computes it (closing, box mean, soft snow term). ``"l2a"``: eq. 13-16
        without B10. ``"scl"``: cloud, cirrus and shadow of the scene classification, and pixels
        where it is NaN but the bands have data. ``"fmask"``, ``"qa60"``, ``"clp"`` and
        ``"s2cloudless_mask"``: the pixels marked by such a variable of the Dataset, and those where
        it has no value but the bands have data. ``"s2cloudless"``, ``"omnicloudmask"`` and other
        names from :func:`xcloudfree.core.plugins.names`, if their package is installed. A boolean
        DataArray on the scene's grid, or a function that takes the scene and returns one.
    threshold : float, optional
        Score above which a pixel is cloud, 0.2 by default; for ``"clp"`` the probability from
        which it is, in numbers of the variable, 40 % by default.
    dilate : int
        Radius in pixels by which to extend the mask, with its shadow.
    shadow : bool, None or tuple
        Whether to add the shadow of the clouds: pixels that are dark in near and short-wave
        infrared, are not water, and lie where the sun casts the shadow of clouds at 200 m to 6 km,
        at most 5 km away (:mod:`xcloudfree.masks.shadow_geometry`). False: the paper's mask only.
        True: add shadow, using the coordinates or attributes ``sun_azimuth`` and
        ``sun_elevation`` (degrees, one number or one for each date). A tuple: these two numbers.
        None: add shadow if these, the grid and the bands are known, except for ``"scl"``, which
        includes shadow, and for a mask passed as an array.
    haze : float, optional
        A lower score for the thin rims of clouds: pixels above it within 30 pixels of cloud also
        count. Bright ground far from cloud does not. On 16 SEN12MS-CR patches 0.15 agrees better
        with s2cloudless (F1 0.90) than no haze (0.86) or any dilation (0.87).
    classes : sequence of int, optional
        Classes of the scene classification to mask with ``"scl"``; by default 3, 8, 9 and 10.
        ``[1, 2, 3, 7, 8, 9, 10]`` also masks saturated, dark and unclassified pixels.

    Returns
    -------
    DataArray of bool
        True where occluded; dimensions as the bands (..., y, x). False where there is no data,
        except next to cloud with `dilate` and with ``"reference-code"``, which extend the mask.
        The attribute ``method`` says whether shadow is included, as in ``"score+shadow"``.

    Raises
    ------
    MissingBandError
        If a band that the method needs is missing.
    UnitsError
        If the reflectance cannot be read without guessing, or is of another level than the mask of
        a plug-in was made for; if its level is not declared, for ``"haze"``.
    PluginError
        If the package of the method is not installed, or cannot be imported.
    CloudFreeError
        If the method is unknown, or returns something that is not a mask of the scene.
    DataError, GridError
        If shadow is requested, but the position of the sun or the grid is unknown; if
        ``"series"`` has fewer than 5 dates; if a classification, QA60, Fmask or a probability
        contains invalid numbers.

    References
    ----------
    Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space Missions, eq. 13-16. For shadow:
    Zhu and Woodcock 2012, doi:10.1016/j.rse.2011.10.028. For series: Manolakis and Shaw 2002,
    doi:10.1109/79.974724; Hagolle et al. 2010, doi:10.1016/j.rse.2010.03.002.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudfree
    >>> bands = ("B01", "B02", "B03", "B04", "B10", "B11")
    >>> ds = xr.Dataset({b: (("y", "x"), np.full((1, 2), 0.4, "float32")) for b in bands})
    >>> found = ds.cloudfree.mask()
    >>> found.values.tolist(), found.attrs["method"]
    ([[True, True]], 'score')
    """
    scene = read(obj)
    plan = plan_mask(scene, method, threshold, dilate, shadow=shadow, haze=haze)
    if classes is not None:
        plan = with_classes(plan, classes)
    attrs = {
        "long_name": "occluded pixels", "method": plan.label, "dilation_pixels": plan.dilation,
    }  # fmt: skip
    if plan.classes:
        attrs["classes"] = list(plan.classes)
    if plan.reason:
        attrs["reason"] = plan.reason
    if haze is not None:
        attrs["haze"] = haze
    return where_occluded(scene, plan, "mask", attrs)


def where_occluded(
    scene: Scene,
    plan: MaskPlan,
    name: str,
    attrs: Mapping[str, Any],
    values: tuple[float, float] | None = None,
) -> xr.DataArray:
    """Mask of a scene (bool), or with `values` (float32) those of clear and occluded pixels."""
    data = apply_plan(plan, len(scene.lead), values)
    return labelled(scene, data, name, attrs)


@dataclass(frozen=True)
class _Score(Stage):
    bands: tuple[str, ...]
    calibration: Calibration

    def __call__(
        self, *windows: NDArray[Any], core: tuple[slice, slice]
    ) -> tuple[NDArray[np.float32]]:
        bands = {
            name: plane[(..., *core)]
            for name, plane in zip(self.bands, planes_of(windows, len(self.bands)), strict=True)
        }
        bands = {name: self.calibration.unified(plane) for name, plane in bands.items()}
        self.calibration.check(bands["B02"])
        return (kernel.score(bands, calibration=self.calibration),)
