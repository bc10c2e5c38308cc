"""Scenes from STAC catalogs, and a catalog on this machine to try it with.

``load`` shows the whole way. ``search/`` finds the items, ``rules/`` says what their pixels mean
(providers are in ``rules/providers``), ``read/`` finds the grid and builds the graph, of which each
task reads by ``reading``, ``access`` and ``signing``. ``series/`` makes calibrated series, pairs
them with radar, records what failed and checks offsets. ``local/`` is a catalog to try it with.
"""

from xcloudfree.stac.load import load
from xcloudfree.stac.local.publish import publish
from xcloudfree.stac.local.serve import serve
from xcloudfree.stac.rules.providers import CollectionRule, Provider, register
from xcloudfree.stac.series.offset_check import check_offset

__all__ = ["CollectionRule", "Provider", "check_offset", "load", "publish", "register", "serve"]
