"""What one Sentinel-1 item says about its pixels: quantity, unit, geolocation, pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xcloudfree.core.bands import sar_band
from xcloudfree.exceptions import UnitsError
from xcloudfree.stac.rules.assets import agreed, calibration_asset, sar_assets
from xcloudfree.stac.rules.items import plain
from xcloudfree.stac.rules.providers import collection_rule
from xcloudfree.stac.series.pairing import pass_key, relative_orbit

_UNIT_STAMP, _QUANTITY_STAMP = "xcloudfree:units", "xcloudfree:quantity"


@dataclass(frozen=True)
class SarRule:
    """What the pixels of one Sentinel-1 item mean, and which pass they belong to.

    ``units`` are ``"1"`` (linear power), ``"dB"``, or ``"DN"`` (amplitudes that the calibration
    tables turn into power); ``calibration`` names the tables' assets by polarisation.
    """

    assets: tuple[tuple[str, str], ...]
    quantity: str
    units: str
    nodata: float
    pass_key: str
    relative_orbit: int | None
    orbit_state: str = ""
    geolocation: str = "grid"
    calibration: tuple[tuple[str, str], ...] = ()
    resampling: str = "bilinear"


def sar_rule(item: Any, *, detected: bool = False) -> SarRule:
    """What the pixels of one Sentinel-1 item mean.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-1 item.
    detected : bool
        Whether ground range detected (GRD) amplitudes are accepted, which become sigma0 that is
        not terrain corrected.

    Returns
    -------
    SarRule

    Raises
    ------
    UnitsError
        The item is not radiometrically terrain corrected (RTC), and GRD is not accepted or lacks
        the tables that calibrate it.
    """
    item = plain(item)
    properties = item.get("properties", {})
    declared = collection_rule(item, "S1")
    assets = sar_assets(item)
    stamps = [properties, *(item["assets"][key] for key in assets.values())]
    quantity = next((s[_QUANTITY_STAMP] for s in stamps if _QUANTITY_STAMP in s), None)
    units = str(next((s[_UNIT_STAMP] for s in stamps if _UNIT_STAMP in s), declared.units))
    geolocation, tables = declared.geolocation, {}
    if quantity is None and declared.quantity is not None and declared.units != "DN":
        quantity = declared.quantity
    if quantity is None and _terrain_corrected(item, assets):
        quantity, geolocation = "gamma0", "grid"
        units = "dB" if str(agreed(item, assets.values(), "unit")).lower() == "db" else "1"
    if quantity is None:
        tables = {pol: calibration_asset(item, pol) for pol in assets}
        name = item.get("collection")
        mend = (
            'Take an RTC collection, load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"]), '
            'or one of another catalog, load(..., sar_catalog="https://planetarycomputer.microsoft'
            '.com/api/stac/v1"), or leave Sentinel-1 out: load(..., polarisations=()).'
        )
        if not tables or None in tables.values():
            raise UnitsError(
                f"Item {item.get('id')!r} of collection {name!r} is not terrain corrected: its GRD "
                "amplitudes are uncalibrated, and it offers no calibration tables "
                f"(schema-calibration-vv) to turn them into sigma0. {mend}"
            )
        if not detected:
            raise UnitsError(
                f"Item {item.get('id')!r} of collection {name!r} is not terrain corrected: its GRD "
                "amplitudes have neither calibration nor a map grid. To have them calibrated to "
                "sigma0 and warped with their ground control points, without terrain correction, "
                f'name the collection, load(..., collections=["sentinel-2-l2a", {name!r}]). {mend}'
            )
        quantity, units, geolocation = "sigma0", "DN", "gcps"
    else:
        geolocation = "grid"
    nodata = agreed(item, assets.values(), "nodata")
    known = declared.nodata
    if units != declared.units:
        known = 0.0 if units == "DN" else float("nan")
    return SarRule(
        assets=tuple(sorted(assets.items(), reverse=True)),
        quantity=str(quantity),
        units=units,
        nodata=known if nodata is None else float(nodata),
        pass_key=pass_key(item),
        relative_orbit=relative_orbit(item),
        orbit_state=str(properties.get("sat:orbit_state") or "").lower(),
        geolocation=geolocation,
        calibration=tuple((pol, str(key)) for pol, key in sorted(tables.items(), reverse=True)),
        resampling=declared.resampling,
    )


def _terrain_corrected(item: Mapping[str, Any], assets: Mapping[str, str]) -> bool:
    properties = item.get("properties", {})
    product = f"{properties.get('sar:product_type')} {item.get('collection')} {item.get('id')}"
    named = {band[1] for band in map(sar_band, assets.values()) if band is not None}
    return "RTC" in product.upper() or named == {"gamma0"}
