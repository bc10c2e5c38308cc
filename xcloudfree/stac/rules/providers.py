"""Which rule speaks for an item: the provider table, what users register, and a generic rule."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from xcloudfree.exceptions import CatalogError
from xcloudfree.stac.rules.items import link_hosts, plain
from xcloudfree.stac.rules.provider_rule import OFFSET_STEPS, CollectionRule, Provider
from xcloudfree.stac.rules.provider_table import GENERIC, PROVIDERS

_registered: list[Provider] = []


def register(provider: Provider | CollectionRule) -> None:
    """Add a provider, or one collection, to those that :func:`xcloudfree.stac.load` knows.

    What is registered last goes first, so known collections can be overruled too.

    Parameters
    ----------
    provider : Provider or CollectionRule
        What to add. A second entry of the same name takes the place of the first.

    Raises
    ------
    CatalogError
        The entry contradicts itself.

    Examples
    --------
    >>> register(CollectionRule("my-s2", "S2", {"B04": ("band_3",)}, level="BOA",
    ...                         data_type="int16", nodata=-9999, offset=("none",)))
    >>> collection_rule({"collection": "my-s2", "assets": {"band_3": {}}}, "S2").nodata
    -9999
    >>> unregister("my-s2")
    """
    if isinstance(provider, CollectionRule):
        provider = Provider(provider.collection, "", (provider,))
    for rule in provider.collections:
        unknown = set(rule.offset) - {*OFFSET_STEPS, "none"}
        if unknown or not rule.offset:
            raise CatalogError(
                f"offset={rule.offset!r} of collection {rule.collection!r} is no order of "
                f"{', '.join(OFFSET_STEPS)}, or none: "
                f"register(CollectionRule({rule.collection!r}, offset={OFFSET_STEPS}))."
            )
    unregister(provider.name)
    _registered.insert(0, provider)


def unregister(name: str) -> None:
    """Forget what was registered under a name; nothing happens if there is none.

    Parameters
    ----------
    name : str
        Name of a provider, or of a collection that was registered alone.
    """
    _registered[:] = [provider for provider in _registered if provider.name != name]


def known_providers() -> tuple[Provider, ...]:
    """Every provider, what users registered first.

    Returns
    -------
    tuple of Provider
    """
    return (*_registered, *PROVIDERS)


def provider_at(host: str | None) -> Provider | None:
    """Provider of an API.

    Parameters
    ----------
    host : str or None
        Name of its host.

    Returns
    -------
    Provider or None

    Examples
    --------
    >>> provider_at("planetarycomputer.microsoft.com").name
    'Planetary Computer'
    """
    return next((one for one in known_providers() if _serves(one, {host or ""})), None)


def _serves(provider: Provider, hosts: Iterable[str]) -> bool:
    return any(h == end or h.endswith(f".{end}") for h in hosts for end in provider.hosts)


def collection_rule(item: Any, mission: str) -> CollectionRule:
    """The rule for an item.

    Collections of several providers share a name, so the item itself decides: where its links
    lead, then which rule names most of its assets.

    Parameters
    ----------
    item : pystac.Item or mapping
        A STAC item.
    mission : {"S1", "S2"}
        Mission that it belongs to.

    Returns
    -------
    CollectionRule
        The generic rule of the mission if no other fits.

    Examples
    --------
    >>> item = {"collection": "sentinel-2-l2a", "assets": {"blue": {}}}
    >>> collection_rule(item, "S2").assets["B04"]
    ('red', 'red-jp2')
    """
    item = plain(item)
    name = str(item.get("collection") or "")
    hosts, keys = link_hosts(item), set(item.get("assets") or ())
    best, found = (False, 0), None
    for provider in known_providers():
        for rule in provider.collections:
            if rule.mission != mission or not fnmatchcase(name, rule.collection):
                continue
            fit = sum(bool(keys.intersection(candidates)) for candidates in rule.assets.values())
            if rule.assets and not fit:
                continue
            if provider in _registered:
                return rule
            if found is None or (_serves(provider, hosts), fit) > best:
                best, found = (_serves(provider, hosts), fit), rule
    return found or GENERIC[mission]


def mission_of(collection: str | None) -> str | None:
    """Mission of a known collection.

    Parameters
    ----------
    collection : str or None
        Name of a collection.

    Returns
    -------
    {"S1", "S2", None}

    Examples
    --------
    >>> mission_of("ga_s2bm_ard_3"), mission_of("landsat-c2-l2")
    ('S2', None)
    """
    rules = (rule for provider in known_providers() for rule in provider.collections)
    return next((r.mission for r in rules if fnmatchcase(collection or "", r.collection)), None)
