"""Default collections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from xcloudfree.exceptions import CatalogError
from xcloudfree.stac.rules.providers import mission_of

S2_COLLECTIONS: tuple[str, ...] = (
    "sentinel-2-l1c", "sentinel-2-c1-l2a", "sentinel-2-l2a", "sentinel-s2-l2a-cogs",
    "s2_l2a", "ga_s2?m_ard_3",
)  # fmt: skip
"""Sentinel-2 collections in order of preference; ``?`` matches any letter. Level-1C comes first,
because the paper's cloud mask and the networks need top-of-atmosphere reflectance with 13 bands.
"""

S1_COLLECTIONS: tuple[str, ...] = (
    "sentinel-1-rtc", "sentinel1-rtc-aws", "sentinel-s1-rtc-indigo", "s1_rtc",
    "OPERA_L2_RTC-S1_V1", "opera-s1-rtc-v1",
)  # fmt: skip
"""Sentinel-1 collections of terrain-corrected backscatter, in order of preference."""

_S1_NAME = re.compile(r"sentinel-?s?1|(?:^|[-_])s1[-_]", re.IGNORECASE)
RTC_ELSEWHERE = "https://planetarycomputer.microsoft.com/api/stac/v1"
"""A global catalog of terrain-corrected Sentinel-1."""


def choose_collections(offered: Sequence[str], *, sar: bool) -> list[str]:
    """Collections to search by default."""
    listing = ", ".join(sorted(offered)[:40]) or "none"
    optical = next((fit for name in S2_COLLECTIONS if (fit := _matching(name, offered))), None)
    if optical is None:
        raise CatalogError(
            f"No known Sentinel-2 collection among those of the catalog ({listing})",
            fix='name it: load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"])',
            option="--collections sentinel-2-l2a,sentinel-1-rtc",
        )
    return [*optical, choose_backscatter(offered, optical)] if sar else optical


def choose_backscatter(offered: Sequence[str], optical: Sequence[str] = ("sentinel-2-l2a",)) -> str:
    """Sentinel-1 collection to search by default."""
    backscatter = next((name for name in S1_COLLECTIONS if name in offered), None)
    if backscatter is not None:
        return backscatter
    grd = [name for name in offered if is_sar_collection(name)]
    only = f" (only {', '.join(grd)}, which is not RTC)" if grd else ""
    calibrate = (
        f"calibrate the GRD amplitudes to sigma0, load(..., collections={[*optical, grd[0]]}), "
        if grd
        else ""
    )
    raise CatalogError(
        "The catalog has no known collection of terrain-corrected (RTC) Sentinel-1 "
        f"backscatter{only}",
        fix=f"name one, load(..., collections={[*optical, 'sentinel-1-rtc']}), take "
        f'it from another catalog, load(..., sar_catalog="{RTC_ELSEWHERE}", '
        f"sign=planetary_computer.sign), {calibrate}or leave Sentinel-1 out: "
        "load(..., polarisations=())",
        option=f"--sar-catalog {RTC_ELSEWHERE} --sign planetary_computer:sign, or "
        "name a collection with --collections",
    )


def _matching(pattern: str, offered: Sequence[str]) -> list[str]:
    return sorted(name for name in offered if fnmatchcase(name, pattern))


def is_sar_collection(name: str) -> bool:
    """Whether a collection is Sentinel-1, judging by its name."""
    return mission_of(name) == "S1" or _S1_NAME.search(name) is not None
