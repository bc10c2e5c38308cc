"""The parts of kernel fusion against closed forms, and the whole against its promises."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from xcloudfree.core.windows import ranks
from xcloudfree.datasets import simulate_scene
from xcloudfree.methods.kernel_fusion import (
    embedding,
    engine,
    gate,
    layout,
    mixing,
    predictors,
    prior,
    process,
    ridge,
)
from xcloudfree.methods.kernel_fusion.products import product
from xcloudfree.methods.kernel_fusion.sample import merged
from xcloudfree.methods.kernel_fusion.settings import Settings

SMALL = Settings(side=32, margin=8, support=100, rows=6000)


def series(shape=(70, 90), dates=7, bands=3, seed=0):
    """A window of correlated ground with its own light on each date, cloud and radar holes."""
    rng = np.random.default_rng(seed)
    fields_shape = [-(-n // 10) for n in shape]
    fields = rng.normal(size=(4, *fields_shape)).repeat(10, 1).repeat(10, 2)
    fields = fields[:, : shape[0], : shape[1]]
    days = np.sort(rng.choice(120, dates, replace=False)).astype(float)
    mixed = rng.normal(size=(dates, bands, 4)) * 0.02 + rng.normal(size=(bands, 4)) * 0.05
    values = 0.3 + np.einsum("tbk,kyx->tbyx", mixed, fields)
    values += rng.normal(size=values.shape) * 0.003
    clear = np.kron(rng.random((dates, *fields_shape)) > 0.35, np.ones((10, 10))) > 0
    clear = clear[:, : shape[0], : shape[1]]
    radar = -12 + fields[None, :2] + rng.normal(size=(dates, 2, *shape))
    radar[2] = np.nan
    radar[4, 0, 10:30] = -np.inf
    values[~np.broadcast_to(clear[:, None], values.shape)] = 0.9
    return engine.Window(values.astype("float32"), clear, radar.astype("float32"), days)


def cut(window, rows, columns):
    """Some rows and columns of a window, which know where they lie."""
    planes = (a[..., rows, columns] for a in window[:3])
    return engine.Window(*planes, window.days, (rows.start, columns.start))


def whole(window, settings=SMALL, **options):
    """Sample, statistics and answer of a window that is the whole scene."""
    core = np.ones(window.clear.shape[1:], bool)
    targets = prior.Targets(window.days, np.arange(len(window.days)))
    sample = engine.sample_of(window, core, settings)
    statistics = prior.conclude(sample, window.days, targets, SMALL.mix)
    wanted = ~window.clear
    found = engine.predict(window, wanted, targets, statistics, settings, **options)
    return sample, statistics, found


def test_the_mean_and_deviation_are_those_of_the_formula():
    """Rasmussen and Williams 2006, equations 2.25 and 2.26, in float64 from plain distances."""
    rng = np.random.default_rng(1)
    place = rng.uniform(0, 40, (60, 2))
    spectrum, course = rng.normal(size=(60, 5)), rng.normal(size=(60, 4))
    settings = Settings()
    y = rng.normal(size=(45, 3))

    def squared(a):
        return ((a[:, None] - a[None]) ** 2).sum(-1)

    space = 1 / (1 + squared(place) / settings.wide_range**2)
    k = settings.constant + settings.wide * space**2 + settings.narrow * space**8
    k += settings.spectral / (1 + squared(spectrum) / 5 / settings.spectral_range)
    k += settings.temporal / (1 + squared(course) / 4 / settings.temporal_range)
    own = k[:45, :45] + settings.noise * np.eye(45)
    expected = k[45:, :45] @ np.linalg.solve(own, y)
    left = np.diag(k)[45:] - np.sum(k[45:, :45].T * np.linalg.solve(own, k[:45, 45:]), 0)
    scale = np.sqrt((y * np.linalg.solve(own, y)).sum(0) / 45)
    deviation = np.sqrt(left + settings.noise)[:, None] * scale

    tensors = (torch.tensor(a, dtype=torch.float32) for a in (place, spectrum, course))
    points = process.points(*tensors, settings)
    fitted = process.fit(points.part(slice(0, 45)), torch.tensor(y).float(), settings)
    mean, spread = process.predict(fitted, points.part(slice(45, 60)), settings, deviation=True)
    np.testing.assert_allclose(mean, expected, atol=2e-4)
    np.testing.assert_allclose(spread, deviation, rtol=2e-3)


def test_alike_pixels_do_not_break_the_factorisation():
    settings = Settings(noise=1e-9)
    zeros = torch.zeros(30, 2)
    points = process.points(zeros, torch.zeros(30, 3), torch.zeros(30, 4), settings)
    fitted = process.fit(points, torch.ones(30, 2), settings)
    mean, _ = process.predict(fitted, points, settings)
    np.testing.assert_allclose(mean, 1, atol=1e-2)


def test_ridge_equals_least_squares_on_stacked_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 2))
    z = np.concatenate([np.ones((60, 1)), x], axis=1)
    found = ridge.solved(torch.tensor(z.T @ z), torch.tensor(z.T @ y), 0.3)
    centred, scale = x - x.mean(0), x.std(0)
    rows = np.concatenate([centred / scale, np.sqrt(0.3 * 60) * np.eye(4)])
    right = np.concatenate([y - y.mean(0), np.zeros((4, 2))])
    slope = np.linalg.lstsq(rows, right, rcond=None)[0] / scale[:, None]
    np.testing.assert_allclose(found[1:], slope, atol=1e-10)
    np.testing.assert_allclose(found[0], y.mean(0) - x.mean(0) @ slope, atol=1e-10)


def test_predictors_are_the_line_and_the_weighted_means_of_the_dates_outside_the_gap():
    days = np.array([0.0, 10.0, 14.0, 20.0, 50.0])
    values = torch.tensor([0.1, 0.2, 0.9, 0.4, 0.5]).reshape(5, 1, 1)
    pixels = predictors.Pixels(
        values, torch.ones(5, 1, dtype=torch.bool), torch.zeros(5, 1, dtype=torch.bool), days, 1
    )
    reader = predictors.Reader(pixels)
    nothing = torch.zeros(1, 0), torch.zeros(1, dtype=torch.bool)
    rows = reader.rows(14.0, 0.0, *nothing)
    np.testing.assert_allclose(rows.z[0, 1], 0.2 + 0.4 * 0.2, rtol=1e-6)
    weight = np.exp(-np.array([14, 4, 6, 36]) / 12)
    mean = (weight * [0.1, 0.2, 0.4, 0.5]).sum() / weight.sum()
    np.testing.assert_allclose(rows.z[0, 2], mean, rtol=1e-6)
    assert rows.wait.tolist() == [4.0]
    rows = reader.rows(14.0, 6.0, *nothing)
    np.testing.assert_allclose(rows.z[0, 1], 0.1 + 14 / 50 * 0.4, rtol=1e-6)
    assert rows.wait.tolist() == [14.0]
    assert reader.rows(14.0, 40.0, *nothing).wait.isinf().all()


def test_a_hole_in_radar_takes_the_mean_around_it_and_a_missing_pass_the_nearest():
    radar = torch.full((3, 2, 9, 9), -10.0)
    radar[0, 0, 4, 4] = -torch.inf
    radar[1] = torch.nan
    radar[2] = -20.0
    planes, heard = predictors.local_means(radar)
    assert heard.all(1).tolist() == [True, False, True]
    np.testing.assert_allclose(planes[0], -10, rtol=1e-6)
    days = np.array([0.0, 4.0, 40.0])
    filled, known = predictors.filled_passes(planes, heard, days)
    assert known.all()
    np.testing.assert_allclose(filled[1], -10, rtol=1e-6)
    assert not predictors.nearest_pass(planes, heard, days, 20.0)[1].any()


def test_the_sample_is_the_same_whatever_the_blocks():
    window = series()
    core = np.ones(window.clear.shape[1:], bool)
    one = engine.sample_of(window, core, SMALL)
    parts = []
    for rows in (slice(0, 33), slice(33, 70)):
        for columns in (slice(0, 1), slice(1, 90)):
            wide = [slice(max(0, s.start - 4), s.stop + 4) for s in (rows, columns)]
            part = cut(window, *wide)
            inner = np.zeros(part.clear.shape[1:], bool)
            start = [s.start - w.start for s, w in zip((rows, columns), wide, strict=True)]
            inner[start[0] :, start[1] :][
                : rows.stop - rows.start, : columns.stop - columns.start
            ] = True
            parts.append(engine.sample_of(part, inner, SMALL))
    for order in (parts, parts[::-1]):
        for name, expected in one._asdict().items():
            found = getattr(merged(order, len(one.rank)), name)
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_ranks_of_different_places_differ():
    assert len(np.unique(ranks((5, 7), (200, 300)))) == 200 * 300


def test_a_sample_holds_no_pixel_that_was_never_clear():
    clear = np.zeros((2, 2, 3), bool)
    clear[1, 1, 0] = True
    values = np.ones((2, 1, 2, 3), np.float32)
    window = engine.Window(values, clear, None, np.arange(2.0))
    found = engine.sample_of(window, np.ones((2, 3), bool), SMALL)
    assert found.place.tolist() == [[1, 0]]


def test_the_radar_of_the_sample_is_that_of_the_scene():
    window = series((30, 40))
    sample = engine.sample_of(window, np.ones((30, 40), bool), SMALL)
    planes, heard = predictors.local_means(torch.from_numpy(window.backscatter))
    where = sample.place @ [40, 1]
    np.testing.assert_array_equal(sample.heard, heard[:, where])
    np.testing.assert_allclose(sample.radar, planes[:, where], rtol=1e-5)
    assert not sample.heard.all()


@pytest.mark.parametrize("origin", [(0, 0), (37, 70)])
def test_weights_of_tiles_sum_to_one(origin):
    total = np.zeros((80, 61))
    low = [o - o % 32 - 4 if o else 0 for o in origin]
    shape = [o + n - s for o, n, s in zip(origin, total.shape, low, strict=True)]
    total = np.zeros(shape)
    for area, tiles in layout.panels(tuple(low), np.ones(shape, bool), 3, SMALL):
        for tile in tiles:
            total[area][tile.core] += tile.weight.numpy()
    inner = total[tuple(slice(8 if lo else 0, None) for lo in low)]
    np.testing.assert_allclose(inner, 1, atol=1e-6)


@pytest.mark.parametrize(
    "blocks", [(20, 45), pytest.param((32, 32), marks=pytest.mark.slow), (1, 90)]
)
def test_the_answer_does_not_depend_on_the_blocks(blocks):
    """Within rounding: the products of matrices of other sizes add up in another order."""
    window = series((150, 120), seed=3)
    targets = prior.Targets(window.days, np.arange(len(window.days)))
    _, statistics, expected = whole(window, deviation=True)
    reach = engine.reach(SMALL)
    size = window.clear.shape[1:]
    for start in [(0, 0), (blocks[0], blocks[1] // 2), (150 - blocks[0], 120 - blocks[1])]:
        stop = [a + b for a, b in zip(start, blocks, strict=True)]
        wide = [
            slice(max(0, a - reach), min(n, b + reach))
            for a, b, n in zip(start, stop, size, strict=True)
        ]
        part = cut(window, *wide)
        wanted = np.zeros_like(part.clear)
        inner = tuple(
            slice(a - w.start, b - w.start) for a, b, w in zip(start, stop, wide, strict=True)
        )
        wanted[:, *inner] = ~part.clear[:, *inner]
        found = engine.predict(part, wanted, targets, statistics, SMALL, deviation=True)
        outer = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        for name in ("mean", "deviation"):
            asked = wanted[:, None, *inner]
            here = np.where(asked, getattr(found, name)[..., *inner], 0)
            there = np.where(asked, getattr(expected, name)[..., *outer], 0)
            np.testing.assert_allclose(here, there, atol=2e-5)


def test_the_values_of_hidden_pixels_have_no_influence():
    window = series()
    results = []
    for cloud in (0.9, np.nan):
        seen = np.where(window.clear[:, None], window.reflectance, np.float32(cloud))
        results.append(whole(window._replace(reflectance=seen))[2].mean)
    np.testing.assert_array_equal(*results)


def test_every_hidden_pixel_is_filled_and_counted_where_radar_is_missing():
    window = series()
    *_, found = whole(window)
    hidden = ~window.clear
    assert np.isfinite(found.mean[np.broadcast_to(hidden[:, None], found.mean.shape)]).all()
    *_, mute = whole(window._replace(backscatter=None))
    np.testing.assert_array_equal(mute.silent, hidden.sum((1, 2)))
    assert np.isfinite(mute.mean[np.broadcast_to(hidden[:, None], mute.mean.shape)]).all()


def test_a_day_without_an_acquisition_lies_between_its_neighbours():
    window = series(dates=7)
    window = window._replace(clear=np.ones_like(window.clear))
    ramp = np.broadcast_to(window.days[:, None, None, None] / 1000, window.reflectance.shape)
    window = window._replace(reflectance=(0.1 + ramp).astype("float32"))
    core = np.ones(window.clear.shape[1:], bool)
    day = (window.days[3] + window.days[4]) / 2
    targets = prior.Targets(np.array([day]), np.array([-1]))
    statistics = prior.conclude(
        engine.sample_of(window, core, SMALL), window.days, targets, SMALL.mix
    )
    found = engine.predict(window, core[None], targets, statistics, SMALL)
    np.testing.assert_allclose(found.mean, 0.1 + day / 1000, atol=0.01)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_date_of_nothing_but_missed_cloud_leaves_the_prior():
    window = series((64, 64), dates=12, seed=5)
    targets = prior.Targets(window.days, np.arange(12))
    for value in (0.9, 0.55):
        clouded = window.reflectance.copy()
        clouded[6] = value
        spoilt = window._replace(reflectance=clouded)
        gated = whole(spoilt)[2]
        alone = spoilt._replace(clear=window.clear & (np.arange(12) != 6)[:, None, None])
        sample = engine.sample_of(alone, np.ones((64, 64), bool), SMALL)
        statistics = prior.conclude(sample, window.days, targets, SMALL.mix)
        expected = engine.predict(alone, ~window.clear, targets, statistics, SMALL)
        np.testing.assert_allclose(gated.mean[6], expected.mean[6], atol=1e-6)
        assert gated.aside[6] == gated.visible[6] == window.clear[6].sum()


@pytest.fixture
def tile():
    """Residuals of ground (y, x, band), visible pixels, and residuals of darkness."""
    rng = np.random.default_rng(0)
    residuals = torch.tensor(rng.normal(size=(64, 64, 4)) * 0.6).float()
    visible = torch.ones(64, 64, dtype=torch.bool)
    visible[20:40, 20:40] = False
    return residuals, visible, torch.tensor([-3.0, -4.0, -9.0, -7.0]).expand_as(residuals)


def believed(residuals, visible, dark):
    ring = torch.tensor(gate.rings(visible.numpy()))
    middle = gate.median_band(residuals)
    return gate.believed(residuals, middle, visible, ring, torch.eye(4) / 4, dark), ring


def test_the_gate_believes_ground_and_no_bright_rim(tile):
    residuals, visible, dark = tile
    kept, ring = believed(*tile)
    assert kept[visible].float().mean() > 0.95
    rim = visible & (ring <= 2)
    spoilt = torch.where(rim[..., None], residuals + 2, residuals)
    kept, _ = believed(spoilt, visible, dark)
    assert not kept[rim].any()
    assert kept[ring > 4].float().mean() > 0.95


def test_the_gate_finds_shade_too_weak_for_any_other_test(tile):
    """The same change counts towards darkness, and not in a direction of the ground's own."""
    residuals, visible, dark = tile
    place = torch.zeros_like(visible)
    place[46:56, 4:20] = True
    away = torch.tensor([4.0, -3.0, 0.0, 0.0])
    assert not (away * dark[0, 0]).sum()
    for change, found in ((dark[0, 0], True), (-dark[0, 0], False), (away, False)):
        change = 2.2 * change / change.norm()
        spoilt = torch.where(place[..., None], residuals + change, residuals)
        kept, _ = believed(spoilt, visible, dark)
        assert kept[place].float().mean() < 0.1 if found else kept[place].float().mean() > 0.85
        assert kept[visible & ~place].float().mean() > 0.9


def test_shade_on_visible_ground_is_found_in_a_series():
    window = series((64, 64), dates=12, seed=5)
    place = np.s_[40:60, 4:24]
    clear = window.clear[6][place]
    shaded = window.reflectance.copy()
    shaded[6][:, *place] *= 0.85
    before, after = (whole(window._replace(reflectance=r))[2] for r in (window.reflectance, shaded))
    assert before.doubted[6][place][clear].mean() < 0.1
    assert after.doubted[6][place][clear].mean() > 0.6


def test_courses_recover_a_low_rank_series_with_gaps():
    rng = np.random.default_rng(2)
    scores, loadings = rng.normal(size=(900, 3)), rng.normal(size=(3, 12, 2))
    full = np.einsum("nk,ktb->tnb", scores, loadings)
    clear = rng.random((12, 900)) > 0.3
    values = torch.tensor(np.where(clear[..., None], full, 0)).float()
    found = embedding.courses(values, torch.tensor(clear), np.arange(12.0), Settings(scores=3))
    standard = (full - full.mean(1, keepdims=True)) / full.std((0, 1))
    error = found.filled.numpy().reshape(900, 12, 2).transpose(1, 0, 2) - standard
    assert np.abs(error[~clear]).mean() < 0.25 * np.abs(standard[~clear]).mean()


@pytest.mark.parametrize("day", [4.0, 4.5, 0.0])
def test_scores_are_projections_of_the_other_dates_in_units_of_their_deviation(day):
    """Against plain sums in float64, with all dates other than the day in two groups."""
    rng = np.random.default_rng(3)
    settings = Settings(scores=3, nearest=4)
    clear = torch.tensor(rng.random((12, 900)) > 0.2)
    values = torch.tensor(rng.normal(size=(12, 900, 2))).float() * clear[..., None]
    found = embedding.courses(values, clear, np.arange(12.0), settings)
    which = torch.arange(3, 900, 7)
    told = embedding.scores(found, day, which, settings).double().numpy()
    far = np.abs(np.arange(12.0) - day)
    near = np.sort([d for d in np.argsort(far, kind="stable") if far[d] > 0][:4])
    rest = [d for d in range(12) if far[d] > 0 and d not in near]
    table = found.filled.double().numpy().reshape(900, 12, 2)
    close = table[:, near].reshape(900, -1)
    basis = np.linalg.eigh(close[::5].T @ close[::5])[1][:, :-4:-1]
    loadings = found.loadings.double().numpy().reshape(12, 2, 3)[rest].reshape(-1, 3)
    parts = []
    for part in (close @ basis, table[:, rest].reshape(900, -1) @ loadings):
        parts.append(part / part[::5].std(0).max())
    signs = np.sign((told[:, :3] * parts[0][which]).sum(0))
    np.testing.assert_allclose(told[:, :3] * signs, parts[0][which], atol=2e-3)
    np.testing.assert_allclose(told[:, 3:], parts[1][which], atol=2e-4)


@pytest.mark.parametrize("share", ["median", "line"])
def test_a_wholly_hidden_date_takes_its_shares_of_median_and_interpolation(share):
    """Shares of 1 against numpy; the gaps of these dates are shorter than a month."""
    days = np.arange(8) * 4.0
    seen = np.random.default_rng(4).normal(0.3, 0.02, (8, 3, 40, 40)).astype("float32")
    clear = np.ones((8, 40, 40), bool)
    clear[3] = False
    window = engine.Window(seen, clear, None, days)
    _, statistics, _ = whole(window)
    mix = np.zeros_like(statistics.mix)
    mix[..., ["median", "line"].index(share)] = 1
    targets = prior.Targets(days, np.arange(8))
    found = engine.predict(window, ~clear, targets, statistics._replace(mix=mix), SMALL)
    expected = (seen[2] + seen[4]) / 2 if share == "line" else np.median(seen[clear[:, 0, 0]], 0)
    np.testing.assert_allclose(found.mean[3], expected, atol=1e-6)


def guesses_of(median_share, line_share, dates=40, seed=0):
    """Dates whose truth is a known mixture of regression, median and line, with noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.3, 0.05, (dates, 50, 2))
    clear = torch.ones(dates, 50, dtype=torch.bool)
    days = np.arange(dates) * 5.0
    pixels = predictors.Pixels(torch.tensor(values).float(), clear, ~clear, days, 2)
    which = torch.arange(50)
    found = []
    for day in days:
        mean, line, noise = torch.tensor(rng.normal(0.3, 0.05, (3, 50, 2))).float()
        middle = mixing.median(pixels, day, 0.0, which)
        truth = mean + median_share * (middle - mean) + line_share * (line - mean)
        found.append(mixing.Guess(
            day, which, line, mean, torch.full((50, 2), 0.1), truth + 0.1 * (noise - 0.3)
        ))  # fmt: skip
    return pixels, found


@pytest.mark.parametrize("truth", [(0.4, 0.2), (0.0, 0.6), (0.0, 0.0)])
def test_a_series_tells_how_much_median_and_interpolation_help(truth):
    found = mixing.shares(*guesses_of(*truth), 0.0, usual=0.35)
    np.testing.assert_allclose(found[1], truth, atol=0.11)


def test_few_dates_leave_the_usual_share():
    pixels, guesses = guesses_of(0.9, 0.0)
    assert abs(float(mixing.shares(pixels, guesses[:1], 0.0, 0.3)[1, 0]) - 0.3) < 0.2
    np.testing.assert_allclose(mixing.shares(pixels, [], 0.0, 0.3), [[0, 0], [0.3, 0]])
    without = mixing.shares(pixels, guesses, 1000.0, 0.3)  # no date is near enough
    assert float(without[0, 0]) == 0


def scene(**options):
    return simulate_scene((24, 24), **({"dates": 5, "cover": 0.4, "seed": 2} | options))


def hidden_of(ds, how):
    """Masks that leave little."""
    hidden = ds.B02 > 2  # nothing
    if how == "no clear pixel":
        return ~hidden
    if how == "one clear pixel":
        hidden = ~hidden
        hidden[1, 3, 4] = False
        return hidden
    hidden[:, 5:15, 5:20] = True
    hidden[0, 5:15, 5:20] = False
    return hidden


@pytest.mark.parametrize(
    "how",
    ["no clear pixel", "one clear pixel", "equal dates", "constant band", "same times", "plain"],
)
@pytest.mark.parametrize("radar", [True, False])
def test_bad_input_is_filled_or_said_to_be_unreconstructable(how, radar):
    ds = scene()
    if how == "equal dates":
        ds = ds.isel(time=[0] * 5).assign_coords(time=ds.time)
    if how == "constant band":
        ds["B03"] = ds.B03 * 0 + 0.1
    if how == "same times":
        ds = ds.assign_coords(time=ds.time.values[[0, 0, 2, 2, 4]])
    if not radar:
        ds = ds.drop_vars(["VV", "VH"])
    hidden = hidden_of(ds, how)
    out = ds.cloudfree.reconstruct(model="kernel-fusion", mask=hidden, uncertainty=True)
    expected = 3 if how == "no clear pixel" else 2
    assert set(np.unique(out.provenance.values[hidden.values])) == {expected}
    if expected == 2:
        assert np.isfinite(out.B02.values).all()
        assert (out.B02_std.values[hidden.values] > 0).all()


@pytest.mark.parametrize("radar", [["VV", "VH"], ["VV"], []])
def test_one_date_alone_is_filled_from_space_and_radar(radar):
    ds = scene(dates=2).isel(time=0, drop=True)
    ds = ds.drop_vars([v for v in ("VV", "VH") if v not in radar])
    hidden = ds.B02 > 2
    hidden[8:14, 6:15] = True
    out = ds.cloudfree.reconstruct(model="kernel-fusion", mask=hidden)
    assert (out.provenance.values[hidden.values] == 2).all()
    assert np.isfinite(out.B04.values).all()


def test_more_bands_than_pixels():
    ds = scene(dates=3).isel(y=slice(0, 3), x=slice(0, 3))
    hidden = ds.B02 > 2
    hidden[1, :2] = True
    out = ds.cloudfree.reconstruct(model="kernel-fusion", mask=hidden)
    assert (out.provenance.values[hidden.values] == 2).all()


def test_torch_is_loaded_no_sooner_than_needed():
    code = "import sys, xcloudfree as x; x.methods.get('kernel-fusion')"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("inner", [5, 24, 25, 118, 512])
def test_rows_of_a_product_do_not_depend_on_the_others(inner):
    """Neither on their number nor on where a row stands: to the bit, on this machine."""
    generator = torch.Generator().manual_seed(0)
    for width in (1, 2, 3, 5, 7, 10, 13, 20):
        rows = torch.randn(1200, inner, generator=generator)
        columns = torch.randn(inner, width, generator=generator)
        for right in (columns, columns.mT.contiguous().mT):
            found = product(rows, right)
            torch.testing.assert_close(found, rows @ right, rtol=1e-4, atol=1e-4)
            for start, stop in ((1, 1200), (3, 259), (17, 1100), (64, 65), (7, 21), (9, 26)):
                torch.testing.assert_close(
                    product(rows[start:stop].clone(), right), found[start:stop], rtol=0, atol=0
                )
