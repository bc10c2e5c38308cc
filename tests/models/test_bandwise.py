"""The network of other dates that takes each band by itself, and its shipped weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import xcloudfree as xcf
from tests.builders import blobs, make_series
from tests.checks import no_computes
from xcloudfree.exceptions import ModelError
from xcloudfree.methods.leave_out import without
from xcloudfree.methods.medians import windowed
from xcloudfree.methods.temporal_context import scaled_planes

pytestmark = pytest.mark.filterwarnings(
    "ignore::xcloudfree.exceptions.UntrainedWarning",
    "ignore::xcloudfree.exceptions.DemonstrationWarning",
    "ignore:.*does not reconstruct.*:UserWarning",
)
BANDS = ("B02", "B8A", "B11")


@pytest.fixture(scope="module")
def series():
    return make_series()[[*BANDS, "VV", "VH"]]


def shaken(seed=0, **options):
    """A network whose every weight is drawn."""
    options = {"optical_bands": BANDS, "features": 8, "growth": 4, "stages": 1} | options
    model = xcf.models.create("carf-bandwise", **options)
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=drawn))
    return model


def given(model, seed=0, size=32):
    rng = torch.Generator().manual_seed(seed)
    bands = len(model.spec.optical_bands)
    planes = scaled_planes(model.spec.context, bands)
    optical, sar, context = (
        torch.rand(1, k, size, size, generator=rng) for k in (bands, 2, planes)
    )
    mask = (torch.rand(1, 1, size, size, generator=rng) > 0.5).float()
    return optical, sar, {"mask": mask, "context": context}


@pytest.mark.parametrize(
    ("moved", "method"), [(False, "area-regression"), (True, "area-regression+nearby")]
)
def test_untrained_it_says_what_the_regression_says(series, moved, method):
    model = xcf.models.create("carf-bandwise", optical_bands=BANDS, moved=moved)
    # its input is clipped to what reflectance can be, so a dark neighbour may count a little less
    ours = series.cloudfree.reconstruct(model=model, mask=blobs())
    theirs = series.cloudfree.reconstruct(model=method, mask=blobs())
    for band in BANDS:
        known = theirs[band].notnull()
        np.testing.assert_allclose(
            ours[band].where(known),
            theirs[band].clip(0, 1).where(known),
            atol=2e-4 if moved else 2e-5,
        )


@pytest.mark.parametrize("cross", ["none", "gate"])
def test_bands_in_another_order_give_the_same_in_that_order(cross):
    model, order = shaken(cross=cross), [2, 0, 1]
    optical, sar, more = given(model)
    parts, start = [], 0
    for name in model.spec.context:
        width = scaled_planes((name,), 3)
        part = more["context"][:, start : start + width]
        places = [3 * block + k for block in range(2 if name == "regression" else 1) for k in order]
        parts.append(torch.cat([part[:, places], part[:, len(places) :]], 1))
        start += width
    with torch.inference_mode():
        plain = model.network(optical, sar, **more)
        other = model.network(
            optical[:, order], sar, mask=more["mask"], context=torch.cat(parts, 1)
        )
    torch.testing.assert_close(other, plain[:, order], atol=1e-5, rtol=0)
    assert (plain - plain[:, order]).abs().max() > 0.01


def test_what_clouds_show_below_them_has_no_influence():
    model = shaken()
    optical, sar, more = given(model)
    garbage = torch.where(more["mask"] > 0.5, 0.77, optical)
    with torch.inference_mode():
        plain = model.network(optical, sar, **more)
        assert torch.equal(model.network(garbage, sar, **more), plain)
        brighter = torch.where(more["mask"] > 0.5, optical, optical + 0.1)
        assert not torch.equal(model.network(brighter, sar, **more), plain)


def test_chunks_give_the_same_bits_and_with_the_sums_of_a_regression_nearly(series):
    alone = shaken(context=("before", "after", "median"), base="context")
    for model, compare in (
        (alone, xr.testing.assert_equal),
        (shaken(), lambda a, b: xr.testing.assert_allclose(a, b, rtol=0, atol=1e-5)),
    ):
        whole = series.cloudfree.reconstruct(model=model, mask=blobs())
        chunked = series.chunk(time=3, y=20, x=17)
        with no_computes():
            lazy = chunked.cloudfree.reconstruct(model=model, mask=blobs())
        compare(lazy.compute(scheduler="sync"), whole)


def test_the_same_weights_read_other_bands():
    model = shaken()
    more = model.for_bands(["B03", "B04", "B05", "B12"])
    assert more.spec.optical_bands == ("B03", "B04", "B05", "B12")
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(more.network.state_dict()[name], tensor)
    for wrong in ([], ["blue"], ["B02", "B02"]):
        with pytest.raises(ModelError, match="for_bands"):
            model.for_bands(wrong)
    with pytest.raises(ModelError, match="belong to its bands"):
        xcf.models.load("carf-small-demo", optical_bands=["B02"])
    untrained = xcf.models.load("carf-tiny", optical_bands=["B02", "B8A"])
    assert untrained.spec.optical_bands == ("B02", "B8A")
    assert not untrained.spec.trained


def test_the_median_leaves_out_the_gap_and_what_is_hidden(series):
    from xcloudfree.methods.leave_out import Place

    rng = np.random.default_rng(0)
    values = rng.random((9, 2, 6, 5), dtype=np.float32)
    clear, days = rng.random((9, 6, 5)) > 0.2, np.arange(9) * 6.0
    radar = rng.random((9, 2, 6, 5), dtype=np.float32)
    place = Place(values, clear, radar, radar, days)
    hidden = np.ones((2, 6, 5), bool)
    found = without(place, [2, 6], hidden, [0.0, 15.0], ("median",))
    here = clear.copy()
    here[[2, 6]] = False
    wanted = np.zeros_like(here)
    wanted[2] = True
    expected = windowed(values, here, days, wanted)[2]
    np.testing.assert_array_equal(found[0], expected)
    near = np.abs(days - days[6]) <= 15
    for y, x in np.ndindex(6, 5):
        shown = here[:, y, x] & ~near & (np.abs(days - days[6]) <= 30)
        if shown.any():
            middle = np.median(values[shown, :, y, x], axis=0)
            np.testing.assert_allclose(found[1, :, y, x], middle, atol=1e-6)


def test_a_copy_that_was_cut_off_is_written_again(tmp_path, monkeypatch):
    from xcloudfree.models.cache import reference, slot

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = shaken(seed=5)
    ref, _ = reference(model)
    Path(ref.source).write_bytes(Path(ref.source).read_bytes()[:-100])
    again, _ = reference(model)
    assert slot(again, "cpu").model.digest == model.digest
