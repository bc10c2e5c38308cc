"""A simulated, georeferenced scene of Sentinel-1 and Sentinel-2, its truth, and its layers."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.bands import S2_BANDS
from xcloudfree.datasets.cloud_layers import CloudKind, check_kind
from xcloudfree.datasets.clouds import simulate_clouds
from xcloudfree.datasets.landcover import backscatter, reflectance, to_surface
from xcloudfree.datasets.landscape import LANDCOVER, make_landscape
from xcloudfree.exceptions import DataError, GridError

_FIRST = np.datetime64("2025-06-10T10:06:00", "ns")
_STEP = np.timedelta64(5, "D")
_CALL = "xcf.datasets.simulate_scene"

Chunks = Mapping[Any, Any] | int | None


class Options(TypedDict, total=False):
    """Keyword arguments of :func:`simulate_scene`, all optional."""

    dates: int | Sequence[Any]
    cover: float | Sequence[float]
    seed: int
    crs: str
    resolution: float
    origin: tuple[float, float]
    level: Literal["TOA", "BOA"]
    kind: CloudKind
    sun: tuple[float, float]
    looks: float
    chunks: Chunks


def simulate_scene(
    shape: tuple[int, int] = (1024, 1024),
    *,
    dates: int | Sequence[Any] = 1,
    cover: float | Sequence[float] = 0.4,
    seed: int = 0,
    crs: str = "EPSG:32633",
    resolution: float = 10.0,
    origin: tuple[float, float] = (500_000.0, 5_400_000.0),
    level: Literal["TOA", "BOA"] = "TOA",
    kind: CloudKind = "mixed",
    sun: tuple[float, float] = (152.0, 52.0),
    looks: float = 4.4,
    chunks: Chunks = None,
) -> xr.Dataset:
    """Simulate a cloudy Sentinel-2 scene with the Sentinel-1 backscatter of the same ground.

    The scene has fields with straight borders, forests, a meandering river, a lake, a town and
    roads, with consistent spectra and backscatter, and clouds with shadows. Equal arguments give
    equal scenes, and a date does not depend on the other dates.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    dates : int or sequence of datetime
        Number of dates, five days apart from 2025-06-10, or the dates themselves.
    cover : float or sequence of float
        Share of cloudy pixels, 0 to 1; one for all dates or one per date.
    seed : int
        Seed of all randomness.
    crs : str
        Projected coordinate reference system.
    resolution : float
        Size of a pixel in metres.
    origin : tuple of float
        x and y of the upper left corner.
    level : {"TOA", "BOA"}
        Top of atmosphere (13 bands), or bottom of atmosphere (without B10).
    kind : {"mixed", "thick", "thin"}
        Kind of clouds, as in :func:`xcloudfree.datasets.clouds.simulate_clouds`.
    sun : tuple of float
        Azimuth and elevation of the sun in degrees.
    looks : float
        Equivalent number of looks of the speckle; ``math.inf`` for none.
    chunks : mapping or int, optional
        Chunks of dask arrays; by default numpy arrays.

    Returns
    -------
    xarray.Dataset
        Reflectance B01 to B12 and backscatter VV, VH (dB, sigma0), float32 (time, y, x).

    Raises
    ------
    DataError
        Unusable shape, dates, cover, level, kind or sun.
    GridError
        A coordinate reference system that is not projected.

    See Also
    --------
    simulate_truth : the same scene without clouds.
    simulate_layers : opacity, shadow and land cover of the same scene.

    Examples
    --------
    >>> scene = simulate_scene((64, 48), cover=0.5, seed=3)
    >>> dict(scene.sizes), scene.odc.geobox.crs.epsg, len(scene.data_vars)
    ({'time': 1, 'y': 64, 'x': 48}, 32633, 15)
    """
    return _simulate(
        "scene", shape=shape, dates=dates, cover=cover, seed=seed, crs=crs, resolution=resolution,
        origin=origin, level=level, kind=kind, sun=sun, looks=looks, chunks=chunks,
    )  # fmt: skip


def simulate_truth(shape: tuple[int, int] = (1024, 1024), **options: Unpack[Options]) -> xr.Dataset:
    """Return the cloud-free scene below the clouds of :func:`simulate_scene`, from its arguments.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    **options
        As in :func:`simulate_scene`.

    Returns
    -------
    xarray.Dataset
        The same variables; backscatter is identical, reflectance has neither cloud nor shadow.

    Raises
    ------
    DataError, GridError
        As :func:`simulate_scene`.

    Examples
    --------
    >>> scene, truth = simulate_scene((64, 64), seed=1), simulate_truth((64, 64), seed=1)
    >>> bool((scene.VV == truth.VV).all()), bool((scene.B02 == truth.B02).all())
    (True, False)
    """
    return _simulate("truth", **_completed(shape, options))


def simulate_layers(
    shape: tuple[int, int] = (1024, 1024), **options: Unpack[Options]
) -> xr.Dataset:
    """Return the layers of :func:`simulate_scene`, from its arguments.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    **options
        As in :func:`simulate_scene`.

    Returns
    -------
    xarray.Dataset
        ``opacity`` of the clouds and ``shadow`` on the ground (float32, time, y, x), and
        ``landcover`` (uint8, y, x, with CF flags).

    Raises
    ------
    DataError, GridError
        As :func:`simulate_scene`.

    Examples
    --------
    >>> layers = simulate_layers((64, 64), cover=0.25)
    >>> float((layers.opacity > 0).mean())
    0.25
    """
    return _simulate("layers", **_completed(shape, options))


def _completed(shape: tuple[int, int], options: Options) -> dict[str, Any]:
    bound = inspect.signature(simulate_scene).bind(shape, **options)
    bound.apply_defaults()
    return bound.arguments


def _simulate(
    what: str,
    *,
    shape: tuple[int, int],
    dates: int | Sequence[Any],
    cover: float | Sequence[float],
    seed: int,
    crs: str,
    resolution: float,
    origin: tuple[float, float],
    level: str,
    kind: CloudKind,
    sun: tuple[float, float],
    looks: float,
    chunks: Chunks,
) -> xr.Dataset:
    if np.shape(shape) != (2,) or min(shape) < 1:
        raise DataError(
            f"shape={shape} must be rows and columns, at least 1",
            fix=f"call {_CALL}(shape=(1024, 1024))",
        )
    if level not in ("TOA", "BOA"):
        raise DataError(
            f"level={level!r} is neither 'TOA' nor 'BOA'", fix=f"call {_CALL}(..., level='TOA')"
        )
    check_kind(kind, f"{_CALL}(..., kind='mixed')")
    if not (0 < sun[1] <= 90 and resolution > 0):
        raise DataError(
            f"the sun's elevation {sun[1]} must be 0..90 degrees and resolution={resolution} "
            "positive",
            fix=f"call {_CALL}(..., sun=(152, 52), resolution=10)",
        )
    if not isinstance(seed, (int, np.integer)):
        raise DataError(
            f"seed={seed!r} must be a whole number, at least 0", fix=f"call {_CALL}(..., seed=0)"
        )
    times = _times(dates)
    covers = np.atleast_1d(np.asarray(cover, float))
    shares = (covers >= 0) & (covers <= 1)
    if covers.size not in (1, times.size) or not shares.all() or seed < 0:
        raise DataError(
            f"cover={cover} must be a share of 0 to 1, or one for each of {times.size} dates, "
            f"and seed={seed} at least 0",
            fix=f"call {_CALL}(..., cover=0.4, seed=0)",
        )
    coords = _coords(shape, crs, resolution, origin)
    land = make_landscape(np.random.default_rng([seed, 1]), shape, resolution)
    names = [band for band in S2_BANDS if level == "TOA" or band != "B10"] + ["VV", "VH"]
    names = ["opacity", "shadow"] if what == "layers" else names
    data = {name: np.empty((times.size, *shape), np.float32) for name in names}
    for index, (time, share) in enumerate(
        zip(times, np.resize(covers, times.size).tolist(), strict=True)
    ):
        stamp = int(time.astype("datetime64[s]").astype(np.int64)) % (1 << 63)
        day = float((time - time.astype("datetime64[Y]")) / np.timedelta64(1, "D")) + 1
        weather, sky, noise = (np.random.default_rng([seed, n, stamp]) for n in (2, 3, 4))
        moisture = float(weather.uniform(0.25, 0.65))
        optical = reflectance(land, day, moisture, resolution)
        if what != "truth":
            clouds = simulate_clouds(
                optical, rng=sky, cover=share, kind=kind, sun=sun, resolution=resolution
            )
            optical = clouds.cloudy
            if what == "layers":
                data["opacity"][index], data["shadow"][index] = clouds.opacity, clouds.shadow
                continue
        optical = to_surface(optical) if level == "BOA" else optical
        radar = backscatter(land, day, moisture, noise, looks)
        for name, plane in zip((*S2_BANDS, "VV", "VH"), (*optical, *radar), strict=True):
            if name in data:
                data[name][index] = plane
    dims = ("time", "y", "x")
    variables: dict[str, Any] = {
        name: (dims, values, _attributes(name, level)) for name, values in data.items()
    }
    if what == "layers":
        variables["landcover"] = (
            ("y", "x"),
            land.cover,
            {"flag_values": np.arange(len(LANDCOVER), dtype=np.uint8)}
            | {"flag_meanings": " ".join(LANDCOVER), "grid_mapping": "spatial_ref"},
        )
    out = xr.Dataset(
        variables,
        {"time": times, **coords},
        {
            "title": f"Simulated Sentinel-1 and Sentinel-2 {what}",
            "source": "xcloudfree.datasets.simulate_scene",
            "seed": seed,
            "sun_azimuth": sun[0],
            "sun_elevation": sun[1],
        },
    )
    return out if chunks is None else out.chunk(chunks)


def _times(dates: int | Sequence[Any]) -> NDArray[np.datetime64]:
    if isinstance(dates, int):
        times = _FIRST + np.arange(dates) * _STEP
    else:
        try:
            times = np.array([np.datetime64(date) for date in dates]).astype("datetime64[ns]")
        except (TypeError, ValueError) as error:
            raise DataError(
                f"dates={dates!r} are neither a number nor dates",
                fix=f'call {_CALL}(..., dates=["2025-06-10", "2025-07-15"])',
            ) from error
    if times.size == 0 or len(np.unique(times)) != times.size:
        raise DataError(
            f"dates={dates!r} must be one or more different dates",
            fix=f"call {_CALL}(..., dates=1)",
        )
    return times


def _coords(
    shape: tuple[int, int], crs: str, resolution: float, origin: tuple[float, float]
) -> dict[Hashable, xr.DataArray]:
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords
    from pyproj.exceptions import CRSError

    try:
        box = GeoBox(shape, Affine(resolution, 0, origin[0], 0, -resolution, origin[1]), crs)
    except CRSError as error:
        raise GridError(
            f"crs={crs!r} is unknown ({error})",
            fix=f'call {_CALL}(..., crs="EPSG:32633")',
        ) from error
    if box.crs is None or not box.crs.projected:
        raise GridError(
            f"crs={crs!r} is not projected, and fields and shadows are drawn in metres",
            fix=f'call {_CALL}(..., crs="EPSG:32633")',
        )
    coords: dict[Hashable, xr.DataArray] = xr_coords(box, dims=("y", "x"))
    return coords


def _attributes(name: str, level: str) -> dict[str, str]:
    kind = {"units": "dB", "quantity": "sigma0"} if name in ("VV", "VH") else {"units": "1"}
    stamp = {"processing_level": level} if name in S2_BANDS else {}
    return kind | stamp | {"grid_mapping": "spatial_ref"}
