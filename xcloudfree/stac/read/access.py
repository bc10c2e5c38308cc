"""Open one asset inside the task: freshly signed, in bounded time, with errors that name it."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import rasterio
from odc.geo.converters import rio_geobox
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioIOError

from xcloudfree.exceptions import CatalogError, CloudFreeError
from xcloudfree.stac.read.faults import Cause, Failure, classify
from xcloudfree.stac.read.signing import (
    Logins,
    Signer,
    clean_logging,
    is_credential,
    split_login,
    without_secrets,
)

if TYPE_CHECKING:
    import pystac

DRIVERS: Final = ("GTiff", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID", "JP2Lura")
"""Formats that may be opened. Others, above all VRT, can refer to local files and other
addresses, so that an untrusted catalog could have them read."""

_ELSEWHERE: Final = (("OVERVIEWS", "OVERVIEW_FILE"), ("GEOLOCATION", "X_DATASET"))
"""Tags by which GDAL opens another file, of any format and on any machine."""

HTTP: Final[Mapping[str, str]] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_LOW_SPEED_TIME": "10",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
}
"""Time limits of a read over HTTP. GDAL requests a block three times, so a stall takes three times
the low speed time. The environment of the process that reads, and a ``rasterio.Env`` that is open
when :func:`xcloudfree.stac.load` is called, take precedence."""

PROMPT: Final = 1.0
"""Seconds. GDAL remembers for the life of a process that an address failed, and then fails at once.
A read that fails within this time is requested again, without this cache."""

LONGEST_WAIT: Final = 60.0
"""Longest wait in seconds that a server may demand (``Retry-After``); longer is a fault."""

STALLED_FOR: Final = 300.0
"""Seconds for which this process waits less for an address that stalled."""

_FORGETFUL: Final = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsiaz/:/vsigs/"}
_IMPATIENT: Final = {"GDAL_HTTP_MAX_RETRY": "1", "GDAL_HTTP_LOW_SPEED_TIME": "2"}
_SIGN = "sign the address, load(..., sign=planetary_computer.sign), or, for s3://, give the " \
    "workers credentials in the environment (docs/catalogs.md)"  # fmt: skip
_Result = TypeVar("_Result")
_stalled: dict[str, float] = {}  # a cache: addresses that stalled recently, and when


class AssetError(RasterioIOError, CatalogError):  # type: ignore[misc]
    """An unreadable asset: a CatalogError, and a RasterioIOError for code that expects one.

    With the bases in this order it can be made without arguments, as unpickling on a cluster does.
    """

    item: str
    asset: str
    failure: Failure

    def __init__(self, *fields: str, **named: str) -> None:
        CatalogError.__init__(self, *fields, **named)  # OSError would come first, without fields

    def __reduce__(self) -> tuple[Any, ...]:
        return *CatalogError.__reduce__(self), self.__dict__


@dataclass(frozen=True)
class Asset:
    """One asset of one item, and the item's declaration of its file."""

    item: str
    name: str
    address: str  # unsigned
    position: int = 0  # of the item among those of its mosaic
    footprint: GeoBox | None = field(default=None, compare=False)  # declared grid of the file
    data_type: str = field(default="", compare=False)  # declared type; empty: any
    checked: bool = field(default=False, compare=False)  # whether the file must lie on this grid


@dataclass(frozen=True)
class Access:
    """How to open addresses; it travels to the workers, and contains no secret."""

    sign: Signer | None = None
    options: tuple[tuple[str, Any], ...] = ()  # GDAL options set by the user

    @classmethod
    def of(cls, sign: Callable[[str], str] | None) -> Access:
        """Access by ``sign=`` and the open ``rasterio.Env``, without its credentials."""
        theirs = rasterio.env.getenv() if rasterio.env.hasenv() else {}
        secret = sorted(name for name in theirs if is_credential(name))
        if secret:
            warnings.warn(
                f"{', '.join(secret)} of the open rasterio.Env would enter the graph, "
                "and is left out. Tasks find credentials in the environment of their process: "
                f'os.environ["{secret[0]}"] = ... before load(...).',
                stacklevel=3,
            )
        kept = {k: v for k, v in theirs.items() if k not in (*secret, "GDAL_DATA", "PROJ_DATA")}
        return cls(None if sign is None else Signer(sign), tuple(sorted(kept.items())))

    def with_logins(self, items: Iterable[pystac.Item]) -> Access:
        """Access that restores ``user:password@`` in the items' addresses when they are read."""
        hrefs = (a.get_absolute_href() or "" for i in items for a in i.assets.values())
        parts = [split_login(href) for href in hrefs]
        logins = {plain.split("?")[0]: login for plain, login in parts if login}
        if not logins:
            return self
        warnings.warn(
            "The items' addresses contain user names and passwords. They stay out of the Dataset "
            "and known to this process only. For workers in other processes sign the addresses: "
            "load(..., sign=my_module.sign).",
            stacklevel=3,
        )
        return replace(self, sign=Signer(Logins(logins, self.sign)))

    @property
    def renews(self) -> bool:
        """Whether the user's ``sign=`` makes signatures that replace those in the items."""
        return self.sign is not None and self.sign.renews

    def environment(self, *, again: bool = False, patient: bool = True) -> dict[str, Any]:
        """GDAL options for a read in this process."""
        ours = {**HTTP, **({} if patient else _IMPATIENT)}
        ours = {name: value for name, value in ours.items() if name not in os.environ}
        return {
            **ours, "VSI_CACHE": False, **dict(self.options), **(_FORGETFUL if again else {})
        }  # fmt: skip


def open_raster(address: str, **options: Any) -> Any:
    """Open a raster, of the formats in DRIVERS only, which names no other file."""
    dataset = rasterio.DatasetReader(address, driver=list(DRIVERS), sharing=False, **options)
    if any(word in dataset.tags(ns=space) for space, word in _ELSEWHERE):
        dataset.close()
        raise RasterioIOError("the file names other files to be read in its place")
    return dataset


def with_asset(asset: Asset, access: Access, action: Callable[[Any], _Result]) -> _Result:
    """Open one asset, freshly signed, and apply a function to it."""
    # If the server refuses, the address is signed again and tried once more. A read that failed at
    # once is also repeated, because GDAL may only remember an earlier fault, but with shorter time
    # limits, so that not every chunk of a lost asset waits as long as the first. A server that
    # names a time gets another request then. Any other failure is final, after the bounded number
    # of HTTP retries.
    start = time.monotonic()
    patient = start - _stalled.get(asset.address, -np.inf) > STALLED_FOR
    result = _attempt(asset, access, action, access.environment(patient=patient))
    if isinstance(result, Failure):
        spent = time.monotonic() - start
        refused = result.cause is Cause.REFUSED and access.sign is not None
        wait = _requested_wait(asset, access) if result.status in (429, 503) else None
        if wait is not None and wait > LONGEST_WAIT:
            result = replace(result, detail=f"{result.detail}, which asks to wait {wait:.0f} s")
        elif wait is not None or refused or spent < PROMPT:
            time.sleep(wait or 0)
            options = access.environment(again=True, patient=refused or wait is not None)
            result = _attempt(asset, access, action, options)
    if isinstance(result, Failure):  # outside of any except clause: the cause may hold a token
        raise _error(asset, result)
    return result


def _attempt(
    asset: Asset, access: Access, action: Callable[[Any], _Result], options: Mapping[str, Any]
) -> _Result | Failure:
    address = _signed(asset, access)
    if isinstance(address, Failure):
        return address
    start = time.monotonic()
    with clean_logging(address, asset.address) as said:
        try:
            with rasterio.Env(**options), open_raster(address) as dataset:
                contradiction = _contradiction(dataset, asset)
                if contradiction:
                    return Failure(Cause.OTHER, f"{contradiction}; the item declares otherwise")
                return action(dataset)
        except Exception as error:
            if not isinstance(error, OSError) and "rasterio" not in type(error).__module__:
                error.add_note(f"While reading asset {asset.name!r} of item {asset.item!r}.")
                raise
            messages = []
            seen: BaseException | None = error
            while seen is not None:
                text = str(seen).replace(address, asset.address)
                messages.append(without_secrets(text))
                seen = seen.__cause__ or seen.__context__
        failure = classify(messages, said)
    # GDAL does not report that a transfer stalled, only that too few bytes arrived
    effective = {**options, **os.environ}
    limit = min(float(effective[f"GDAL_HTTP_{name}"]) for name in ("LOW_SPEED_TIME", "TIMEOUT"))
    short = "://" in address and re.search(r"got \d+ bytes", failure.detail)
    if failure.cause is Cause.DAMAGED and short and time.monotonic() - start >= limit:
        failure = Failure(Cause.NO_ANSWER, f"the server sent nothing for {limit:g} s")
        _stalled[asset.address] = time.monotonic()
    return failure


def _signed(asset: Asset, access: Access) -> str | Failure:
    try:
        return asset.address if access.sign is None else access.sign(asset.address)
    except CloudFreeError:
        raise
    except Exception as error:  # from the user's function; its text may contain a token
        return Failure(Cause.REFUSED, f"sign= failed with {type(error).__name__}")


def _requested_wait(asset: Asset, access: Access) -> float | None:
    """Seconds after which the server wants another request; None if it does not say."""
    import requests

    # GDAL neither honours Retry-After nor exposes it, so the last byte is requested
    address = _signed(asset, access)
    if isinstance(address, Failure) or not address.startswith(("http://", "https://")):
        return None
    try:
        with clean_logging(address, asset.address):
            answer = requests.get(address, headers={"Range": "bytes=-1"}, timeout=10, stream=True)
            answer.close()
    except requests.RequestException:
        return None
    stated = answer.headers.get("Retry-After", "").strip()
    if stated.isdecimal():
        return float(stated)
    try:
        until = parsedate_to_datetime(stated)
        return max((until.astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):  # no header, or one in another format
        return None


def _contradiction(dataset: Any, asset: Asset) -> str:
    """How a file differs from the declaration of its item; empty if it does not."""
    found = dataset.dtypes[0]
    integers = asset.data_type and np.dtype(asset.data_type).kind in "iu"
    # 8 instead of 16 bits are those of a preview
    narrow = found in ("uint8", "int8") and np.dtype(asset.data_type or found).itemsize > 1
    if integers and (narrow or found.startswith(("float", "complex"))):
        return f"the file contains {found}, not {asset.data_type}"
    declared = asset.footprint
    if not asset.checked or declared is None or declared.crs is None or dataset.crs is None:
        return ""
    grid = rio_geobox(dataset)
    codes = grid.crs.epsg, declared.crs.epsg
    if None not in codes and codes[0] != codes[1]:
        return f"the file is in EPSG:{codes[0]}, not EPSG:{codes[1]}"
    # compare extents, as some items declare one grid for bands of several resolutions, and as one
    # projection can be written in several ways
    extent = grid.extent if grid.crs == declared.crs else grid.extent.to_crs(declared.crs)
    pixel = max(abs(t[n]) for t in (grid.transform, declared.transform) for n in (0, 1, 3, 4))
    covered = extent.boundingbox.bbox
    apart = np.abs(np.subtract(covered, declared.extent.boundingbox.bbox)).max()
    if not apart <= pixel:
        bounds = ", ".join(f"{v:.6g}" for v in covered)
        return f"the file covers {bounds}, which is off by {apart:g}"
    return ""


def _error(asset: Asset, failure: Failure) -> AssetError:
    fix = 'or continue without unreadable assets: load(..., on_error="report")'
    option = "try again later"
    if failure.cause is Cause.REFUSED:
        fix = f"{_SIGN}, {fix}"
        option = (
            "use --sign planetary_computer:sign or, for s3://, set credentials (docs/catalogs.md)"
        )
    elif failure.cause is Cause.OTHER:
        fix = f"leave the item out, load([...other items]), {fix}"
        option = "choose --datetime without this item"
    else:
        fix = f"try again later, {fix}"
    error = AssetError(
        f"Asset {asset.name!r} of item {asset.item!r} cannot be read: {failure}, "
        f"{without_secrets(asset.address)}",
        fix=fix,
        option=option,
    )
    error.item, error.asset, error.failure = asset.item, asset.name, failure
    return error
