"""Which regions of SEN12MS-CR are trained, validated and tested on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import numpy as np

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
        Season and region of interest.
    split : {"official", "paper"}
        ``"official"``: the list that goes with UnCRtainTS, 10 regions for validation and 10 for
        test, whole names compared (the published loader looks for the name of a training region
        *within* a path, so that region 1 also brings in region 106 of the test). ``"paper"``:
        80, 10 and 10 % of the regions that there are, drawn with `seed`, since the paper gives
        no list; no region is in two parts.
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
    found = sorted(set(regions))
    if split == "official":
        return {region: _official(*region) for region in found}
    if split != "paper":
        raise DataError(f"split is {split!r}; call sen12mscr(split='official') or 'paper'")
    order = np.random.default_rng(seed).permutation(len(found))
    tenth = round(len(found) / 10)
    parts: dict[tuple[str, int], Part] = {}
    for place, index in enumerate(order):
        part: Part = "test" if place < tenth else "val" if place < 2 * tenth else "train"
        parts[found[index]] = part
    return dict(sorted(parts.items()))


def _official(season: str, roi: int) -> Part:
    if roi in OFFICIAL["test"].get(season, ()):
        return "test"
    return "val" if roi in OFFICIAL["val"].get(season, ()) else "train"
