"""Simulated clouds: what must hold whatever is drawn, and likeness to real clouds."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import ndimage

from xcloudfree.core.bands import S2_BANDS
from xcloudfree.datasets.cloud_layers import BAND, draw_layers, thick_reflectance
from xcloudfree.datasets.clouds import CloudField, offset_on, simulate_clouds
from xcloudfree.datasets.fields import block_mean, power_law_noise

KINDS = ("mixed", "thick", "thin")
INDEX = {band: place for place, band in enumerate(S2_BANDS)}


def ground(size: int = 128, value: float = 0.12) -> np.ndarray:
    noise = np.random.default_rng(7).uniform(0.9, 1.1, (13, size, size))
    return (value * noise).astype(np.float32)


def draw(seed: int, **options) -> CloudField:
    arguments = {"cover": 0.4, "bands": S2_BANDS} | options
    return simulate_clouds(ground(), rng=np.random.default_rng(seed), **arguments)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_pixels_without_cloud_and_shadow_are_untouched(kind, seed):
    clear = ground()
    sky = simulate_clouds(clear, rng=np.random.default_rng(seed), cover=0.3, kind=kind)
    free = (sky.opacity == 0) & (sky.shadow == 0)
    np.testing.assert_array_equal(sky.cloudy[:, free], clear[:, free])
    assert (sky.cloudy[:, sky.opacity > 0.05] != clear[:, sky.opacity > 0.05]).any(0).all()
    dry = simulate_clouds(clear, rng=np.random.default_rng(seed), cover=0.3, shadow=False)
    assert not dry.shadow.any()
    open_sky = dry.opacity == 0
    assert open_sky.mean() == pytest.approx(0.7, abs=1e-3)
    np.testing.assert_array_equal(dry.cloudy[:, open_sky], clear[:, open_sky])


def test_the_input_is_left_alone_and_no_cover_changes_nothing():
    clear = ground()
    kept = clear.copy()
    sky = simulate_clouds(clear, rng=np.random.default_rng(0), cover=0.0)
    np.testing.assert_array_equal(sky.cloudy, kept)
    assert not sky.opacity.any()
    assert not sky.shadow.any()
    simulate_clouds(clear, rng=np.random.default_rng(0), cover=0.9)
    np.testing.assert_array_equal(clear, kept)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cover", [0.02, 0.25, 0.6, 1.0])
def test_the_cover_is_the_requested_one(kind, cover):
    for seed in range(4):
        sky = draw(seed, cover=cover, kind=kind)
        assert (sky.opacity > 0).mean() == pytest.approx(cover, abs=2 / sky.opacity.size)
        assert sky.opacity.max() < 1


def test_edges_are_soft_and_thick_is_thicker_than_thin():
    opacity = {kind: [draw(seed, kind=kind).opacity for seed in range(12)] for kind in KINDS}
    mean = {kind: np.mean([a[a > 0].mean() for a in found]) for kind, found in opacity.items()}
    assert mean["thick"] > 2 * mean["thin"]
    faint = [((a > 0) & (a < 0.2)).sum() / (a > 0).sum() for a in opacity["thick"]]
    assert np.mean(faint) > 0.1


def test_equal_generators_give_equal_clouds_and_others_do_not():
    first, second, other = draw(5), draw(5), draw(6)
    np.testing.assert_array_equal(first.cloudy, second.cloudy)
    np.testing.assert_array_equal(first.shadow, second.shadow)
    assert not np.array_equal(first.cloudy, other.cloudy)
    assert first.cloudy.dtype == first.opacity.dtype == first.shadow.dtype == np.float32


@pytest.mark.parametrize("seed", range(6))
def test_thin_cloud_is_more_transparent_at_longer_wavelengths(seed):
    """Two grounds under one sky: their difference is what still comes through."""
    bright, dark = np.full((13, 96, 96), 0.3, np.float32), np.full((13, 96, 96), 0.1, np.float32)
    options = {"cover": 0.7, "kind": "thin", "shadow": False, "native": False}
    a = simulate_clouds(bright, rng=np.random.default_rng(seed), **options)
    b = simulate_clouds(dark, rng=np.random.default_rng(seed), **options)
    through = (a.cloudy - b.cloudy) / 0.2
    cloud = a.opacity > 0.02
    assert (through[INDEX["B12"]] >= through[INDEX["B02"]] - 1e-5)[cloud].all()
    assert through[INDEX["B12"]][cloud].mean() > through[INDEX["B02"]][cloud].mean()
    green = 0.5 * (1 - through[INDEX["B02"]] + 1 - through[INDEX["B03"]])
    np.testing.assert_allclose(green[cloud], a.opacity[cloud], atol=0.02)  # B02, B03 span 0.5 um


def test_band_10_sees_high_clouds_only():
    rng = np.random.default_rng(0)
    place = S2_BANDS.index("B10")
    low, high = [], []
    for _ in range(300):
        for layer in draw_layers(rng, "mixed"):
            value = thick_reflectance(layer, 3.2, S2_BANDS)[place]
            (low if layer.height < 3 else high if layer.height > 6 else []).append(value)
    assert max(low) < 0.01
    assert min(high) > 0.05
    assert max(high) < 0.75


@pytest.mark.parametrize(
    ("sun", "rows", "columns"),
    [((180, 45), -100, 0), ((90, 45), 0, -100), ((0, 45), 100, 0), ((270, 30), 0, 173.205)],
)
def test_a_shadow_falls_away_from_the_sun_at_height_over_tangent(sun, rows, columns):
    """One blob at 1000 m, 10 m pixels: the centroid moves by h / tan(elevation)."""
    y, x = np.mgrid[:512, :512]
    blob = np.exp(-((y - 256) ** 2 + (x - 256) ** 2) / 200).astype(np.float32)
    offset = offset_on(1000.0, sun, ((0.0, 0.1), (-0.1, 0.0)))
    moved = ndimage.shift(blob, offset, order=1, mode="grid-wrap")
    centre = [float((axis * moved).sum() / moved.sum()) - 256 for axis in (y, x)]
    assert centre == pytest.approx([rows, columns], abs=0.02)


@pytest.mark.parametrize("azimuth", [120.0, 200.0])
def test_shadows_in_the_scene_are_the_clouds_displaced(azimuth):
    """Find the displacement by correlation; all seeds with a single low layer."""
    found = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rng.uniform(2.4, 4.4)
        layers = draw_layers(rng, "thick")
        reach = layers[0].height * 1e3 / math.tan(math.radians(60)) / 10
        if len(layers) > 1 or reach > 110:
            continue
        found += 1
        sky = simulate_clouds(
            np.full((1, 256, 256), 0.1, np.float32), rng=np.random.default_rng(seed),
            cover=0.3, bands=("B04",), kind="thick", sun=(azimuth, 60.0),
        )  # fmt: skip
        rows = round(reach * math.cos(math.radians(azimuth)))
        columns = round(-reach * math.sin(math.radians(azimuth)))
        assert rows < 0  # the sun stands in the south

        def overlap(dy: int, dx: int, sky: CloudField = sky) -> float:
            taken = 1 - (1 - sky.opacity) ** 2
            a = taken[max(0, -dy) : 256 - max(0, dy), max(0, -dx) : 256 - max(0, dx)]
            b = sky.shadow[max(0, dy) : 256 + min(0, dy), max(0, dx) : 256 + min(0, dx)]
            return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

        assert overlap(rows, columns) > 0.98
        assert overlap(rows, columns) > overlap(-rows, -columns) + 0.1
    assert found >= 3


def test_shadow_darkens_blue_least_and_clouds_lie_over_it():
    sky = draw(1, kind="thick", cover=0.3)
    clear = ground()
    dark = (sky.opacity == 0) & (sky.shadow > 0.4)
    assert dark.any()
    ratio = (sky.cloudy[:, dark] / clear[:, dark]).mean(1)
    assert ratio[INDEX["B02"]] > ratio[INDEX["B04"]] > ratio[INDEX["B08"]] > ratio[INDEX["B11"]]
    assert ratio.min() > 0.1
    covered = (sky.opacity > 0.6) & (sky.shadow > 0.4)
    assert (sky.cloudy[INDEX["B04"]][covered] > 0.3).all()


def test_missing_values_stay_missing_and_nothing_else_does():
    clear = ground()
    clear[:, 10:20, 10:20] = np.nan
    sky = simulate_clouds(clear, rng=np.random.default_rng(2), cover=0.8)
    np.testing.assert_array_equal(np.isnan(sky.cloudy), np.isnan(clear))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 53)])
def test_any_size_and_any_choice_of_bands(shape):
    clear = np.full((3, *shape), 0.1, np.float64)
    sky = simulate_clouds(
        clear, rng=np.random.default_rng(0), cover=0.5, bands=("B04", "B03", "B02")
    )
    assert sky.cloudy.shape == (3, *shape)
    assert np.isfinite(sky.cloudy).all()


def test_noise_has_the_spectrum_that_was_asked_for():
    noise = power_law_noise(np.random.default_rng(0), (512, 512), slope=3.0, scale=1e4)
    power = np.abs(np.fft.fft2(noise)) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    bands = [power[(radius > f) & (radius < 1.1 * f)].mean() for f in (0.02, 0.2)]
    assert math.log10(bands[0] / bands[1]) == pytest.approx(3.0, abs=0.15)
    assert abs(noise.mean()) < 1e-6
    np.testing.assert_allclose(block_mean(noise, 4)[::4, ::4].mean(), noise.mean(), atol=1e-6)


def test_a_training_patch_takes_milliseconds():
    clear = ground(256)
    rng = np.random.default_rng(0)
    spans = []
    for _ in range(7):
        start = time.process_time()
        simulate_clouds(clear, rng=rng, cover=0.5)
        spans.append(time.process_time() - start)
    assert min(spans) < 0.06


TRIPLETS = {
    581: 0.21, 746: 0.6, 4065: 0.67, 4287: 0.41, 4294: 0.94,
    4433: 0.74, 4438: 0.31, 5254: 0.41, 5278: 0.62, 5349: 0.11,
}  # fmt: skip


def _cloudy_pixels(x: np.ndarray) -> np.ndarray:
    """Pixels that the printed mask calls cloud (eq. 13 to 16), written out once more."""
    b = dict(zip(S2_BANDS, x, strict=True))
    score = np.minimum.reduce(
        [
            (b["B02"] - 0.1) / 0.4, (b["B01"] - 0.1) / 0.2, (b["B10"] + b["B01"] - 0.15) / 0.05,
            (b["B04"] + b["B03"] + b["B02"] - 0.2) / 0.6,
        ]
    )  # fmt: skip
    snow = (b["B03"] - b["B11"]) / np.maximum(b["B03"] + b["B11"], 1e-6)
    return x[:, (score > 0.2) & (snow <= 0.6)]


def test_spectra_are_those_of_real_clouds(data_root):
    """Over ten training patches: mean, quartiles and spread of cloudy pixels, band by band."""
    rasterio = pytest.importorskip("rasterio")

    def read(patch: int, name: str) -> np.ndarray:
        with rasterio.open(data_root / "triplets" / str(patch) / name) as source:
            return source.read().astype(np.float32) / 1e4

    rng = np.random.default_rng(0)
    real, simulated = [], []
    for patch, share in TRIPLETS.items():
        real.append(_cloudy_pixels(read(patch, "s2_cloudy.tif")))
        clear = read(patch, "s2_cloudfree.tif")
        for _ in range(8):
            sky = simulate_clouds(clear, rng=rng, cover=min(1, share + 0.1))
            simulated.append(_cloudy_pixels(sky.cloudy))
    a, b = np.concatenate(real, 1), np.concatenate(simulated, 1)
    wide = np.array([band not in ("B09", "B10") for band in S2_BANDS])
    np.testing.assert_allclose(b.mean(1)[wide], a.mean(1)[wide], rtol=0.15)
    np.testing.assert_allclose(b.std(1)[wide], a.std(1)[wide], rtol=0.25)
    quartiles = [np.percentile(c, (25, 50, 75), axis=1)[:, wide] for c in (a, b)]
    np.testing.assert_allclose(quartiles[1], quartiles[0], rtol=0.3)
    assert b.mean(1)[INDEX["B09"]] == pytest.approx(a.mean(1)[INDEX["B09"]], rel=0.35)
    assert b.mean(1)[INDEX["B10"]] == pytest.approx(a.mean(1)[INDEX["B10"]], abs=0.012)
    assert set(BAND) == set(S2_BANDS)


def _shaded(cloudy: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Medians of cloudy / clear in deep shadow on land, band by band, against clear ground."""
    from scipy import ndimage

    ratio = cloudy / np.maximum(clear, 1e-3)
    cloud = cloudy[INDEX["B02"]] > 0.16
    land = (clear[INDEX["B08"]] > 0.15) & ~ndimage.binary_dilation(cloud, iterations=3)
    deep = land & (ratio[INDEX["B08"]] < 0.55) & (ratio[INDEX["B11"]] < 0.55)
    free = land & (ratio[INDEX["B08"]] > 0.8)
    return np.median(ratio[:, deep], 1) / np.median(ratio[:, free], 1)


def test_shadow_is_as_deep_and_as_coloured_as_that_of_real_clouds(data_root):
    """Four training patches of which half is free; the clear date is another one."""
    rasterio = pytest.importorskip("rasterio")
    real, simulated = [], []
    for patch in (4287, 5254, 5278, 5349):
        pair = []
        for name in ("s2_cloudy.tif", "s2_cloudfree.tif"):
            with rasterio.open(data_root / "triplets" / str(patch) / name) as source:
                pair.append(source.read().astype(np.float32) / 1e4)
        real.append(_shaded(*pair))
        for seed in range(3):
            sky = simulate_clouds(
                pair[1], rng=np.random.default_rng(seed), cover=0.3, kind="thick", sun=(150, 40)
            )
            simulated.append(_shaded(sky.cloudy, pair[1]))
    a, b = np.nanmedian(real, 0), np.nanmedian(simulated, 0)
    bands = [INDEX[n] for n in S2_BANDS if n != "B10"]
    np.testing.assert_allclose(b[bands], a[bands], atol=0.15)


def test_shadow_takes_more_of_surface_reflectance_in_the_blue_where_the_air_shines():
    clear = np.full((13, 64, 64), 0.2, np.float32)
    skies = [
        simulate_clouds(clear, rng=np.random.default_rng(2), cover=0.4, kind="thick", surface=s)
        for s in (False, True)
    ]
    np.testing.assert_array_equal(skies[0].shadow, skies[1].shadow)
    dark = (skies[0].opacity == 0) & (skies[0].shadow > 0.3)
    assert dark.any()
    top, ground = (sky.cloudy[1][dark] for sky in skies)
    assert (ground < top - 0.01).all()
