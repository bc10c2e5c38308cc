"""Simulated clouds over any clear scene, lazily, with the truth about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.blocks import Output, Stage, map_windows, spread
from xcloudfree.core.grid import ground
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import labelled, restore
from xcloudfree.core.scene import Scene
from xcloudfree.datasets.cloud_layers import CloudKind, check_kind
from xcloudfree.datasets.clouds import Ground, Sky, draw_sky, lay
from xcloudfree.exceptions import DataError, GridError
from xcloudfree.masks.shadow import Shadow, sun_angles

SUN = (150.0, 50.0)
"""Default azimuth and elevation in degrees."""

_CALL = "xcf.datasets.simulate_clouds(ds, cover=0.4, seed=0)"


def simulate_clouds(
    ds: xr.Dataset | xr.DataArray,
    *,
    cover: float | Sequence[float] = 0.4,
    seed: int = 0,
    kind: CloudKind = "mixed",
    sun: tuple[Any, Any] | None = None,
) -> Any:
    """Apply simulated clouds and their shadow to a clear scene.

    Reflectance, transmission and shadow of the clouds depend on the band as in
    :mod:`xcloudfree.datasets.clouds`. The clouds depend on the seed, the size of the scene and
    the date (the position in the series if there is no time), and not on the chunks or the
    other dates. In scenes of more than 2048 px they repeat.

    Parameters
    ----------
    ds : Dataset or DataArray
        Clear scene in any accepted form.
    cover : float or sequence of float
        Share of cloudy pixels, 0 to 1; one for all images or one for each date.
    seed : int
        Seed of all randomness.
    kind : {"mixed", "thick", "thin"}
        Thick clouds (low and middle), thin ones (cirrus and haze), or one to three layers of any.
    sun : tuple, optional
        Azimuth and elevation of the sun in degrees, numbers or arrays along time; by default those
        of the data (``sun_azimuth``, ``sun_elevation``) or, without these, 150 and 50.

    Returns
    -------
    Dataset or DataArray
        In the form of the input. Pixels without cloud and shadow, or without data, are
        unchanged. Additional variables, or coordinates of a DataArray:
        ``cloud_opacity``, the share of the ground's light that the clouds block at 0.5 um, and
        ``cloud_shadow``, the share of direct sunlight that they block from the ground (float32).

    Raises
    ------
    DataError
        Unusable cover, seed, kind or sun.
    MissingBandError
        If there are no optical bands.
    UnitsError
        If the reflectance cannot be read without guessing.

    See Also
    --------
    simulate_scene : a completely simulated scene.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> from xcloudfree.datasets.simulate import simulate_truth
    >>> sky = simulate_clouds(simulate_truth((64, 64)), cover=0.25, seed=1)
    >>> float((sky.cloud_opacity > 0).mean())
    0.25
    """
    scene = read(ds)
    optical = scene.need_bands("simulate_clouds()")
    stored_as = optical.dtype()
    check_kind(kind, _CALL)
    template = scene.template()
    head = tuple(template.sizes[d] for d in scene.lead)
    axes, metres = _grid(scene)
    work = _Clouds(
        optical.names, scene.calibration(), scene.shape, _images(scene, cover, seed, sun, head),
        kind, axes, metres, scene.level == "BOA",
    )  # fmt: skip
    stored = optical.planes()
    like = next((a for a in stored if not isinstance(a, np.ndarray)), stored[0])
    like = like if like.ndim == len(head) + 2 else like[..., 0, :, :]
    numbers = np.arange(int(np.prod(head))).reshape(head)[..., None, None]
    rows, columns = (np.arange(n) for n in scene.shape)
    data, opacity, shadow = map_windows(
        work,
        [stored, *([spread(n, like)] for n in (rows[:, None], columns[None, :], numbers))],
        [Output(stored_as, len(optical.names)), *[Output(np.dtype("float32"))] * 2],
        lead=len(head),
    )
    attrs = {"units": "1", "seed": seed, "kind": kind}
    truth = {
        name: labelled(scene, values, name, attrs | {"long_name": words})
        for name, values, words in (
            ("cloud_opacity", opacity, "opacity of simulated clouds at 0.5 um"),
            ("cloud_shadow", shadow, "share of direct sunlight that simulated clouds take away"),
        )
    }
    return restore(scene, data, truth)


def _grid(scene: Scene) -> tuple[Ground, float]:
    """Metres on the grid; without coordinates, pixels of 10 m with north at the top."""
    try:
        east, north, metres = ground(scene)
    except GridError:
        return ((0.0, 0.1), (-0.1, 0.0)), 10.0
    return (east, north), metres


def _images(
    scene: Scene, cover: Any, seed: Any, sun: Shadow, head: tuple[int, ...]
) -> tuple[_Image, ...]:
    """Parameters of each image, in order of the leading dimensions."""
    shares = np.atleast_1d(np.asarray(cover, float))
    axis = scene.lead.index("time") if "time" in scene.lead else None
    along = int(np.prod(head)) if axis is None else head[axis]
    usable = shares.shape in ((1,), (along,)) and bool(((shares >= 0) & (shares <= 1)).all())
    if not usable or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DataError(
            f"cover={cover!r} must be a share of 0 to 1, or one for each of {along} dates, and "
            f"seed={seed!r} a whole number of at least 0",
            fix=f"call {_CALL}",
        )
    try:
        angles = sun_angles(scene, sun)
    except DataError:
        if sun is not None:
            raise
        angles = np.broadcast_to(np.array(SUN), (*head, 2))
    angles = np.where(np.isfinite(angles), angles, SUN)
    stamps, coords = np.arange(along), scene.template().coords
    if axis is not None and "time" in coords and coords["time"].dtype.kind == "M":
        stamps = coords["time"].values.astype("datetime64[s]").astype(np.int64)
    out = []
    for flat, place in enumerate(np.ndindex(head)):
        step = flat if axis is None else place[axis]
        others = () if axis is None else place[:axis] + place[axis + 1 :]
        azimuth, elevation = angles[place].tolist()
        key = (int(seed), 5, int(stamps[step]) % 2**63, *others)
        out.append(_Image(key, float(shares[step % shares.size]), (azimuth, elevation)))
    return tuple(out)


@dataclass(frozen=True)
class _Image:
    """One sky: its seeds, its cover, and the position of the sun."""

    key: tuple[int, ...]
    cover: float
    sun: tuple[float, float]


@dataclass(frozen=True)
class _Clouds(Stage):
    """Clouds over one block."""

    bands: tuple[str, ...]
    calibration: Calibration
    shape: tuple[int, int]
    images: tuple[_Image, ...]
    kind: CloudKind
    axes: Ground
    metres: float
    surface: bool

    def __call__(
        self,
        stored: NDArray[Any],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        numbers: NDArray[np.int64],
        *,
        core: tuple[slice, slice],
    ) -> tuple[NDArray[Any], ...]:
        """Stored numbers (*lead, band, y, x), opacity and shadow (*lead, y, x) of a block."""
        out = stored.copy()
        opacity, shadow = (np.zeros(numbers.shape, np.float32) for _ in range(2))
        for place in np.ndindex(numbers.shape[:-2]):
            image = self.images[int(numbers[place][0, 0])]
            origin = int(rows[place][0, 0]), int(columns[place][0, 0])
            clear = self.calibration.decode(stored[place])
            if image.cover == 0:
                continue
            with _ONE_AT_A_TIME:  # parallel blocks of one date draw its sky once
                sky = _sky(image, self.shape, self.kind, self.axes, self.metres)
            field = lay(
                sky, clear, self.bands, origin=origin, resolution=self.metres, surface=self.surface
            )
            changed = (field.opacity > 0) | (field.shadow > 0)
            encoded = self.calibration.encode(field.cloudy, out.dtype)
            use = changed & np.isfinite(clear)
            out[place] = np.where(use, encoded, stored[place])
            opacity[place], shadow[place] = field.opacity, field.shadow
        return out, opacity, shadow


_ONE_AT_A_TIME = Lock()


@lru_cache(maxsize=2)
def _sky(
    image: _Image, shape: tuple[int, int], kind: CloudKind, axes: Ground, metres: float
) -> Sky:
    """The sky of one image, kept for the next block."""
    rng = np.random.default_rng(list(image.key))
    return draw_sky(
        rng, shape, cover=image.cover, kind=kind, sun=image.sun, axes=axes, resolution=metres
    )
