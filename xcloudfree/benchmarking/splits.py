"""Which regions of SEN12MS-CR are trained, validated and tested on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import xarray as xr

from xcloudfree.exceptions import DataError

Part = Literal["train", "val", "test"]
Split = Literal["official", "paper"]

OFFICIAL: Final[dict[str, dict[str, tuple[int, ...]]]] = {
    "val": {
        "spring": (17,),
        "summer": (17, 19, 80, 127),
        "fall": (65,),
        "winter": (22, 84, 107, 130),
    },
    "test": {
        "spring": (31, 44, 106, 123, 140),
        "summer": (73, 119),
        "fall": (139,),
        "winter": (63, 108),
    },
}
"""Regions by season that the dataset's authors hold back; all others are for training."""


def sen12mscr_split(
    regions: Iterable[tuple[str, int]], split: Split = "official", seed: int = 0
) -> dict[tuple[str, int], Part]:
    """The part of SEN12MS-CR that each region belongs to.

    Parameters
    ----------
    regions : iterable of (str, int)
        Season and region of interest of each patch.
    split : {"official", "paper"}
        ``"official"``: the list that goes with UnCRtainTS, 10 regions for validation and 10 for
        test, whole names compared (the published loader looks for the name of a training region
        *within* a path, so that region 1 also brings in region 106 of the test). ``"paper"``:
        80, 10 and 10 % of the patches, by whole regions drawn with `seed` since the paper gives no
        list: the parts of ``xcloudfree.train.split(ds, "paper", seed=seed)``.
    seed : int
        Of the draw.

    Returns
    -------
    dict
        ``"train"``, ``"val"`` or ``"test"`` of each region.

    Raises
    ------
    DataError
        If there is no such split.

    References
    ----------
    Ebel et al., "UnCRtainTS: Uncertainty quantification for cloud removal in optical satellite
    time series", CVPR workshops 2023. Cloud-Aware SAR Fusion, section IV.

    Examples
    --------
    >>> sen12mscr_split([("fall", 139), ("spring", 1), ("winter", 22)])
    {('fall', 139): 'test', ('spring', 1): 'train', ('winter', 22): 'val'}
    """
    given = list(regions)
    found = sorted(set(given))
    if split == "official":
        return {region: _official(*region) for region in found}
    if split != "paper":
        raise DataError(f"split is {split!r}; call sen12mscr(split='official') or 'paper'")
    return _paper(given, seed)


def _paper(given: list[tuple[str, int]], seed: int) -> dict[tuple[str, int], Part]:
    """The very split that ``xcloudfree.train.split`` fits on: shares are of patches."""
    from xcloudfree.train.partition import split

    named = {f"{season} {roi}": (season, roi) for season, roi in given}
    labels = [f"{season} {roi}" for season, roi in given]
    patches = xr.Dataset(coords={"patch": range(len(labels)), "region": ("patch", labels)})
    names: tuple[Part, ...] = ("train", "val", "test")
    parts = zip(names, split(patches, "paper", seed=seed), strict=True)
    found = {named[str(r)]: name for name, part in parts for r in part.region.values}
    return dict(sorted(found.items()))


def _official(season: str, roi: int) -> Part:
    if roi in OFFICIAL["test"].get(season, ()):
        return "test"
    return "val" if roi in OFFICIAL["val"].get(season, ()) else "train"
