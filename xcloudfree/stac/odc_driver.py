"""Reading for odc-stac that trusts the catalog where a file does not tell its nodata value."""

from __future__ import annotations

from typing import Any

from odc.loader import RioDriver, RioReader


class KnownNodataReader(RioReader):  # type: ignore[misc]
    """Reads one asset; without this, resampling blends undeclared nodata into its neighbours."""

    def read(self, cfg: Any, dst_geobox: Any, **options: Any) -> Any:
        """Read, taking the configured fill value for nodata if the file declares none."""
        return super().read(cfg.patch(src_nodata_fallback=cfg.fill_value), dst_geobox, **options)


class KnownNodataDriver(RioDriver):  # type: ignore[misc]
    """Opens assets with :class:`KnownNodataReader`."""

    def open(self, src: Any, ctx: Any) -> KnownNodataReader:
        """Open one asset."""
        return KnownNodataReader(src, ctx)
