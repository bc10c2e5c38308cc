"""A ground range detected product in radar geometry whose sigma0 is known everywhere.

The tilted, slightly bent swath, its control points and its calibration file are written here from
ESA's product description; nothing of the library is used.
"""

import numpy as np
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.warp import transform
from scipy.interpolate import RegularGridInterpolator

from tests import archive

LINES, PIXELS = 520, 640
STEP = 10.0
TIME = "2025-06-02T05:30:00Z"


class Swath:
    """Geometry: line and pixel to map coordinates, in a projection in metres."""

    def __init__(self, crs="EPSG:32632", x=600000.0, y=5300000.0, tilt=-0.21):
        self.crs, self.x, self.y, self.tilt = crs, x, y, tilt

    def place(self, lines, pixels):
        """Map coordinates of positions in the raster; (0.5, 0.5) is the centre of the first."""
        across = STEP * pixels + 4e-4 * (pixels - PIXELS / 2) ** 2
        along = STEP * lines * (1 + 2e-5 * pixels)
        x = self.x + across * np.cos(self.tilt) + along * np.sin(self.tilt)
        y = self.y + across * np.sin(self.tilt) - along * np.cos(self.tilt)
        return x, y

    def outline(self):
        corners = [(0, 0), (0, PIXELS), (LINES, PIXELS), (LINES, 0), (0, 0)]
        x, y = zip(
            *(self.place(np.float64(row), np.float64(col)) for row, col in corners), strict=True
        )
        lon, lat = transform(self.crs, "EPSG:4326", x, y)
        return [list(pair) for pair in zip(lon, lat, strict=True)]

    def control_points(self, rows=10, columns=21, first=0, last=LINES):
        """As in the product: a regular grid over the raster, in degrees."""
        points = []
        for row in np.linspace(first, last, rows):
            for col in np.linspace(0, PIXELS, columns):
                x, y = self.place(np.float64(row), np.float64(col))
                (lon,), (lat,) = transform(self.crs, "EPSG:4326", [x], [y])
                points.append(GroundControlPoint(row=row - first, col=col, x=lon, y=lat, z=320.0))
        return points


def sigma0(x, y, pol="VV"):
    """Known backscatter in linear power: waves of some hundred metres."""
    decibel = -11 + 3 * np.sin(x / 90.0) * np.cos(y / 140.0) + 2 * np.sin((x + y) / 400.0)
    return 10 ** ((decibel - 7 * (pol == "VH")) / 10)


def calibration(pol, first=0, last=LINES):
    """Entries of the calibration table; their lines need not lie within the product."""
    between = [line for line in (140.0, 333.0) if first < line < last]
    lines = np.array([first - 7.0, *between, last + 25.0])
    pixels = np.append(np.arange(0, PIXELS, 40), PIXELS - 1).astype(float)
    value = 420 + 0.21 * pixels[None] + 0.05 * (lines - first)[:, None] + 30 * (pol == "VH")
    return lines - first, pixels, value


def calibration_xml(pol, first=0, last=LINES):
    lines, pixels, value = calibration(pol, first, last)
    vectors = "".join(
        f"<calibrationVector><azimuthTime>2025-06-02T05:30:00</azimuthTime><line>{line:.0f}</line>"
        f'<pixel count="{pixels.size}">{" ".join(f"{p:.0f}" for p in pixels)}</pixel>'
        f'<sigmaNought count="{pixels.size}">{" ".join(f"{v:.6e}" for v in row)}</sigmaNought>'
        f'<betaNought count="1">4.740000e+02</betaNought></calibrationVector>'
        for line, row in zip(lines, value, strict=True)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<calibration><adsHeader><polarisation>'
        f"{pol}</polarisation></adsHeader><calibrationInformation><absoluteCalibrationConstant>1"
        "</absoluteCalibrationConstant></calibrationInformation>"
        f'<calibrationVectorList count="{lines.size}">{vectors}</calibrationVectorList>'
        "</calibration>"
    )


def write(folder, swath, pol, first=0, last=LINES, points=True):
    """Amplitudes of some lines of the swath, with a border of zeros on the left."""
    rows, columns = np.arange(first, last), np.arange(PIXELS)
    x, y = swath.place(rows[:, None] + 0.5, columns[None] + 0.5)
    lines, pixels, value = calibration(pol, first, last)
    table = RegularGridInterpolator((lines, pixels), value)
    at = np.stack(np.meshgrid(rows - first, columns, indexing="ij"), -1).astype(float)
    numbers = np.rint(np.sqrt(sigma0(x, y, pol)) * table(at)).astype("uint16")
    numbers[:, :12] = 0
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"iw-{pol.lower()}-{first}.tiff"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=last - first,
        width=PIXELS,
        count=1,
        dtype="uint16",
        tiled=True,
        blockxsize=128,
        blockysize=128,
    ) as target:
        target.write(numbers, 1)
        if points:
            target.gcps = (swath.control_points(first=first, last=last), "EPSG:4326")
    table_path = folder / f"calibration-iw-{pol.lower()}-{first}.xml"
    table_path.write_text(calibration_xml(pol, first, last), encoding="utf-8")
    return path, table_path


def grd(folder, place, name="sentinel-1-grd", pols=("VV", "VH"), first=0, last=LINES, **extra):
    """A made-up item as CDSE describes them: asset keys of all catalogs are the same."""
    assets = {}
    for pol in pols:
        path, table = write(folder, place, pol, first, last)
        assets[pol.lower()] = {"href": str(path), "proj:shape": [last - first, PIXELS]}
        assets[f"schema-calibration-{pol.lower()}"] = {"href": str(table)}
        assets[f"schema-noise-{pol.lower()}"] = {"href": "https://archive.invalid/noise.xml"}
    item = archive.made_up(
        f"S1A_IW_GRDH_1SDV_20250602T05300{first % 10}_COG",
        name,
        TIME,
        assets,
        platform="sentinel-1a",
        **{
            "constellation": "sentinel-1",
            "product:type": "IW_GRDH_1S",
            "sat:absolute_orbit": 59462,
            "sat:relative_orbit": 66,
            "sat:orbit_state": "descending",
            "sar:pixel_spacing_range": 10,
        }
        | extra,
    )
    item["geometry"] = {"type": "Polygon", "coordinates": [place.outline()]}
    lon, lat = zip(*place.outline(), strict=True)
    item["bbox"] = [min(lon), min(lat), max(lon), max(lat)]
    return item


def scene(folder, place, shape=(400, 400), left=None, top=None):
    left = place.x + 500 if left is None else left
    top = place.y - 1500 if top is None else top
    transform = Affine(10, 0, left, 0, -10, top)
    numbers = np.full(shape, 2000, "uint16")
    href = archive.write(folder / "B02.tif", numbers, transform, place.crs, 0)
    item = archive.made_up(
        "S2B_MSIL2A_20250602T104031_N0511_R008_T32UNA",
        "sentinel-2-l2a",
        "2025-06-02T10:40:31Z",
        {"B02": {"href": href}},
        **{
            "proj:code": place.crs,
            "proj:shape": list(shape),
            "proj:transform": list(transform)[:6],
            "s2:processing_baseline": "05.11",
        },
    )
    archive.place(item, left, top, place.crs, 10 * shape[0])
    return item
