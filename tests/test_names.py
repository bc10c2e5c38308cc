"""A mistyped name is told the nearest one, and the call that lists them all."""

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import xcloudfree as xcf
from xcloudfree import judge as bench
from xcloudfree import methods, train
from xcloudfree.cli import main
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import CloudFreeError

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def scene():
    return xcf.datasets.simulate_scene((32, 32), dates=2)


@pytest.fixture(scope="module")
def result():
    truth = xr.Dataset({"B02": (("y", "x"), np.full((4, 4), 0.1))})
    hidden = xr.DataArray(np.eye(4, dtype=bool), dims=("y", "x"))
    case = bench.Case("eye", truth.where(~hidden, 0.5), hidden, truth, region="A")
    return xcf.benchmark([case], ["do nothing", "clear mean"])


def test_case_and_one_letter_do_not_matter_and_what_is_far_gets_no_hint():
    names = ("idw", "kriging", "regression-kriging")
    assert did_you_mean("krigin", names) == did_you_mean("KRIGING", names)
    assert "'kriging'" in did_you_mean("krigin", names)
    assert did_you_mean("wombat", names) == ""
    assert did_you_mean("idw", []) == ""


ALL = "see the names in xcloudfree.models.list()"
WRONG = {
    "load": (lambda ds: xcf.models.load("carf-smal-demo"), "carf-small-demo", ALL),
    "fit": (lambda ds: xcf.fit(ds, "carf-tny"), "carf-tiny", ALL),
    "model": (lambda ds: ds.cloudfree.reconstruct(model="uncrtaint"), "uncrtaints", ALL),
    "method instead of a model": (
        lambda ds: ds.cloudfree.reconstruct(model="area-regresion"),
        "area-regression",
        f"{ALL} and xcloudfree.methods.names()",
    ),
    "method": (lambda ds: methods.get("Whitaker"), "whittaker", "call methods.get() with one of"),
    "setting": (
        lambda ds: methods.get("whittaker", smothness=1.0),
        "smoothness",
        "call methods.get('whittaker') with smoothness",
    ),
    "mask": (lambda ds: ds.cloudfree.mask("scroe"), "score", "call mask(method=...)"),
    "mask to fit under": (
        lambda ds: xcf.fit(ds.isel(time=0), "carf-tiny", target=ds.isel(time=0), mask="scroe"),
        "score",
        "call fit(..., mask='score')",
    ),
    "loss": (lambda ds: xcf.fit(ds, "carf-tiny", loss="l1-clouds"), "l1-cloud", "call fit("),
    "context": (
        lambda ds: xcf.models.create("carf", context=("regresion",)),
        "regression",
        "give context=(...) with some of ('before', 'after', 'regression', 'median', ",
    ),
    "base": (lambda ds: xcf.models.create("carf", base="Prior"), "prior", "models.create"),
    "option": (lambda ds: xcf.models.create("carf", croos=""), "cross", "create('carf', ...)"),
    "level": (lambda ds: xcf.models.create("carf", level="toa"), "TOA", "create(..., level=...)"),
    "band": (
        lambda ds: xcf.models.create("carf", optical_bands=("b02",)),
        "B02",
        "create(..., optical_bands=...)",
    ),
    "architecture": (
        lambda ds: xcf.models.convert("a.pth", "dsen2c"), "dsen2cr", "xcloudfree.models.list()"
    ),
    "split": (lambda ds: train.split(ds, "regoin"), "region", "call split(ds, by='region')"),
    "composite": (
        lambda ds: ds.cloudfree.plot(bands="infared"), "infrared", "call plot(bands=...)"
    ),
    "clouds": (
        lambda ds: xcf.datasets.simulate_clouds(ds, kind="Thick"), "thick", "simulate_clouds(ds"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_the_nearest_name_and_the_call_stand_in_the_error(scene, what):
    call, near, mend = WRONG[what]
    with pytest.raises(CloudFreeError) as caught:
        call(scene)
    said, _, rest = str(caught.value).partition(f" (did you mean {near!r}?)")
    assert said
    assert mend in rest


def test_a_benchmark_knows_its_own_rows_too(result):
    with pytest.raises(CloudFreeError, match=r"mean 'do nothing'.*models.list\(\)"):
        xcf.benchmark([], ["do nothin"])
    for call, name in (
        (lambda: bench.summary(result, ["regoin"]), "region"),
        (lambda: bench.to_markdown(result, metrics=["pnsr"]), "psnr"),
        (lambda: bench.to_latex(result, pixels=["cloud"]), "cloudy"),
        (lambda: bench.plot(result, metric="rmsee"), "rmse"),
        (lambda: bench.upsets(result, ["clear men"]), "clear mean"),
        (lambda: bench.compare(result, "do nothin"), "do nothing"),
    ):
        with pytest.raises(CloudFreeError, match=rf"did you mean '{name}'.*call \w+\("):
            call()


def test_a_path_is_no_name(tmp_path):
    assert xcf.models.known(tmp_path / "a")
    assert xcf.models.known("mine.safetensors")
    assert not xcf.models.known("mine")
    with pytest.raises(CloudFreeError, match="there is no file"):
        xcf.datasets.simulate_scene((8, 8)).cloudfree.reconstruct(model="mine.safetensors")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["recontruct"], "there is no command 'recontruct' (did you mean 'reconstruct'?)"),
        (["models", "lst"], "there is no command 'lst' (did you mean 'list'?)"),
        (["models", "wombat"], "there is no command 'wombat'; see them with"),
    ],
)
def test_a_mistyped_command_is_told_the_nearest(line, words):
    done = CliRunner().invoke(main, line, prog_name="xcloudfree")
    assert done.exit_code == 2
    assert words in done.output
    assert f"xcloudfree {' '.join(line[:-1])}".strip() + " --help" in done.output


def test_the_command_line_names_its_own_command_that_lists():
    done = CliRunner().invoke(main, ["models", "show", "carf-smal"])
    assert done.exit_code == 1
    assert "'carf-small'" in done.output
    assert "`xcloudfree models list`" in done.output
