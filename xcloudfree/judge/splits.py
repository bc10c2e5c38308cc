"""Which regions of SEN12MS-CR are trained, validated and tested on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import xarray as xr

from xcloudfree.exceptions import DataError

Part = Literal["train", "val", "test"]
Split = Literal["official", "paper"]


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
    if split not in ("official", "paper"):
        raise DataError(f"split is {split!r}; call sen12mscr(split='official') or 'paper'")
    from xcloudfree.train import split as divide

    given = list(regions)
    patches = xr.Dataset(
        coords={
            "patch": range(len(given)),
            "season": ("patch", [season for season, _ in given]),
            "roi": ("patch", [roi for _, roi in given]),
        }
    )
    names: tuple[Part, ...] = ("train", "val", "test")
    parts = zip(names, divide(patches, split, seed=seed), strict=True)
    found = {pair: name for name, part in parts for pair in _pairs(part)}
    return dict(sorted(found.items()))


def _pairs(part: xr.Dataset) -> list[tuple[str, int]]:
    return list(zip(part.season.values.tolist(), part.roi.values.tolist(), strict=True))
