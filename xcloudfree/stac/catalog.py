"""Finding STAC items: any catalog in, a list of items that really lie in the query out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xcloudfree.exceptions import CatalogError
from xcloudfree.stac.assets import mission
from xcloudfree.stac.query import Query, item_time

if TYPE_CHECKING:
    import pystac

S2_COLLECTIONS: tuple[str, ...] = (
    "sentinel-2-l1c", "sentinel-2-c1-l2a", "sentinel-2-l2a", "sentinel-s2-l2a-cogs",
)  # fmt: skip
"""Sentinel-2 collections in order of preference. Level-1C first: the cloud mask of the paper and
the networks are made for top-of-atmosphere reflectance with 13 bands."""

S1_COLLECTIONS: tuple[str, ...] = (
    "sentinel-1-rtc", "sentinel1-rtc-aws", "sentinel-s1-rtc-indigo", "s1_rtc",
)  # fmt: skip
"""Sentinel-1 collections of terrain-corrected backscatter, in order of preference."""

_S1_NAME = re.compile(r"sentinel-?s?1|^s1[-_]", re.IGNORECASE)
_SECRET = re.compile(r"([?&][^=&\s]*(?:sig|token|key|credential|secret)[^=&\s]*=)[^&\s'\"]+", re.I)


def redact(text: object) -> str:
    """A message without the secrets of the URLs in it.

    Parameters
    ----------
    text : object
        Anything that prints.

    Returns
    -------
    str

    Examples
    --------
    >>> redact("GET https://host/B02.tif?sig=abc&se=2025")
    'GET https://host/B02.tif?sig=***&se=2025'
    """
    return _SECRET.sub(r"\1***", str(text))


class Source:
    """A catalog, whatever it is: URL, pystac Catalog, pystac-client Client, or items.

    Parameters
    ----------
    catalog : str, pystac.Catalog, pystac_client.Client or iterable of items
        Where to look.
    """

    def __init__(self, catalog: Any) -> None:
        import pystac
        from pystac_client import Client

        self.name = type(catalog).__name__
        self._items: list[pystac.Item] | None = None
        self._root: Any = catalog
        if isinstance(catalog, str):
            self.name = redact(catalog)
            self._root = self._ask(lambda: Client.open(catalog, timeout=30))
        elif isinstance(catalog, pystac.Catalog):
            self.name = redact(catalog.get_self_href() or catalog.id)
        else:
            if isinstance(catalog, Mapping):
                catalog = catalog.get("features", [catalog])
            self._items = [
                pystac.Item.from_dict(dict(i)) if isinstance(i, Mapping) else i for i in catalog
            ]
        self._searches = isinstance(self._root, Client) and self._root.conforms_to("ITEM_SEARCH")

    def _ask(self, question: Any) -> Any:
        from pystac_client.exceptions import APIError
        from requests import RequestException

        try:
            return question()
        except (APIError, RequestException, OSError, ValueError) as error:
            raise CatalogError(
                f"The catalog {self.name} does not answer ({type(error).__name__}: "
                f"{redact(error)[:300]}). Check its address and your network, then call again: "
                'load("https://planetarycomputer.microsoft.com/api/stac/v1", ...).'
            ) from None

    def collections(self) -> list[str] | None:
        """Names of the collections on offer; None for a plain list of items."""
        if self._items is not None:
            return None
        children = self._ask(lambda: list(self._root.get_collections()))
        return [child.id for child in children]

    def items(self, query: Query, collections: Iterable[str] | None) -> list[pystac.Item]:
        """Items of some collections that lie in the query.

        Parameters
        ----------
        query : Query
            Area and time.
        collections : iterable of str or None
            Names of collections; None for all.

        Returns
        -------
        list of pystac.Item
            Sorted by time, each item once.
        """
        names = None if collections is None else list(collections)
        if names is not None and not names:
            return []
        found = self._ask(lambda: list(self._candidates(query, names)))
        unique = {
            (item.collection_id, item.id): item
            for item in found
            if query.holds(item) and (names is None or item.collection_id in names)
        }
        for item in unique.values():
            if any(asset.get_absolute_href() is None for asset in item.assets.values()):
                raise CatalogError(
                    f"The assets of item {item.id!r} have relative addresses, and the item does "
                    "not tell its own. Read it from its place: load([pystac.Item.from_file(path)])."
                )
        return sorted(unique.values(), key=lambda item: (item_time(item), item.id))

    def _candidates(self, query: Query, names: list[str] | None) -> Iterator[pystac.Item]:
        if self._items is not None:
            yield from self._items
        elif self._searches:
            yield from self._root.search(
                collections=names,
                bbox=query.bbox,
                intersects=query.intersects,
                datetime=query.interval,
            ).items()
        else:
            yield from self._root.get_items(recursive=True)


def choose_collections(offered: Sequence[str], *, sar: bool) -> list[str]:
    """Collections to search where the user names none.

    Parameters
    ----------
    offered : sequence of str
        What the catalog has.
    sar : bool
        Whether Sentinel-1 is wanted too.

    Returns
    -------
    list of str
        The first known Sentinel-2 collection and, if wanted, the first known Sentinel-1 one.

    Raises
    ------
    CatalogError
        The catalog has none that is known.

    Examples
    --------
    >>> choose_collections(["sentinel-1-rtc", "sentinel-2-l2a", "landsat-c2-l2"], sar=True)
    ['sentinel-2-l2a', 'sentinel-1-rtc']
    """
    listing = ", ".join(sorted(offered)[:40]) or "none"
    optical = next((name for name in S2_COLLECTIONS if name in offered), None)
    if optical is None:
        raise CatalogError(
            f"No known Sentinel-2 collection among those of the catalog ({listing}). "
            'Name it: load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"]).'
        )
    if not sar:
        return [optical]
    backscatter = next((name for name in S1_COLLECTIONS if name in offered), None)
    if backscatter is None:
        grd = [name for name in offered if is_sar_collection(name)]
        only = f" (only {', '.join(grd)}, which is not RTC)" if grd else ""
        raise CatalogError(
            "The catalog has no known collection of terrain-corrected (RTC) Sentinel-1 "
            f"backscatter{only}. Name one, load(..., collections=[{optical!r}, "
            '"sentinel-1-rtc"]), or leave Sentinel-1 out: load(..., polarisations=()).'
        )
    return [optical, backscatter]


def is_sar_collection(name: str) -> bool:
    """Whether a collection is Sentinel-1, judged by its name.

    Parameters
    ----------
    name : str
        Name of a collection.

    Returns
    -------
    bool
    """
    return _S1_NAME.search(name) is not None


def of_mission(items: Iterable[pystac.Item], name: str) -> list[pystac.Item]:
    """Items of one mission, ``"S1"`` or ``"S2"``.

    Parameters
    ----------
    items : iterable of pystac.Item
        Items.
    name : {"S1", "S2"}
        Mission.

    Returns
    -------
    list of pystac.Item
    """
    return [item for item in items if mission(item) == name]
