"""Write results: resumable Zarr and cloud-optimised GeoTIFF."""

from xcloudfree.io.append import append
from xcloudfree.io.cog import to_cog
from xcloudfree.io.opening import open_zarr
from xcloudfree.io.zarr_store import to_zarr

__all__ = ["append", "open_zarr", "to_cog", "to_zarr"]
