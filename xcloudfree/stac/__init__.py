"""Scenes from STAC catalogs, and a catalog on your own machine for trials.

``load`` is the entry point. ``search/`` finds the items, ``rules/`` describes the meaning of their
pixels (providers are in ``rules/providers``), ``read/`` finds the grid and builds the graph, whose
tasks read through ``reading``, ``access`` and ``signing``. ``series/`` makes calibrated series,
pairs them with radar, records faults, checks offsets and removes those between orbits. ``local/``
publishes and serves a catalog.
"""

from xcloudfree.stac.load import load
from xcloudfree.stac.local.publish import publish
from xcloudfree.stac.local.serve import serve
from xcloudfree.stac.rules.providers import CollectionRule, Provider, register
from xcloudfree.stac.series.offset_check import check_offset
from xcloudfree.stac.series.orbits import orbit_offsets, remove_orbit_offsets

__all__ = [
    "CollectionRule",
    "Provider",
    "check_offset",
    "load",
    "orbit_offsets",
    "publish",
    "register",
    "remove_orbit_offsets",
    "serve",
]
