"""STARFM and the coarse images it is given."""

import time

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import xcloudfree as xcf
from xcloudfree.core.box_sums import box_sums, fading_sums
from xcloudfree.methods.starfm import REACH, WINDOW, coarse_pair, fading_mean, starfm


def images(seed, size=24, pairs=1, bands=2):
    """Fine images with two kinds of land, and coarse ones that changed unevenly."""
    rng = np.random.default_rng(seed)
    land = ndimage.gaussian_filter(rng.normal(size=(size, size)), 2) > 0
    fine = 0.1 + 0.2 * land + rng.normal(0, 0.01, (pairs, bands, size, size))
    then = ndimage.uniform_filter(fine, (0, 0, 5, 5))
    now = then[0] + ndimage.gaussian_filter(rng.normal(0, 0.3, (bands, size, size)), (0, 3, 3))
    return fine.astype("float32"), then.astype("float32"), now.astype("float32")


def one_by_one(fine, then, now, window, classes, uncertainty):
    """The published equations, pixel by pixel, for one band."""
    half, (pairs, height, width) = window // 2, fine.shape
    out = np.full((height, width), np.nan)
    tolerance = np.sqrt(2) * uncertainty
    for y in range(height):
        for x in range(width):
            cells = [
                (v, u)
                for v in range(max(y - half, 0), min(y + half + 1, height))
                for u in range(max(x - half, 0), min(x + half + 1, width))
            ]
            votes, values = [], []
            for k in range(pairs):
                spread = np.std([fine[k, v, u] for v, u in cells])
                for v, u in cells:
                    s, t = abs(fine[k, v, u] - then[k, v, u]), abs(then[k, v, u] - now[v, u])
                    s_c, t_c = abs(fine[k, y, x] - then[k, y, x]), abs(then[k, y, x] - now[y, x])
                    alike = abs(fine[k, v, u] - fine[k, y, x]) <= 2 * spread / classes
                    if not (alike and s < s_c + tolerance and t < t_c + tolerance):
                        continue
                    d = 1 + np.hypot(v - y, u - x) / (window / 2)
                    votes.append(1 / (s * t * d))
                    values.append(fine[k, y, x] + now[v, u] - then[k, v, u])
            out[y, x] = np.average(values, weights=votes)
    return out


@pytest.mark.parametrize("pairs", [1, 2])
def test_it_equals_the_equations_pixel_by_pixel(pairs):
    fine, then, now = images(1, size=12, pairs=pairs)
    options = {"window": 7, "classes": 3, "uncertainty": 0.004}
    out = starfm(fine, then, now, **options)
    for band in range(2):
        double = [a.astype(float) for a in (fine[:, band], then[:, band], now[band])]
        expected = one_by_one(*double, *options.values())
        np.testing.assert_allclose(out[band], expected, atol=2e-5)


def test_where_nothing_changed_it_returns_the_fine_image():
    fine, then, _ = images(2)
    np.testing.assert_array_equal(starfm(fine, then, then[0]), fine[0])


@pytest.mark.parametrize("change", [0.03, -0.05])
@pytest.mark.parametrize("pairs", [1, 2])
def test_a_uniform_change_is_added_as_it_is(change, pairs):
    fine, then, _ = images(3)
    fine, then = np.repeat(fine, pairs, 0), np.repeat(then, pairs, 0)
    out = starfm(fine, then, then[0] + np.float32(change))
    np.testing.assert_allclose(out, fine[0] + change, atol=1e-6)


def test_a_change_of_one_kind_of_land_stays_on_it():
    """Stripes of two kinds; the coarse images see them pure in the middle of each only."""
    land = np.tile(np.repeat([0.1, 0.4], 24), 2)[None] * np.ones((48, 1))
    later = land + np.where(land > 0.2, -0.1, 0.0)
    then, now = (ndimage.uniform_filter(a, 9, mode="nearest") for a in (land, later))
    out = starfm(land[None, None], then[None, None], now[None])[0]
    coarse = np.abs(land + now - then - later)
    unchanged = land < 0.2
    np.testing.assert_allclose(out[unchanged], later[unchanged], atol=1e-6)
    assert coarse[unchanged].max() > 0.04
    assert np.abs(out - later).mean() < 0.55 * coarse.mean()


def test_hidden_pixels_have_no_vote_and_the_other_pair_steps_in():
    fine, then, now = images(4, pairs=2)
    fine[0, :, :8] = np.nan
    out = starfm(fine, then, now)
    alone = starfm(fine[1:], then[1:], now)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[:, 0], alone[:, 0])
    first = starfm(fine[:1], then[:1], now)
    assert np.isnan(first[:, :8]).all()
    assert np.isfinite(first[:, 8:]).all()


@pytest.mark.parametrize(("size", "passes"), [(4, 1), (24, 1), (80, 5)])
def test_bands_of_a_small_block_are_predicted_together(size, passes, monkeypatch):
    """A pass takes thousands of calls of numpy, which cost more than the work of a few pixels."""
    from xcloudfree.methods import starfm as module

    calls, predict = [], module._predict
    monkeypatch.setattr(module, "_predict", lambda *a: calls.append(a) or predict(*a))
    fine, then, now = images(1, size=size, bands=5)
    out = starfm(fine, then, now, window=9)
    rows = -(-size // module.TILE[0])
    assert len(calls) == passes * rows
    for band in range(5):
        alone = starfm(fine[:, [band]], then[:, [band]], now[[band]], window=9)
        np.testing.assert_array_equal(out[[band]], alone)


def test_only_wanted_pixels_are_predicted():
    fine, then, now = images(5)
    wanted = np.zeros((24, 24), bool)
    wanted[3:9, 5:20] = True
    out = starfm(fine, then, now, wanted)
    assert np.isnan(out[:, ~wanted]).all()
    np.testing.assert_array_equal(out[:, wanted], starfm(fine, then, now)[:, wanted])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.tuples(*[st.integers(0, 39)] * 4), st.booleans())
def test_any_window_with_its_halo_equals_the_whole(seed, corners, hole):
    fine, then, now = images(seed, size=40)
    if hole:
        fine[:, :, 10:20, 15:25] = np.nan
    y0, y1, x0, x1 = *sorted(corners[:2]), *sorted(corners[2:])
    whole = starfm(fine, then, now, window=9)
    top, left = max(y0 - 4, 0), max(x0 - 4, 0)
    area = slice(top, y1 + 5), slice(left, x1 + 5)
    part = starfm(fine[..., *area], then[..., *area], now[:, *area], window=9)
    core = part[:, y0 - top : y1 + 1 - top, x0 - left : x1 + 1 - left]
    np.testing.assert_array_equal(core, whole[:, y0 : y1 + 1, x0 : x1 + 1])


def test_the_stated_reach_is_that_of_the_window():
    assert REACH == WINDOW // 2
    fine = np.full((1, 1, 1, 60), 0.2, np.float32)
    then, now = np.full_like(fine, 0.19), np.full((1, 1, 60), 0.2, np.float32)
    far = now.copy()
    far[..., 30] = 0.195
    changed = np.flatnonzero(starfm(fine, then, now) != starfm(fine, then, far))
    assert (changed.min(), changed.max()) == (30 - REACH, 30 + REACH)


def test_the_coarse_change_is_measured_on_pixels_that_both_dates_show():
    """Bright land under the cloud, dark land outside: no change must be read from that."""
    then = np.where(np.arange(80) < 40, 0.1, 0.5)[None, None] * np.ones((2, 30, 80))
    now, clear = then.copy(), np.arange(80)[None] * np.ones((30, 1)) < 40
    now[:, ~clear] = 0.9
    pair = coarse_pair(then, now, clear)
    np.testing.assert_allclose(pair.now, pair.then, atol=1e-6)
    moved = coarse_pair(then, now + 0.05, clear)
    np.testing.assert_allclose(moved.now - moved.then, 0.05, atol=1e-6)


def test_beyond_the_widest_window_there_is_no_coarse_image():
    then, clear = np.full((1, 3, 40), 0.2), np.zeros((3, 40), bool)
    clear[:, 0] = True
    pair = coarse_pair(then, then, clear, widths=(3, 11))
    assert np.isfinite(pair.now[..., :6]).all()
    assert np.isnan(pair.now[..., 6:]).all()


def test_near_pixels_weigh_most_in_a_fading_mean():
    row = np.full((1, 1, 41), np.nan)
    row[..., 0], row[..., 30] = 0.0, 1.0
    mean = fading_mean(row, (3, 21, 81))[0, 0]
    assert mean[1] < 0.01
    assert mean[29] > 0.99
    assert mean[15] == pytest.approx(0.5)


def test_any_window_of_the_coarse_images_equals_the_whole():
    fine, _, now = images(6, size=60)
    clear = ndimage.gaussian_filter(np.random.default_rng(6).normal(size=(60, 60)), 3) > 0
    widths, halo = (3, 7, 21), 10
    whole = coarse_pair(fine[0], now, clear, widths=widths)
    area = slice(25 - halo, 40 + halo), slice(30 - halo, 50 + halo)
    part = coarse_pair(fine[0][:, *area], now[:, *area], clear[area], widths=widths)
    for one, other in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one[:, halo:-halo, halo:-halo], other[:, 25:40, 30:50])


@pytest.mark.parametrize("width", [1, 5, 49])
def test_box_sums_equal_a_direct_correlation(width):
    plane = np.random.default_rng(0).normal(size=(33, 20))
    direct = ndimage.correlate(plane, np.ones((width, width)), mode="constant")
    np.testing.assert_allclose(box_sums(plane, width), direct, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), st.tuples(*[st.integers(0, 39)] * 4))
def test_any_window_of_the_sums_equals_the_whole_bit_for_bit(seed, corners):
    plane = np.random.default_rng(seed).normal(size=(40, 40)) * 10.0 ** (seed - 5)
    y0, y1, x0, x1 = *sorted(corners[:2]), *sorted(corners[2:])
    top, left = max(y0 - 10, 0), max(x0 - 10, 0)
    part = fading_sums(plane[top : y1 + 11, left : x1 + 11], (3, 7, 21))
    whole = fading_sums(plane, (3, 7, 21))[y0 : y1 + 1, x0 : x1 + 1]
    np.testing.assert_array_equal(
        part[y0 - top :, x0 - left :][: y1 + 1 - y0, : x1 + 1 - x0], whole
    )


def test_small_chunks_cost_little_more_than_the_whole_scene(chunks_together):
    ds = xcf.datasets.simulate_scene((24, 24), dates=4, cover=0.4, seed=1)[["B04", "B08", "B11"]]
    mask = ds.B04 > 0.3
    costs, found = {}, {}
    for _ in range(2):
        for side in (24, 8, 4):
            lazy, hidden = (a.chunk(y=side, x=side) for a in (ds, mask))
            start = time.process_time()
            out = lazy.cloudfree.reconstruct(model="starfm", mask=hidden, shadow=False)
            found[side] = out.compute(scheduler="sync")
            cost = time.process_time() - start
            costs[side] = min(costs.get(side, np.inf), cost)
    assert (found[24].provenance == 2).any()
    for side in (8, 4):
        xr.testing.assert_identical(found[side], found[24])
        assert costs[side] < 2.5 * costs[24] + 0.2, costs  # 9 and 36 times before


@pytest.mark.slow
def test_a_large_scene_takes_less_than_five_minutes():
    fine, _, now = images(0, size=1024, bands=10)
    hidden = np.kron(np.random.default_rng(0).uniform(size=(8, 8)) < 0.4, np.ones((128, 128))) > 0
    start = time.process_time()
    pair = coarse_pair(fine[0], now, ~hidden)
    starfm(fine, pair.then[None], pair.now, hidden)
    assert time.process_time() - start < 300
