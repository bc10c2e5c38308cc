"""Real single dates to fit and judge networks on, and clear ones under pasted real clouds.

Needs the folder of real data that the variable XCLOUDFREE_DATA names. A case has a region: weights
are judged on regions that they were not fitted on.

Real clouds: SEN12MS-CR triplets with radar and pairs without. Their truth is a clear image of
another day, or with the day removed, this image moved by its mean difference on visible pixels.
Pasted clouds: clear images of these, Level-1C pairs and BigEarthNet patches under the clouds of
another region. Perfect masks: clear images of the triplets. The truth of both is exact. Masks are
those of the cloudy image, except for the perfect ones, so they miss thin rims as real masks do.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.enums import Resampling

import xcloudfree as xcf
from xcloudfree.masks.scores import score

DATA = Path(os.environ.get("XCLOUDFREE_DATA", "data"))
BANDS = {"TOA": xcf.bands.S2_BANDS, "BOA": tuple(b for b in xcf.bands.S2_BANDS if b != "B10")}
RADAR = ("VV", "VH")

TRIPLETS = {
    "A": (316, 581, 746), "B": (1302,), "C": (2729,), "D": (3968,),
    "E": (4065, 4287, 4294, 4433, 4438), "F": (5254, 5278, 5349), "H": (6553, 6780),
}  # fmt: skip
"""SEN12MS-CR triplets by region."""

NEVER_FITTED = ("fall 139",)
"""Regions that are judged only."""

CLEAR = {
    "terramind_282D_485L_3_3": (1000, 0),
    "terramind_38D_378R_2_3": (0, 0),
    "terramind_433D_629L_3_1": (1000, 1000),
    "terramind_609U_541L_3_0": (1000, 0),
    "terramind_637U_59R_1_3": (0, 0),
    "sen1floods11_Spain_7370579": (0, 0),
}
"""Clear pairs, each a region, and the offset of their numbers at Level-1C and at Level-2A."""

PASTED = 3
"""Skies laid over each clear image."""

NO_RADAR, SHIFTED, FARTHEST = 0.2, 0.25, 4
"""Shares of the pasted cases without radar and with shifted radar, and pixels of the shift."""


@dataclass(frozen=True)
class Case:
    """One date with clouds and its truth."""

    region: str
    name: str
    level: str  # TOA or BOA
    # "real" clouds over another day's truth, the same with the "day removed", "pasted" clouds, or a
    # "perfect" mask
    kind: str
    cloudy: NDArray[np.float32]  # reflectance (band, y, x) of BANDS[level]
    truth: NDArray[np.float32]
    radar: NDArray[np.float32] | None  # VV, VH in dB (polarisation, y, x)
    hidden: NDArray[np.bool_] | None = None  # the mask, if it is not that of the cloudy image
    bands: tuple[str, ...] = ()  # if they are not BANDS[level]

    @property
    def scene(self) -> xr.Dataset:
        """The cloudy date as xcloudfree reads it."""
        attrs = {"units": "1", "processing_level": self.level}
        pairs = zip(self.bands or BANDS[self.level], self.cloudy, strict=True)
        data = {band: (("y", "x"), plane, attrs) for band, plane in pairs}
        if self.radar is not None:
            radar = {"units": "dB", "quantity": "sigma0"}
            pairs = zip(RADAR, self.radar, strict=True)
            data |= {name: (("y", "x"), plane, radar) for name, plane in pairs}
        return xr.Dataset(data)

    def mask(self) -> NDArray[np.bool_]:
        """What is hidden: by default what the default mask of a single date finds."""
        return self.scene.cloudfree.mask("auto").values if self.hidden is None else self.hidden


def cases(level: str, seed: int = 0) -> Iterator[Case]:
    """All cases of a level, always in the same order."""
    real, rng = list(real_clouds()), np.random.default_rng([seed, 7])
    if level == "TOA":
        yield from real
    donors = [(one, sky) for one in real if 0.05 < (sky := opacity_of(one)).mean() < 0.98]
    clear = [replace(one, cloudy=one.truth) for one in real if level == "TOA"]
    for ground in (*clear_pairs(level), *clear):
        if ground.region in NEVER_FITTED:
            continue
        others = [d for d in donors if d[0].region not in (ground.region, *NEVER_FITTED)]
        for number in range(PASTED):
            donor, sky = others[int(rng.integers(len(others)))]
            yield pasted(ground, donor, sky, rng, number)
    if level == "TOA":
        yield from perfect_masks()
        yield from days_removed(real)


def perfect_masks() -> Iterator[Case]:
    """Clear images of the triplets, hidden under the s2cloudless mask of the cloudy ones."""
    for case in real_clouds():
        path = DATA / "triplets" / case.name / "cloud_mask_s2cloudless.tif"
        if path.exists() and 0.05 < (hidden := image(path)[0] > 0).mean() < 0.97:
            yield replace(case, kind="perfect", cloudy=case.truth, hidden=hidden)


def days_removed(real: list[Case]) -> Iterator[Case]:
    """Real clouds, where the truth agrees with the cloudy day on the mean of visible pixels."""
    for case in real:
        hidden = case.mask()
        if hidden.any() and (~hidden).mean() > 0.1:
            offset = (case.cloudy - case.truth)[:, ~hidden].mean(1)[:, None, None]
            yield replace(case, kind="day removed", truth=case.truth + offset, hidden=hidden)


def real_clouds() -> Iterator[Case]:
    """SEN12MS-CR patches: cloudy and clear Level-1C images of different days."""
    for region, numbers in TRIPLETS.items():
        for number in numbers:
            folder = DATA / "triplets" / str(number)
            images = (image(folder / f"{k}.tif") for k in ("s2_cloudy", "s2_cloudfree"))
            cloudy, truth = (one.astype("float32") * np.float32(1e-4) for one in images)
            yield Case(region, str(number), "TOA", "real", cloudy, truth, image(folder / "s1.tif"))
    for path in sorted((DATA / "sen12mscr").glob("*_s2_cloudy/*/*.tif")):
        season, roi, patch = path.stem.split("_")[1], path.parent.name.split("_")[-1], path.stem
        clear, radar = (Path(str(path).replace("s2_cloudy", kind)) for kind in ("s2", "s1"))
        cloudy, truth = (image(p).astype("float32") * np.float32(1e-4) for p in (path, clear))
        found = image(radar) if radar.exists() else None
        yield Case(f"{season} {roi}", patch, "TOA", "real", cloudy, truth, found)


def clear_pairs(level: str) -> Iterator[Case]:
    """Clear images with radar, each its own truth."""
    for name, offsets in CLEAR.items():
        folder, offset = DATA / "pairs_l1c" / name, offsets[level == "BOA"]
        path = folder / ("s2.tif" if level == "TOA" else "s2_l2a.tif")
        if not path.exists():
            continue
        (radar,) = folder.glob("s1_*.tif")
        yield _clear(name, name, level, image(path).astype("float32") - offset, image(radar))
    if level == "TOA":
        return
    with (DATA / "pairs_l2a_bigearthnet_v2/LIST.csv").open() as file:
        for row in csv.DictReader(file):
            folder = DATA / "pairs_l2a_bigearthnet_v2" / row["patch"]
            radar = image(folder / "s1.tif")[::-1]
            yield _clear(row["country"], row["patch"], level, twelve_bands(folder), radar)


def _clear(region: str, name: str, level: str, numbers: NDArray, radar: NDArray) -> Case:
    ground = np.clip(numbers, 1, None).astype("float32") * np.float32(1e-4)
    return Case(region, name, level, "pasted", ground, ground, radar.astype("float32"))


def twelve_bands(folder: Path) -> NDArray:
    """The bands of a BigEarthNet patch at 10 m, in order."""
    if (folder / "s2.tif").exists():
        return image(folder / "s2.tif")
    found: dict[str, NDArray] = {}
    for path in sorted(folder.glob("s2_*m.tif")):
        with rasterio.open(path) as file:
            planes = file.read(out_shape=(file.count, 120, 120), resampling=Resampling.bilinear)
            found |= dict(zip(file.descriptions, planes, strict=True))
    return np.stack([found[band] for band in BANDS["BOA"]])


def opacity_of(case: Case) -> NDArray[np.float32]:
    """Opacity of the clouds of a real Level-1C image, from its score (eq. 13-16)."""
    names = ("B01", "B02", "B03", "B04", "B10")
    planes = dict(zip(BANDS["TOA"], case.cloudy, strict=True))
    found = score({name: planes[name] for name in names}, cirrus=True)
    return np.clip(found, 0, 1).astype("float32")


def pasted(ground: Case, donor: Case, opacity: NDArray, rng: np.random.Generator, n: int) -> Case:
    """A clear image under the clouds of another, turned at random, with shadow and other radar."""
    turn = int(rng.integers(4)), bool(rng.integers(2))
    height, width = ground.truth.shape[-2:]
    sky, cloud = (turned(a, *turn) for a in (opacity[None], donor.cloudy))
    rows, columns = (np.arange(n) % m for n, m in zip((height, width), sky.shape[-2:], strict=True))
    sky, cloud = (a[:, rows][:, :, columns] for a in (sky, cloud))
    kept = [BANDS["TOA"].index(band) for band in BANDS[ground.level]]
    shift = tuple(int(s) for s in rng.integers(-30, 31, 2))
    shade = 1 - rng.uniform(0.3, 0.7) * np.roll(sky, shift, (1, 2))
    cloudy = (1 - sky) * ground.truth * shade + sky * cloud[kept]
    radar = ground.radar
    if rng.random() < NO_RADAR:
        radar = None
    elif radar is not None and rng.random() < SHIFTED:
        shift = tuple(int(s) for s in rng.integers(-FARTHEST, FARTHEST + 1, 2))
        radar = np.roll(radar, shift, (1, 2))
    return replace(
        ground, name=f"{ground.name} under {donor.name} {n}", kind="pasted",
        cloudy=cloudy.astype("float32"), radar=radar,
    )  # fmt: skip


def turned(a: NDArray, quarters: int, mirrored: bool) -> NDArray:
    """One of the eight symmetries of the square."""
    a = np.rot90(a, quarters, (-2, -1))
    return a[..., ::-1] if mirrored else a


def image(path: Path) -> NDArray:
    """All bands of a file."""
    with rasterio.open(path) as file:
        return file.read()
