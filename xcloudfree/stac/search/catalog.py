"""Search for STAC items: from any catalog to a list of items that match the query."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from xcloudfree.core.bands import POLARISATIONS
from xcloudfree.exceptions import CatalogError, CatalogWarning
from xcloudfree.stac.read.signing import clean_logging, without_secrets
from xcloudfree.stac.rules.assets import calibration_asset, mission, optical_assets, sar_assets
from xcloudfree.stac.rules.providers import provider_at
from xcloudfree.stac.search.query import Conditions, Query, cql2, holds, item_time, portable

if TYPE_CHECKING:
    import pystac

_ELSEWHERE = re.compile(
    r"(?:https?|ftp|s3|gs|az|abfss?|adl|oss|swift)://|/vsi(?:s3|gs|az|adls|oss|swift)/|"
    r"/vsicurl/https?://",
    re.IGNORECASE,
)
"""Address schemes allowed in items of other machines; others may be local files."""

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"


class Source:
    """A catalog of any kind: URL, pystac Catalog, pystac-client Client, or items."""

    def __init__(self, catalog: Any) -> None:
        import pystac
        from pystac_client import Client, ItemSearch

        if isinstance(catalog, os.PathLike):
            catalog = os.fspath(catalog)
        self.name = type(catalog).__name__
        self._items: list[pystac.Item] | None = None
        self._root: Any = catalog
        self._remote = _is_remote(_place(catalog))
        if isinstance(catalog, str):
            self.name = without_secrets(catalog)
            self._root = self._ask(lambda: Client.open(catalog, timeout=30))
        elif isinstance(catalog, pystac.Catalog):
            self.name = without_secrets(catalog.get_self_href() or catalog.id)
            home = str(catalog.get_self_href() or "")
            searched = catalog.get_single_link("search") is not None and "://" in home
            if searched and not isinstance(catalog, Client):  # landing page of an API, as a file
                self._root = self._ask(lambda: Client.open(home, timeout=30))
        else:
            if isinstance(catalog, Mapping):
                catalog = catalog.get("features", [catalog])
            elif isinstance(catalog, pystac.Item):
                catalog = [catalog]
            elif isinstance(catalog, ItemSearch):
                catalog = self._ask(lambda: list(catalog.items()))
            if not isinstance(catalog, Iterable):
                raise _no_catalog(catalog, "STAC catalog")
            self._items = [_item(one) for one in catalog]
        self._searches = isinstance(self._root, Client) and self._root.conforms_to("ITEM_SEARCH")

    def _dialect(self) -> str:
        """Query language of the API: as declared, or as known for the provider."""
        if not self._searches:
            return ""
        for dialect, conformance in (("query", "QUERY"), ("cql2", "FILTER")):
            if self._root.conforms_to(conformance):
                return dialect
        host = urlsplit(str(self._root.get_self_href() or "")).hostname
        provider = provider_at(host)
        return "" if provider is None else provider.dialect

    def _ask(self, question: Any) -> Any:
        from pystac_client.exceptions import APIError
        from requests import RequestException

        try:
            with clean_logging("", ""):  # keeps secrets of the address out of logs
                return question()
        except (APIError, RequestException, OSError, ValueError) as error:
            raise CatalogError(
                f"The catalog {self.name} does not answer ({type(error).__name__}: "
                f"{without_secrets(error)[:300]})",
                fix="check its address and your network, then call "
                'again: load("https://planetarycomputer.microsoft.com/api/stac/v1", ...)',
                option="check its address and your network, then repeat the command",
            ) from None

    def collections(self) -> list[str] | None:
        """Names of the available collections; None for items without any."""
        if self._items is not None:
            return None
        if self._searches:
            return [child.id for child in self._ask(lambda: list(self._root.get_collections()))]
        children = self._ask(lambda: list(self._root.get_all_collections()))
        return [child.id for child in children] or None

    def items(
        self,
        query: Query,
        collections: Iterable[str] | None,
        conditions: Conditions | None = None,
        of: str | None = None,
    ) -> list[pystac.Item]:
        """Items of some collections that lie in the query and meet the conditions."""
        names = None if collections is None else list(collections)
        if names is not None and not names:
            return []
        found = self._found(query, names, conditions or {}, of)
        for item in found:
            _refuse_local_files(item, trusted=not self._remote)
        return sorted(map(_completed, found), key=lambda item: (item_time(item), item.id))

    def _found(
        self, query: Query, names: list[str] | None, conditions: Conditions, of: str | None
    ) -> list[pystac.Item]:
        """Items that meet everything; warns if server and client disagree."""
        sent = portable(conditions)
        dialect = self._dialect() if sent else ""
        within = self._within(query, names, dialect, sent, of)
        if dialect and not within:  # some servers return nothing for unknown conditions
            plainly = self._within(query, names, "", {}, of) or []
            lost = [item for item in plainly if holds(item.properties, sent)]
            if lost:
                how = "refused" if within is None else "lost"
                self._warn(f"{how} the condition on items ({len(lost)} of {len(plainly)} meet it)")
            within = plainly
        elif dialect and within:
            wrong = sum(not holds(item.properties, sent) for item in within)
            if wrong:
                self._warn(
                    f"returned {wrong} of {len(within)} items that do not meet the conditions"
                )
        within = within or []
        for key in conditions:
            if count := sum(key not in item.properties for item in within):
                self._warn(f"has {count} of {len(within)} items without {key!r}")
        return [item for item in within if holds(item.properties, conditions)]

    def _warn(self, what: str) -> None:
        warnings.warn(
            f"The catalog {self.name} {what}; the conditions were applied here. Check the items: "
            "xcloudfree.stac.load([...items], ...) accepts a list that you have filtered.",
            CatalogWarning,
            stacklevel=6,
        )

    def _within(
        self,
        query: Query,
        names: list[str] | None,
        dialect: str,
        conditions: Conditions,
        of: str | None,
    ) -> list[pystac.Item] | None:
        """Items in area, time and collections; None if the server refuses the conditions."""
        from pystac_client.exceptions import APIError

        def ask() -> list[pystac.Item] | None:
            try:
                return list(self._candidates(query, names, dialect, conditions))
            except (APIError, NotImplementedError):
                if not dialect:
                    raise
                return None

        found = self._ask(ask)
        if found is None:
            return None
        once = {(item.collection_id, item.id): item for item in found}
        return [
            item
            for item in once.values()
            if query.holds(item)
            and (names is None or item.collection_id in names)
            and (of is None or mission(item) == of)
        ]

    def _candidates(
        self, query: Query, names: list[str] | None, dialect: str, conditions: Conditions
    ) -> Iterator[pystac.Item]:
        if self._items is not None:
            yield from self._items
        elif self._searches:
            extra: dict[str, Any] = {}
            if dialect == "query":
                extra = {"query": {key: dict(value) for key, value in conditions.items()}}
            elif dialect == "cql2":
                extra = {"filter": cql2(conditions), "filter_lang": "cql2-json"}
            with warnings.catch_warnings():
                # known capabilities of the provider need not be declared
                warnings.filterwarnings("ignore", message=".*does not conform to")
                for area in query.searches():
                    yield from self._root.search(
                        collections=names, datetime=query.interval, **area, **extra
                    ).items()
        else:
            yield from self._root.get_items(recursive=True)


def _place(catalog: Any) -> Any:
    """Address of a catalog, as far as it is known."""
    if isinstance(catalog, str):
        return catalog
    own = getattr(catalog, "get_self_href", lambda: None)
    return getattr(catalog, "url", None) or own()


def _is_remote(address: Any) -> bool:
    """Whether an address is on another machine."""
    parts = urlsplit(str(address or ""))
    local = {"localhost", "::1", None}
    return parts.scheme in ("http", "https") and not (
        parts.hostname in local or str(parts.hostname).startswith("127.")
    )


def _refuse_local_files(item: pystac.Item, *, trusted: bool) -> None:
    """Raise an error for assets without an absolute address, and local ones of other machines."""
    remote = not trusted or _is_remote(item.get_self_href())
    used = {*optical_assets(item).values(), *sar_assets(item).values()}
    used |= {key for pol in POLARISATIONS if (key := calibration_asset(item, pol)) is not None}
    for key in used:
        address = item.assets[key].get_absolute_href()
        if address is None:
            raise CatalogError(
                f"The assets of item {item.id!r} have relative addresses, and the item does not "
                "state its own",
                fix="read it from its place: load([pystac.Item.from_file(path)])",
                option="choose a catalog whose items state their address",
            )
        # users who pass items may have downloaded their files, and put paths in place of addresses
        downloaded = trusted and _on_disk(item.assets[key].href)
        if remote and not downloaded and not _ELSEWHERE.match(address):
            raise CatalogError(
                f"Asset {key!r} of item {item.id!r} is {without_secrets(address)[:100]!r}, a "
                "file of this machine, although the item comes from another",
                fix="pass its items without their links, if you trust the catalog: "
                'load([{**item.to_dict(), "links": []} for item in items])',
                option="choose a catalog that gives web addresses, or a copy on this machine",
            )


def _item(one: Any) -> pystac.Item:
    import pystac

    if isinstance(one, pystac.Item):
        return one
    try:
        return pystac.Item.from_dict(dict(one))
    except Exception as error:  # pystac raises various errors for incomplete items
        name = one.get("id") if isinstance(one, Mapping) else one
        reason = without_secrets(error)[:200]
        raise _no_catalog(name, f"STAC item ({reason})") from None


def _no_catalog(given: Any, what: str) -> CatalogError:
    return CatalogError(
        f"{without_secrets(repr(given))[:80]} is not a {what}",
        fix="pass an address, a pystac catalog, or items: load([pystac.Item.from_file(path)])",
    )


def _completed(item: pystac.Item) -> pystac.Item:
    """The item, ready to be read."""
    stated = (item.properties, *(asset.extra_fields for asset in item.assets.values()))
    projected = any(name.startswith("proj:") for fields in stated for name in fields)
    listed = any("proj" in str(name) for name in item.stac_extensions)
    served = "://" in str(item.get_self_href() or "")
    local = [k for k, a in item.assets.items() if served and _on_disk(a.href)]
    if not local and (listed or not projected):
        return item
    item = item.clone()
    for key in local:
        # as GDAL reads it: spaces and the like are kept
        item.assets[key].href = f"file:///{Path(item.assets[key].href).as_posix().lstrip('/')}"
    if projected and not listed:
        item.stac_extensions.append(PROJECTION)
    return item


def _on_disk(address: str) -> bool:
    return os.path.isabs(address) and not address.startswith("/vsi") and os.path.exists(address)
