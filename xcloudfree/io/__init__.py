"""Write results: resumable Zarr and cloud-optimised GeoTIFF."""

from xcloudfree.io.cog import to_cog
from xcloudfree.io.opening import open_zarr
from xcloudfree.io.zarr_store import to_zarr

__all__ = ["open_zarr", "to_cog", "to_zarr"]
