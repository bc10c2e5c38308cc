"""Score and masks: equal to independent results pixel for pixel."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import rasterio
import xarray as xr
from scipy import ndimage

import xcloudfree as xcf
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.radiometry import Calibration
from xcloudfree.masks import compiled as mask_compiled
from xcloudfree.masks import scores as module
from xcloudfree.masks.scores import METHODS, code_mask, dilate, in_strips, paper_mask, score

TRIPLETS = ("4287", "6780", "316")
STORED = Calibration(1e-4, 0.0, 0)
NAMES = METHODS["score"].bands


def use(way, monkeypatch):
    """Make every mask go through numba, or none."""
    if way == "numba":
        pytest.importorskip("numba")
        monkeypatch.setattr(module, "WORTH", 0)
    else:
        monkeypatch.setattr(module, "compiled", lambda loop: None)


@pytest.fixture(params=["numpy", "numba"])
def _way(request, monkeypatch):
    use(request.param, monkeypatch)


@pytest.fixture(scope="module", params=TRIPLETS)
def case(request, data_root, goldens_root):
    with rasterio.open(data_root / "triplets" / request.param / "s2_cloudy.tif") as file:
        image = dict(zip(S2_BANDS, file.read(), strict=True))
    packed = np.load(goldens_root / "cloud_mask" / "masks.npz")

    def golden(name):
        bits = np.unpackbits(packed[f"{request.param}_{name}"])[: 256 * 256]
        return bits.reshape(256, 256).astype(bool)

    return image, golden


@pytest.mark.usefixtures("_way")
def test_integers_equal_the_exact_mask(case):
    image, golden = case
    np.testing.assert_array_equal(paper_mask(image, STORED), golden("paper_hard"))


@pytest.mark.usefixtures("_way")
def test_integers_with_an_offset_equal_the_exact_mask(case):
    image, golden = case
    shifted = {name: (values + 1000).astype("uint16") for name, values in image.items()}
    rule = Calibration(1e-4, -0.1, 0)
    np.testing.assert_array_equal(paper_mask(shifted, rule), golden("paper_hard"))


@pytest.mark.usefixtures("_way")
def test_floats_equal_it_except_on_ties(case):
    image, golden = case
    decoded = {name: STORED.decode(values) for name, values in image.items()}
    differs = paper_mask(decoded, Calibration()) != golden("paper_hard")
    assert not (differs & ~golden("paper_tie")).any()


def test_reference_code_equals_it_except_near_its_threshold(case):
    image, golden = case
    differs = code_mask(image, STORED) != golden("code_cloud")
    assert not (differs & ~golden("code_near_threshold")).any()


@pytest.mark.usefixtures("_way")
def test_without_cirrus_it_differs_only_by_that_term(case):
    image, golden = case
    without = paper_mask(image, STORED, cirrus=False)
    assert (without >= golden("paper_hard")).all()
    third = image["B10"].astype(int) + image["B01"] > 1600
    np.testing.assert_array_equal(without & third, golden("paper_hard"))


@pytest.mark.parametrize("scale", [np.float32(1e-4), [1e-4], np.array([1e-4])])
def test_scales_as_files_store_them(case, scale):
    """float32 and one-element attributes mean the decimal that was written."""
    image, golden = case
    array = xr.DataArray(
        np.stack([v + 1000 for v in image.values()]).astype("uint16"),
        dims=("band", "y", "x"),
        coords={"band": list(S2_BANDS)},
        attrs={"scale_factor": scale, "add_offset": np.float32(-0.1)},
    )
    np.testing.assert_array_equal(xcf.masks.mask(array, "score").values, golden("paper_hard"))


def test_scales_without_a_short_decimal(case):
    image, golden = case
    rule = Calibration(1.2 / 65535, -0.1, 0)
    stored = {n: rule.encode(v * 1e-4, "uint16") for n, v in image.items()}
    differs = paper_mask(stored, rule) != golden("paper_hard")
    assert differs.mean() < 1e-2  # rounding to another step decides near the thresholds


@pytest.mark.usefixtures("_way")
def test_without_cirrus_the_other_terms_decide():
    """Score -0.25 by B01; with B10 as dark as B01 the term of both would say -1."""
    dark = bright(B01=0.05, B10=0.05)
    assert paper_mask(dark, Calibration(), -0.4, cirrus=False).all()
    assert not paper_mask(dark, Calibration(), -0.4).any()


def bright(**changes):
    values = {"B01": 0.4, "B02": 0.4, "B03": 0.4, "B04": 0.4, "B10": 0.4, "B11": 0.2} | changes
    return {name: np.full((1, 1), v) for name, v in values.items()}


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.75),  # B02: (.4 - .1) / .4
        ({"B01": 0.2, "B10": 0.1}, 0.5),  # B01: (.2 - .1) / .2
        ({"B01": 0.2, "B10": -0.04}, 0.2),  # B10 + B01: (.16 - .15) / .05
        ({"B03": 0.0, "B04": 0.0}, 1 / 3),  # B04 + B03 + B02: (.4 - .2) / .6
    ],
)
def test_score_is_the_smallest_of_four_terms(changes, expected):
    assert score(bright(**changes)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(("swir", "cloudy"), [(0.1, True), (0.0999, False)])
def test_snow_is_removed_above_an_index_of_point_six(swir, cloudy):
    stored = {n: np.rint(v * 1e4).astype("uint16") for n, v in bright(B11=swir).items()}
    assert paper_mask(stored, STORED).item() is cloudy  # (.4 - .1) / .5 = .6 exactly


@pytest.mark.usefixtures("_way")
def test_an_empty_sum_counts_as_index_zero():
    dark = {n: np.array([[1000]], "uint16") for n in bright()}  # reflectance 0 with the offset
    assert not paper_mask(dark, Calibration(1e-4, -0.1, 0)).any()


@pytest.mark.usefixtures("_way")
def test_no_data_is_not_cloud():
    assert not paper_mask(bright(B02=np.nan), Calibration()).any()
    stored = {n: np.full((1, 1), 65535, "uint16") for n in bright()}
    stored["B11"][:] = 30000
    assert paper_mask(stored, STORED).all()
    assert not paper_mask(stored, Calibration(1e-4, 0.0, 65535)).any()


def test_dilation_is_a_disk():
    point = np.zeros((9, 9), bool)
    point[4, 4] = True
    y, x = np.mgrid[-4:5, -4:5]
    np.testing.assert_array_equal(dilate(point, 3), y**2 + x**2 <= 9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 2), (40, 33)])
@pytest.mark.parametrize("radius", [1, 2, 7, 50])
def test_dilation_takes_what_lies_within_the_radius(shape, radius):
    for seed in range(8):
        mask = np.random.default_rng(seed).random(shape) < 0.05
        if mask.any():
            distance = ndimage.distance_transform_edt(~mask)
            np.testing.assert_array_equal(dilate(mask, radius), distance <= radius)


def exactly(bands, rule, threshold=0.2):
    """Eq. 13-16 in rational numbers, pixel by pixel."""
    scale, offset = Fraction(str(rule.scale)), Fraction(str(rule.offset))
    out = np.zeros(bands["B02"].shape, bool)
    for i in np.ndindex(out.shape):
        stored = {n: int(v[i]) for n, v in bands.items()}
        r = {n: v * scale + offset for n, v in stored.items()}
        terms = (
            (r["B02"] - Fraction("0.1")) / Fraction("0.4"),
            (r["B01"] - Fraction("0.1")) / Fraction("0.2"),
            (r["B10"] + r["B01"] - Fraction("0.15")) / Fraction("0.05"),
            (r["B04"] + r["B03"] + r["B02"] - Fraction("0.2")) / Fraction("0.6"),
        )
        total = r["B03"] + r["B11"]
        ndsi = (r["B03"] - r["B11"]) / total if total else 0
        out[i] = min(terms) > Fraction(str(threshold)) and ndsi <= Fraction("0.6")
        out[i] &= rule.nodata not in stored.values()
    return out


RULES = {
    "level-1C": STORED,
    "baseline 4": Calibration(1e-4, -0.1, 0),
    "halves": Calibration(0.0004, -0.0502, -5),
    "no short decimal": Calibration(1.2 / 65535, -0.1, None),
}


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("threshold", [0.2, 0.37])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32"])
@pytest.mark.parametrize("rule", RULES)
def test_integers_at_every_threshold_are_told_apart_exactly(rule, dtype, threshold):
    """Numbers a step around the limits of the terms and of snow, also with negative sums."""
    rule = RULES[rule]
    factor = {"uint8": 64, "int32": 1e-5, "uint32": 1e-5}.get(dtype, 1)
    rule = Calibration(rule.scale * factor, rule.offset, rule.nodata)
    rng, n = np.random.default_rng(1), 900
    zero = -rule.offset / rule.scale

    def near(reflectance):
        edge = (np.asarray(reflectance) - rule.offset) / rule.scale
        return np.floor(edge) + rng.integers(-1, 3, n)

    step = 1 / rule.scale
    blue = near(0.1 + 0.4 * threshold) + (rng.random(n) < 0.5) * rng.integers(0, 0.3 * step, n)
    aerosol = near(0.1 + 0.2 * threshold) + (rng.random(n) < 0.5) * rng.integers(0, 0.1 * step, n)
    cirrus = near(0.15 + 0.05 * threshold) + zero // 1 - aerosol
    green = near(0) + rng.integers(-0.03 * step - 3, 0.03 * step + 3, n)
    red = near(0.2 + 0.6 * threshold) + 2 * (zero // 1) - blue - green
    swir = (green + 3 * zero) // 4 + rng.integers(-1, 3, n)
    limits = np.iinfo(dtype)
    planes = (aerosol, blue, green, red, cirrus, swir)
    bands = {
        name: np.clip(plane, limits.min, min(limits.max, 2**31)).astype(dtype).reshape(30, 30)
        for name, plane in zip(NAMES, planes, strict=True)
    }
    expected = exactly(bands, rule, threshold)
    np.testing.assert_array_equal(paper_mask(bands, rule, threshold), expected)


def extremes(dtype, shape, seed=0):
    """Random numbers of a type, and those that comparisons and sums stumble over."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        special = [0, 1, limits.min, limits.max, *(min(v, limits.max) for v in (1400, 1800, 3200))]
        values = rng.integers(0, min(6000, limits.max), shape).astype(kind)
    else:
        large = np.finfo(kind).max
        special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 0.18, 0.14, 0.16, 0.3, large, -large, -9999]
        values = rng.uniform(-0.05, 0.9, shape).astype(kind)
    chosen = rng.random(shape) < 0.1
    values[chosen] = rng.choice(np.array(special, kind), chosen.sum())
    return values


@pytest.mark.parametrize("layout", ["whole", "window", "columns first", "byte order"])
@pytest.mark.parametrize("nodata", [None, 0, -9999])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64"])
def test_numba_gives_the_bits_that_numpy_gives(dtype, nodata, layout, monkeypatch):
    rule = Calibration(nodata=nodata) if "f" in dtype else Calibration(1e-4, -0.1, nodata)
    planes = [extremes(dtype, (517, 431), seed) for seed in range(6)]
    if layout == "window":
        planes = [plane[3:-5, 7:-2] for plane in planes]
    elif layout == "columns first":
        planes = [np.asfortranarray(plane) for plane in planes]
    elif layout == "byte order":
        planes = [plane.astype(plane.dtype.newbyteorder(">")) for plane in planes]
    bands = dict(zip(NAMES, planes, strict=True))
    results = {}
    for way in ("numpy", "numba"):
        with monkeypatch.context() as patch:
            use(way, patch)
            masks = [paper_mask(bands, rule, t, c) for t in (0.2, -0.4) for c in (True, False)]
            results[way] = [*masks, score(bands, calibration=rule)]
    for ours, other in zip(results["numba"], results["numpy"], strict=True):
        assert ours.shape == planes[0].shape
        assert ours.tobytes() == other.tobytes()
        assert np.nanmin(ours) < np.nanmax(ours)


@pytest.mark.usefixtures("_way")
def test_real_patches_equal_the_integer_form_of_the_paper(data_root):
    clouds = []
    for path in sorted(data_root.glob("triplets/*/s2_cloudy.tif")):
        with rasterio.open(path) as file:
            image = dict(zip(S2_BANDS, file.read(), strict=True))
        b = {name: values.astype(int) for name, values in image.items()}
        expected = (b["B02"] > 1800) & (b["B01"] > 1400) & (b["B10"] + b["B01"] > 1600)
        expected &= b["B04"] + b["B03"] + b["B02"] > 3200
        expected &= 5 * (b["B03"] - b["B11"]) <= 3 * (b["B03"] + b["B11"])
        expected &= np.all([b[name] != 0 for name in NAMES], axis=0)
        np.testing.assert_array_equal(paper_mask(image, STORED), expected)
        clouds.append(expected.mean())
    assert min(clouds) < 0.5 < max(clouds)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (7,), (2, 3, 4)])
def test_any_shape_is_kept(shape):
    bands = {name: np.full(shape, 0.4) for name in NAMES}
    for plane in (paper_mask(bands, Calibration()), score(bands) > 0.2):
        assert plane.shape == shape
        assert plane.all()


@pytest.mark.usefixtures("_way")
def test_bands_of_different_types_mean_their_numbers():
    mixed = bright(B11=0.2) | {"B10": np.full((1, 1), 1, "uint16")}
    assert paper_mask(mixed, Calibration()).all()
    row = {name: np.full((1, 3), 0.4) for name in NAMES} | {"B02": np.array([[0.05], [0.4]])}
    assert paper_mask(row, Calibration()).tolist() == [[False] * 3, [True] * 3]


def test_strips_cover_everything_once():
    for array in (np.zeros((50, 40)), np.zeros((50, 80))[:, ::2], np.zeros((1, 2000))):
        for pixels in (1, 39, 41, 999, 10**6):
            out, sizes = np.zeros(array.shape), []

            def count(parts, strip, sizes=sizes):
                sizes.append(strip.size)
                strip += 1 + parts[0]

            in_strips(count, [array], out, pixels)
            assert (out == 1).all()
            assert max(sizes) <= max(pixels, array.shape[1])


@pytest.fixture
def _forgotten():
    mask_compiled._compile.cache_clear()
    yield
    mask_compiled._compile.cache_clear()


@pytest.mark.usefixtures("_forgotten")
def test_without_numba_numpy_does_it(case, monkeypatch):
    image, golden = case
    monkeypatch.setitem(sys.modules, "numba", None)  # makes importing it fail
    monkeypatch.setattr(module, "WORTH", 0)
    assert mask_compiled.compiled(mask_compiled.mark_pixels) is None
    np.testing.assert_array_equal(paper_mask(image, STORED), golden("paper_hard"))


@pytest.mark.usefixtures("_forgotten")
def test_numba_told_not_to_compile_is_left_alone(monkeypatch):
    numba = pytest.importorskip("numba")
    assert mask_compiled.compiled(mask_compiled.mark_pixels) is not None
    mask_compiled._compile.cache_clear()
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert mask_compiled.compiled(mask_compiled.mark_pixels) is None


@pytest.mark.usefixtures("_forgotten")
def test_a_full_disk_does_not_stop_numba(case, monkeypatch):
    pytest.importorskip("numba")
    from numba.core.caching import Cache

    def full(*arguments):
        raise OSError(28, "No space left on device")

    image, golden = case
    monkeypatch.setattr(Cache, "load_overload", lambda *arguments: None)
    monkeypatch.setattr(Cache, "save_overload", full)
    monkeypatch.setattr(module, "WORTH", 0)
    np.testing.assert_array_equal(paper_mask(image, STORED), golden("paper_hard"))


def test_numba_is_not_loaded_before_a_mask_needs_it():
    code = (
        "import sys, numpy as np, xcloudfree as xcf\n"
        "from xcloudfree.masks import scores as m\n"
        "bands = {n: np.full((8, 8), 0.4) for n in m.METHODS['score'].bands}\n"
        "assert m.paper_mask(bands, m.Calibration()).all()\n"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
