"""Cases of single images: the patches of SEN12MS-CR, or any patch with its truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args

import xarray as xr

from xcloudfree.datasets.sen12mscr import sen12mscr as read_sen12mscr
from xcloudfree.exceptions import DataError
from xcloudfree.judge.case import Case
from xcloudfree.masks import masking as masks
from xcloudfree.masks.resolve import Mask

Part = Literal["train", "val", "test"]
Split = Literal["official", "paper"]


def sen12mscr(
    root: str | Path,
    *,
    part: Part = "test",
    split: Split = "official",
    seed: int = 0,
    mask: Mask = "score",
) -> Iterator[Case]:
    """Make a case of each SEN12MS-CR patch, without other dates.

    Parameters
    ----------
    root : str or Path
        As for :func:`xcloudfree.datasets.sen12mscr`.
    part : {"train", "val", "test"}
        Which regions.
    split, seed
        See :func:`xcloudfree.judge.sen12mscr_split`.
    mask : str, DataArray or callable
        The occluded pixels, see :func:`xcloudfree.masks.mask`; eq. 13-16 by default.

    Yields
    ------
    Case
        Lazy; its region is the season and region of interest.

    Raises
    ------
    DataError
        If there are no such files, or no such part or split.

    Examples
    --------
    >>> list(sen12mscr("no/such/folder"))
    Traceback (most recent call last):
    ...
    xcloudfree.exceptions.DataError: no SEN12MS-CR file under no/such/folder; ...
    """
    if part not in get_args(Part):
        raise DataError(
            f"there is no part {part!r}",
            fix=f"call sen12mscr(root, part='test'), or with another of {get_args(Part)}",
        )
    scenes = read_sen12mscr(root)
    pairs = _pairs(scenes)
    parts = sen12mscr_split(pairs, split, seed)
    chosen = [index for index, pair in enumerate(pairs) if parts[pair] == part]
    yield from cases_of(scenes.isel(patch=chosen), mask, f"sen12mscr {split} {part}")


def cases_of(scenes: xr.Dataset, mask: Mask, protocol: str = "") -> Iterator[Case]:
    """A case of each patch; its region is the season and region of interest."""
    for index, (season, roi) in enumerate(_pairs(scenes)):
        patch = scenes.isel(patch=index)
        name, region = str(patch.patch.values), f"{season} {roi}"
        yield patch_case(name, patch, region=region, mask=mask, protocol=protocol)


def patch_case(
    name: str,
    patch: xr.Dataset,
    *,
    region: str = "",
    mask: Mask = "score",
    protocol: str = "",
    kind: str = "",
) -> Case:
    """Make a case from a single image with its truth.

    Parameters
    ----------
    name : str
        Name of the case.
    patch : Dataset
        ``s2``, ``s1`` and ``target`` (band, y, x), as read by the dataset readers.
    region, protocol, kind : str
        Labels of the case.
    mask : str, DataArray or callable
        The occluded pixels, see :func:`xcloudfree.masks.mask`.

    Returns
    -------
    Case

    Raises
    ------
    DataError
        If the patch has no ``target``.
    CloudFreeError
        If it cannot be masked, see :func:`xcloudfree.masks.mask`.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> cloudy = xcf.datasets.simulate_scene((32, 32), seed=1).isel(time=0)
    >>> clear = xcf.datasets.simulate_truth((32, 32), seed=1).isel(time=0)
    >>> s2, target = (x[list(xcf.bands.S2_BANDS)].to_dataarray("band") for x in (cloudy, clear))
    >>> s2, target = (x.assign_attrs(processing_level="TOA") for x in (s2, target))
    >>> patch_case("one", xr.Dataset({"s2": s2, "target": target}), region="A").name
    'one'
    """
    if "target" not in patch:
        raise DataError(
            "the patch has no variable 'target' with the clear image, but "
            f"{list(map(str, patch.data_vars))}",
            fix="call patch_case(name, patch.assign(target=clear))",
        )
    bare = patch.drop_vars([c for c in patch.coords if c not in patch.dims])
    data = bare.drop_vars("target")
    truth = bare[["target"]].rename(target="s2")
    hidden = masks.mask(data, mask)
    return Case(name, data, hidden, truth, region, protocol=protocol, kind=kind)


def sen12mscr_split(
    regions: Iterable[tuple[str, int]], split: Split = "official", seed: int = 0
) -> dict[tuple[str, int], Part]:
    """Return the part of SEN12MS-CR that each region belongs to.

    Parameters
    ----------
    regions : iterable of (str, int)
        Season and region of interest of each patch.
    split : {"official", "paper"}
        ``"official"``: the list published with UnCRtainTS, 10 regions for validation and 10 for
        test, compared by whole names (the published loader searches the name of a training region
        *within* a path, so that region 1 also includes region 106 of the test). ``"paper"``:
        80, 10 and 10 % of the patches, by whole regions drawn with `seed`, because the paper gives
        no list: the parts of ``xcloudfree.train.split(ds, "paper", seed=seed)``.
    seed : int
        Seed of the draw.

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
        raise DataError(f"split is {split!r}", fix="call sen12mscr(split='official') or 'paper'")
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
    chosen = {pair: name for name, part in parts for pair in _pairs(part)}
    return dict(sorted(chosen.items()))


def _pairs(part: xr.Dataset) -> list[tuple[str, int]]:
    return list(zip(part.season.values.tolist(), part.roi.values.tolist(), strict=True))
