"""Tiles equal the whole, bit for bit, for every network whose reach ends somewhere."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xcloudfree as xcf
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.models import VARIANTS
from xcloudfree.reconstruct.network import ALONE_FROM

pytestmark = pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning")

BANDS = list(S2_BANDS)
SMALL = {
    "carf-tiny": {},
    "carf-small-f4": {"features": 32, "growth": 32, "stages": 1, "cross": "gate+dfg"},
    "glfcr": {"features": 32, "growth": 32, "layers": 2, "stages": 1, "heads": 4},
    "dsen2cr": {"features": 32, "blocks": 3},
    "simulation-fusion-gan-resnet": {"features": 32, "blocks": 1},
    "distortion-coding": {"features": 32, "units": 2},
    "diffusion-tiny": {"blocks": 2, "steps": 2},
}
"""One small network per architecture that has a reach; sizes of 32 as in the large ones."""


def test_every_architecture_with_a_reach_is_here():
    with torch.device("meta"):  # no numbers for the weights of large networks
        specs = {name: xcf.models.create(name).spec for name in VARIANTS}
    finite = {n for n, spec in specs.items() if spec.reach is not None}
    # tests/models/test_bandwise.py and test_series_attention.py compare these over chunks
    of_series = {"carf-bandwise", "series-attention"}
    assert {VARIANTS[n][0] for n in finite} - of_series == {VARIANTS[name][0] for name in SMALL}


def random_model(name):
    """All weights random, those that begin at zero as well."""
    model = xcf.models.create(name, **SMALL[name])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            if not parameter.any():
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def noise(dates, height, width):
    rng = np.random.default_rng([dates, height, width])
    attrs = {"units": "1", "processing_level": "TOA"}
    s2 = rng.uniform(0.02, 0.6, (dates, 13, height, width)).astype("float32")
    s1 = rng.normal(-14, 4, (dates, 2, height, width)).astype("float32")
    return xr.Dataset(
        {
            "s2": (("time", "band", "y", "x"), s2, attrs),
            "s1": (("time", "polarisation", "y", "x"), s1, {"units": "dB"}),
        },
        coords={"band": BANDS, "polarisation": ["VV", "VH"]},
    )


def whole(model, ds):
    """The network once per date, over everything, without windows or dask."""
    x, r = model.normalise(ds.s2.values, ds.s1.values)
    with torch.inference_mode():
        images = [model.network(a, b) for a, b in zip(x.split(1), r.split(1), strict=True)]
    return model.denormalise(torch.cat(images))


@pytest.fixture(scope="module", params=SMALL)
def model(request):
    return random_model(request.param)


def cuts(total):
    """Ways to cut an axis into chunks."""
    return st.lists(st.integers(1, total), min_size=0, max_size=3, unique=True).map(
        lambda edges: tuple(np.diff(sorted({0, total, *edges})).tolist())
    )


@pytest.mark.parametrize("examples", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_any_chunks_equal_the_whole_bit_for_bit(model, examples):
    @settings(
        max_examples=examples, deadline=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(st.data())
    def check(data):
        check_chunks(model, data)

    check()


def check_chunks(model, data):
    height, width = data.draw(st.integers(9, 200)), data.draw(st.integers(9, 200))
    dates = data.draw(st.integers(1, 2))
    ds = noise(dates, height, width)
    chunks = {"y": data.draw(cuts(height)), "x": data.draw(cuts(width)), "time": 1}
    options = {"model": model, "blend": None, "device": "cpu"}
    lazy = ds.chunk(chunks).cloudfree.reconstruct(**options).s2.values
    np.testing.assert_array_equal(lazy, ds.cloudfree.reconstruct(**options).s2.values)
    if height * width > ALONE_FROM:
        np.testing.assert_array_equal(lazy, whole(model, ds))
