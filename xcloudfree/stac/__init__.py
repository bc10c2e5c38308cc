"""Scenes from STAC catalogs, and a catalog on this machine to try it with.

``retrieve`` is the call. ``catalog``, ``choice``, ``filters`` and ``query`` search; ``providers``
finds the rule of a collection in ``provider_table`` (words: ``provider_rule``, page:
``provider_page``); ``assets``, ``harmonise`` and ``radar_rule`` apply it to each item; ``zones``,
``headers``, ``declared_grid`` and ``grids`` find the grid; ``optical``, ``optical_series``,
``backscatter``, ``grd`` and ``pairing`` make the series; ``mosaic``, ``odc_driver`` and
``stackstac_reader`` build the graph, of which each task reads by ``reading``, ``access`` and
``signing``; ``faults`` and ``status`` tell what failed; ``offset_check`` doubts the pixels;
``publish``, ``files`` and ``serve`` are the local catalog.
"""

from xcloudfree.stac.load import load
from xcloudfree.stac.local.publish import publish
from xcloudfree.stac.local.serve import serve
from xcloudfree.stac.rules.providers import CollectionRule, Provider, register
from xcloudfree.stac.series.offset_check import check_offset

__all__ = ["CollectionRule", "Provider", "check_offset", "load", "publish", "register", "serve"]
