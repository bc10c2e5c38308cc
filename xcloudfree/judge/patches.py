"""Cases of single images: the patches of SEN12MS-CR, or any patch with its truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import xarray as xr

from xcloudfree.datasets.sen12mscr import sen12mscr as read_sen12mscr
from xcloudfree.exceptions import DataError
from xcloudfree.judge.case import Case
from xcloudfree.judge.splits import Part, Split, sen12mscr_split
from xcloudfree.masks import masking as masks
from xcloudfree.masks.resolve import Mask


def sen12mscr(
    root: str | Path,
    *,
    part: Part = "test",
    split: Split = "official",
    seed: int = 0,
    mask: Mask = "score",
) -> Iterator[Case]:
    """Patches of SEN12MS-CR, each a case, without other dates.

    Parameters
    ----------
    root : str or Path
        As for :func:`xcloudfree.datasets.sen12mscr`.
    part : {"train", "val", "test"}
        Which regions.
    split, seed
        See :func:`xcloudfree.judge.sen12mscr_split`.
    mask : str, DataArray or callable
        What is occluded, see :func:`xcloudfree.masks.mask`; eq. 13-16 by default.

    Yields
    ------
    Case
        Lazy; its region is season and region of interest.

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
            f"there is no part {part!r}; call sen12mscr(root, part='test'), or with another of "
            f"{get_args(Part)}"
        )
    scenes = read_sen12mscr(root)
    pairs = list(zip(scenes.season.values.tolist(), scenes.roi.values.tolist(), strict=True))
    parts = sen12mscr_split(pairs, split, seed)
    for index, pair in enumerate(pairs):
        if parts[pair] != part:
            continue
        patch = scenes.isel(patch=index)
        yield patch_case(
            str(patch.patch.values), patch, region=f"{pair[0]} {pair[1]}", mask=mask,
            protocol=f"sen12mscr {split} {part}",
        )  # fmt: skip


def patch_case(
    name: str,
    patch: xr.Dataset,
    *,
    region: str = "",
    mask: Mask = "score",
    protocol: str = "",
    kind: str = "",
) -> Case:
    """A single image with its truth as a case.

    Parameters
    ----------
    name : str
        Of the case.
    patch : Dataset
        ``s2``, ``s1`` and ``target`` (band, y, x) as readers of datasets give them.
    region, protocol, kind : str
        Of the case.
    mask : str, DataArray or callable
        What is occluded, see :func:`xcloudfree.masks.mask`.

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
            f"the patch has no variable 'target' with the clear image, but "
            f"{list(map(str, patch.data_vars))}; call "
            "patch_case(name, patch.assign(target=clear))"
        )
    bare = patch.drop_vars([c for c in patch.coords if c not in patch.dims])
    data = bare.drop_vars("target")
    truth = bare[["target"]].rename(target="s2")
    hidden = masks.mask(data, mask)
    return Case(name, data, hidden, truth, region, protocol=protocol, kind=kind)
