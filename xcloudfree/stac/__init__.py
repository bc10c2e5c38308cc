"""Scenes from STAC catalogs, and a catalog on this machine to try it with.

``retrieve`` is the call; ``catalog`` and ``query`` search; ``assets`` and ``harmonise`` hold the
rules of each item; ``optical``, ``backscatter`` and ``pairing`` make the series; ``mosaic`` and
``odc_driver`` read pixels; ``publish`` and ``serve`` are the local catalog.
"""

from xcloudfree.stac.publish import publish
from xcloudfree.stac.retrieve import load
from xcloudfree.stac.serve import serve

__all__ = ["load", "publish", "serve"]
