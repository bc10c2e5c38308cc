"""How a grid lies on the ground: where east and north are, and how large a pixel is."""

from __future__ import annotations

import numpy as np

from xcloudfree.core.grid import coordinate_system
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import GridError


def ground(scene: Scene) -> tuple[tuple[float, float], tuple[float, float], float]:
    """How a metre on the ground lies on the grid, at the centre of the scene."""
    from pyproj import Geod, Transformer
    from pyproj.exceptions import ProjError

    array = (scene.optical or scene.sar).arrays[0]  # type: ignore[union-attr]
    steps, centre = [], []
    for dim in scene.spatial:
        if dim not in array.coords or array.sizes[dim] < 2:
            raise GridError(
                "shadow of clouds needs the size of a pixel and there are no coordinates along "
                f"{dim!r}",
                fix="give them with ds.assign_coords(y=..., x=...), or leave it out: "
                "mask(shadow=False)",
                option="--no-shadow",
            )
        values = array[dim].values[[0, -1]].astype(float)
        steps.append((values[1] - values[0]) / (array.sizes[dim] - 1))
        centre.append(values.mean())
    try:
        system = coordinate_system(scene.source, array)
    except ProjError:
        system = None
    if system is None:
        raise GridError(
            "shadow of clouds needs to know where north is and the grid declares no coordinate "
            "reference system",
            fix='declare it with ds.rio.write_crs("EPSG:..."), or call mask(shadow=False)',
            option="--no-shadow",
        )
    try:
        there = Transformer.from_crs(system, "EPSG:4326", always_xy=True)
        back = Transformer.from_crs("EPSG:4326", system, always_xy=True)
    except ProjError as error:
        raise GridError(
            f"{system} does not tell where on earth the grid lies",
            fix='declare another with ds.rio.write_crs("EPSG:..."), or call mask(shadow=False)',
            option="--no-shadow",
        ) from error
    longitude, latitude = there.transform(centre[1], centre[0])
    directions = []
    for azimuth in (90.0, 0.0):
        far = Geod(ellps="WGS84").fwd(longitude, latitude, azimuth, 100.0)
        x, y = back.transform(far[0], far[1])
        directions.append(((y - centre[0]) / steps[0] / 100.0, (x - centre[1]) / steps[1] / 100.0))
    east, north = directions
    if not np.isfinite([*east, *north]).all():
        raise GridError(
            f"the centre of the scene lies outside of {system}",
            fix="correct the coordinates, or call mask(shadow=False)",
            option="--no-shadow",
        )
    return east, north, abs(east[0] * north[1] - east[1] * north[0]) ** -0.5
