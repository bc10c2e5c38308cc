"""Opening one asset inside the task: signed now, in bounded time, with errors that say which."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioIOError

from xcloudfree.exceptions import CatalogError, CloudFreeError
from xcloudfree.stac.read.faults import Cause, Failure, classify
from xcloudfree.stac.read.signing import Signer, is_credential, listening, without_secrets

HTTP: Final[Mapping[str, str]] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_LOW_SPEED_TIME": "15",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
}
"""How long a read over HTTP may take before it fails. The environment of the process that reads,
and a ``rasterio.Env`` that is open when :func:`xcloudfree.stac.load` is called, go before."""

PROMPT: Final = 1.0
"""Seconds. GDAL remembers for the life of a process that an address failed, and fails at once when
asked again. What fails within this time is therefore asked anew, past its memory."""

_FORGETFUL: Final = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsiaz/:/vsigs/"}
_IMPATIENT: Final = {"GDAL_HTTP_MAX_RETRY": "1", "GDAL_HTTP_LOW_SPEED_TIME": "5"}
_SIGN = "Sign the address, load(..., sign=planetary_computer.sign), or, for s3://, give the " \
    "workers credentials in the environment (docs/catalogs.md)"  # fmt: skip
_Result = TypeVar("_Result")


class AssetError(RasterioIOError, CatalogError):  # type: ignore[misc]
    """An asset that cannot be read: a CatalogError, and a RasterioIOError for code that awaits one.

    In this order of bases it can be made without its arguments, as unpickling on a cluster does.

    Attributes
    ----------
    item, asset : str
        Names.
    failure : Failure
        Why.
    """

    item: str
    asset: str
    failure: Failure


@dataclass(frozen=True)
class Asset:
    """One asset of one item.

    Parameters
    ----------
    item, name : str
        Identifier of the item and key of the asset.
    address : str
        Its address, unsigned.
    position : int
        Position of the item among those of its mosaic.
    footprint : GeoBox, optional
        Grid of the file as the catalog declares it.
    """

    item: str
    name: str
    address: str
    position: int = 0
    footprint: GeoBox | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Access:
    """How addresses are opened; goes to the workers, and holds no secret.

    Parameters
    ----------
    sign : Signer, optional
        Turns an address into one that may be read.
    options : tuple of (str, str)
        GDAL options that the user set.
    """

    sign: Signer | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, sign: Callable[[str], str] | None) -> Access:
        """Access by ``sign=`` and the ``rasterio.Env`` that is open now, without its credentials.

        Parameters
        ----------
        sign : callable, optional
            What the user gave.

        Returns
        -------
        Access

        Warns
        -----
        UserWarning
            The ``rasterio.Env`` holds credentials, which are not handed on.
        """
        theirs = rasterio.env.getenv() if rasterio.env.hasenv() else {}
        secret = sorted(name for name in theirs if is_credential(name))
        if secret:
            warnings.warn(
                f"{', '.join(secret)} of the open rasterio.Env would be written into the graph, "
                "and is left out. Tasks find credentials in the environment of their process: "
                f'os.environ["{secret[0]}"] = ... before load(...).',
                stacklevel=3,
            )
        kept = {k: v for k, v in theirs.items() if k not in (*secret, "GDAL_DATA", "PROJ_DATA")}
        return cls(None if sign is None else Signer(sign), tuple(sorted(kept.items())))

    def environment(self, *, again: bool = False, patient: bool = True) -> dict[str, Any]:
        """GDAL options for a read in this process.

        Parameters
        ----------
        again : bool
            Whether GDAL's memory of the address is passed by.
        patient : bool
            Whether a server that fails gets all the time of :data:`HTTP`.

        Returns
        -------
        dict
        """
        ours = {**HTTP, **({} if patient else _IMPATIENT)}
        ours = {name: value for name, value in ours.items() if name not in os.environ}
        return {
            **ours, "VSI_CACHE": False, **dict(self.options), **(_FORGETFUL if again else {})
        }  # fmt: skip


def use(asset: Asset, access: Access, action: Callable[[Any], _Result]) -> _Result:
    """Open one asset, signed now, and do something with it.

    What was refused is signed anew and tried once more. So is what failed at once, which may be
    no more than GDAL's memory of an earlier fault, though with less patience: the other chunks of
    an asset that is lost do not all wait as long as the first. All else ends with the first
    failure, after the bounded number of repetitions of :data:`HTTP`.

    Parameters
    ----------
    asset : Asset
        What to open.
    access : Access
        How.
    action : callable
        What to do with the ``rasterio.DatasetReader``.

    Returns
    -------
    What the action returns.

    Raises
    ------
    AssetError
        It cannot be read.
    """
    start = time.monotonic()
    result = _attempt(asset, access, action, access.environment())
    if isinstance(result, Failure):
        refused = result.cause is Cause.REFUSED and access.sign is not None
        if refused or time.monotonic() - start < PROMPT:
            options = access.environment(again=True, patient=refused)
            result = _attempt(asset, access, action, options)
    if isinstance(result, Failure):  # outside of any except clause: the cause may hold a token
        raise _error(asset, result)
    return result


def _attempt(
    asset: Asset, access: Access, action: Callable[[Any], _Result], options: Mapping[str, Any]
) -> _Result | Failure:
    try:
        address = asset.address if access.sign is None else access.sign(asset.address)
    except CloudFreeError:
        raise
    except Exception as error:  # whatever the user's function raises, its text may hold a token
        return Failure(Cause.REFUSED, f"sign= failed with {type(error).__name__}")
    with listening(address, asset.address) as said:
        try:
            with (
                rasterio.Env(**options),
                rasterio.open(address, sharing=False) as dataset,
            ):
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
        return classify(messages, said)


def _error(asset: Asset, failure: Failure) -> AssetError:
    mend = 'or go on without what fails: load(..., on_error="report").'
    mend = f"{_SIGN}; {mend}" if failure.cause is Cause.REFUSED else f"Try again later, {mend}"
    error = AssetError(
        f"Asset {asset.name!r} of item {asset.item!r} cannot be read: {failure}, "
        f"{without_secrets(asset.address)}. {mend}"
    )
    error.item, error.asset, error.failure = asset.item, asset.name, failure
    return error
