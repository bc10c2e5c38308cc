"""STAC items as plain mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_TELLING = ("self", "root", "collection", "parent")


def plain(item: Any) -> Mapping[str, Any]:
    """The item as a plain mapping, links untouched (nothing is resolved over the network).

    Parameters
    ----------
    item : pystac.Item or mapping
        A STAC item.

    Returns
    -------
    mapping
    """
    if isinstance(item, Mapping):
        return item
    out: Mapping[str, Any] = item.to_dict(include_self_link=True, transform_hrefs=False)
    return out


def link_hosts(item: Mapping[str, Any]) -> set[str]:
    """Names of the hosts that the item says it comes from.

    Parameters
    ----------
    item : mapping
        A STAC item.

    Returns
    -------
    set of str

    Examples
    --------
    >>> link_hosts({"links": [{"rel": "self", "href": "https://catalog.org/items/1"}]})
    {'catalog.org'}
    """
    addresses = [
        str(link.get("href")) for link in item.get("links") or [] if link.get("rel") in _TELLING
    ]
    return {host for host in (urlsplit(address).hostname for address in addresses) if host}
