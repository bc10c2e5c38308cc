"""From a checkpoint in the authors' naming to their own output, through the accessor."""

import numpy as np
import pytest
import torch
import xarray as xr

import xcloudfree as xcf
from tests.goldens import golden
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.normalisation import PRESETS
from xcloudfree.exceptions import MissingBandError, UnitsError

pytestmark = pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.SeamWarning")

CASES = [
    ("glfcr/size64", "glfcr", {}),
    ("carf_reference_code/size64", "carf-reference", {"mask_sar": False}),
    ("uncrtaints/mono_64", "uncrtaints", {}),
    ("dsen2cr/size48x80", "dsen2cr", {}),
    ("sar_opt_cgan/generator_256", "sar-opt-cgan", {}),
]


def planes(case):
    """Optical and backscatter inputs of a case, both (band, y, x)."""
    inputs = {name: values[0].numpy() for name, values in case.inputs().items()}
    if "optical" in inputs:
        return inputs["optical"], inputs["sar"]
    stack = inputs["sequence"][0] if "sequence" in inputs else inputs["input"]
    return stack[2:], stack[:2]


def physical(model, optical, sar):
    """The scene that normalisation turns into these planes."""
    preset = PRESETS[model.spec.normalisation]
    low, high = preset.sar_scale
    unit = (sar.astype("float64") - low) / (high - low)
    ends = np.array([preset.sar_range[p] for p in ("VV", "VH")])[:, :, None, None]
    decibel = ends[:, 0] + unit * (ends[:, 1] - ends[:, 0])
    reflectance = preset.to_reflectance(optical.astype("float64"))
    return xr.Dataset(
        {
            "s2": (
                ("band", "y", "x"),
                reflectance.astype("float32"),
                {"units": "1", "processing_level": "TOA"},
            ),
            "s1": (("polarisation", "y", "x"), decibel.astype("float32"), {"units": "dB"}),
        },
        coords={"band": list(S2_BANDS), "polarisation": ["VV", "VH"]},
    )


@pytest.mark.parametrize(("name", "architecture", "options"), CASES)
def test_a_checkpoint_gives_the_authors_output_through_the_accessor(
    tmp_path, name, architecture, options
):
    case = golden(name)
    path = tmp_path / "authors.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in case.state().items()}}, path)
    model = xcf.models.convert(path, architecture, **options)
    ds = physical(model, *planes(case))
    if model.spec.reach is not None:  # the others read all of it for every chunk
        ds = ds.chunk(y=64, x=72)
    out = ds.cloudfree.reconstruct(model=model, blend=None).s2.values
    about = case.about["outputs"]
    output = "mean" if "mean" in about else "out"
    expected = np.load(case.folder / "io.npz")[f"out_{output}"][0].astype("float64")
    if "crop" in about[output]:
        top, bottom, left, right = about[output]["crop"]
        out = out[:, top:bottom, left:right]
    preset = PRESETS[model.spec.normalisation]
    spread = about[output]["std"] / preset.gain
    # the inputs pass through reflectance and dB in float32, hence a little more than the tolerance
    assert np.abs(out - preset.to_reflectance(expected)).max() <= 5e-5 * spread


def test_a_model_says_what_the_scene_lacks(bands):
    with pytest.raises(MissingBandError, match="B10"):
        bands.drop_vars("B10").cloudfree.reconstruct(model="glfcr")
    with pytest.raises(MissingBandError, match="Sentinel-1"):
        bands.drop_vars(["VV", "VH"]).cloudfree.reconstruct(model="dsen2cr")
    surface = bands.cloudfree.calibrate(level="BOA")
    with pytest.raises((UnitsError, MissingBandError), match="TOA"):
        surface.cloudfree.reconstruct(model="uncrtaints")


@pytest.mark.parametrize(
    "name",
    ["carf-tiny", "glfcr", "uncrtaints", "uncrtaints-l2", "dsen2cr-small", "sar-opt-cgan",
     "simulation-fusion-gan", "simulation-fusion-gan-resnet", "distortion-coding",
     "diffusion-tiny"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning")
def test_scenes_below_a_window_run(name):
    small = {"features": 8} if name.startswith(("glfcr", "sar", "sim")) else {}
    if name == "glfcr":
        small |= {"growth": 8, "heads": 2, "stages": 1}
    model = xcf.models.create(name, **small)
    rng = np.random.default_rng(0)
    for size in ((1, 1), (3, 5), (7, 33)):
        optical, sar = (rng.uniform(0.1, 0.9, (n, *size)).astype("float32") for n in (13, 2))
        out = physical(model, optical, sar).cloudfree.reconstruct(model=model, blend=None)
        assert np.isfinite(out.s2).all()
        assert (out.provenance == 2).all()
