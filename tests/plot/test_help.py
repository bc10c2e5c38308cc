"""The page behind ``ds.cloudfree``: what it tells, that it never fails and never computes."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import as_array, make_bands, stacked
from xcloudfree import methods
from xcloudfree.core.recognise import read
from xcloudfree.core.windows import Halo
from xcloudfree.plot.help.findings import cloud_shares, reading_factor
from xcloudfree.plot.help.page import Step, page


def row(obj: Any, label: str) -> tuple[str, str]:
    (found,) = (r for r in page(obj).rows if r.label == label)
    return found.value, found.fix


def bare(ds: xr.Dataset) -> xr.Dataset:
    """The same numbers with nothing declared."""
    out = ds.drop_vars("spatial_ref")
    for name in out.data_vars:
        out[name].attrs.clear()
        out[name].encoding.clear()
    return out


def test_page_tells_what_was_found() -> None:
    ds = make_bands(dtype="uint16")
    text = repr(ds.chunk(y=16, x=20).cloudfree)
    for words in ("B8A", "TOA", "x 0.0001 -0.1", "VV VH, dB, sigma0", "EPSG:32633", "16 x 20 px"):
        assert words in text
    assert row(ds, "grid") == ("45 x 38 px of 10 m, EPSG:32633", "")
    assert row(ds, "dates") == ("2 dates, 2025-06-01 to 2025-06-06", "")
    assert row(ds, "optical")[0].endswith("B12 (all 13)")
    for other in (stacked(ds), as_array(make_bands())):
        assert row(other, "backscatter")[0].startswith("VV VH, dB")


def test_backscatter_of_another_unit_than_declared_is_told() -> None:
    ds = make_bands()
    for name in ("VV", "VH"):
        ds[name].attrs["units"] = "1"  # the numbers are decibels
    assert 'calibrate(sar="dB")' in " ".join(row(ds, "backscatter"))


def test_offsets_that_a_catalog_applied_are_told() -> None:
    ds = make_bands(3).assign_coords(offset=("time", [-0.1, 0.0, -0.1]))
    assert row(ds, "reflectance")[0].endswith("; offset -0.1, +0 applied on loading")


def test_page_tells_what_is_missing_and_the_calls_it_names_mend_it() -> None:
    ds = bare(make_bands(dtype="uint16").drop_vars("B10"))
    told = page(ds)
    assert {r.label for r in told.rows if r.fix} == {"level", "reflectance", "backscatter", "grid"}
    assert not told.steps
    for words in ('calibrate(level="TOA") or "BOA"', "scale=1e-4, offset=-0.1", 'sar="dB"'):
        assert words in repr(ds.cloudfree)
    ds = ds.cloudfree.calibrate(scale=1e-4, offset=-0.1, level="BOA", sar="dB", quantity="sigma0")
    mended = page(ds.rio.write_crs("EPSG:32633"))
    assert not [r for r in mended.rows if r.fix]
    assert Step("ds.cloudfree.mask()", "mask SCENE mask.zarr", "occluded") in mended.steps
    assert next(v for v in mended.masks if v.name == "auto").chosen == "l2a+haze"


def test_page_says_which_masks_and_models_fit_and_why_not_the_others() -> None:
    ds = make_bands()
    told = page(ds)
    fits = {v.name: v.fits for v in [*told.masks, *told.models, *told.methods]}
    assert fits["score"]
    assert not fits["scl"]
    assert fits["carf-small-demo"]
    assert fits["idw"]
    assert any("demonstrates" in r for v in told.models for r in v.remarks)
    boa = page(ds.drop_vars("B10").cloudfree.calibrate(level="BOA"))
    reasons = {v.name: v.reason for v in [*boa.masks, *boa.models]}
    assert reasons["score"] == "needs B10"
    assert reasons["carf-small-demo"].startswith("needs B10")  # its name is not repeated
    alone = {v.name: v.reason for v in page(ds.isel(time=[0]).drop_vars(["VV", "VH"])).methods}
    assert "reads several dates" in alone["linear-time"]
    assert "VV" in alone["regression-kriging"]
    assert alone["kriging"] == ""


def test_what_runs_without_a_name_is_offered_first_and_named() -> None:
    for ds, best in (
        (make_bands(dates=3), "kernel-fusion"),
        (make_bands(dates=1), "kernel-fusion"),
        (make_bands(dates=1).drop_vars(["VV", "VH"]), "kernel-fusion"),
    ):
        offers = [step for step in page(ds).steps if "reconstruct" in step.call]
        assert offers[0].call == "ds.cloudfree.reconstruct()"
        assert offers[0].result == f"filled by {best}"
        out = ds.cloudfree.reconstruct()
        assert out.provenance.attrs["model"] == best
        assert "date" in out.provenance.attrs["model_reason"]


def test_one_date_is_one_date_and_code_is_what_can_be_pasted() -> None:
    assert "1 date, " in page(make_bands(dates=1)).title
    text = bare(make_bands(dtype="uint16")).cloudfree._repr_html_()
    assert "<code>ds.rio.write_crs(&quot;EPSG:...&quot;)</code>" in text


@pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.DemonstrationWarning")
def test_every_call_that_the_page_offers_runs() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    ds = make_bands(dates=2)
    steps = page(ds).steps
    assert len(steps) == 4
    for step in steps:
        eval(step.call, {"ds": ds, "xcf": xcf})
    out = ds.cloudfree.reconstruct(model="idw")
    assert "reconstructed by idw" in row(out, "provenance")[0]
    eval(page(out).steps[0].call, {"ds": out})


def test_nothing_is_computed() -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the page computed something")

    lazy = make_bands(dates=3).chunk(y=16, x=16, time=1)
    lazy = lazy.assign_coords(angle=("time", lazy.B02.mean(["y", "x"]).data))
    with dask.config.set(scheduler=refuse):
        with pytest.raises(AssertionError, match="computed"):
            lazy.B02.compute()
        for scene in (lazy, stacked(lazy), as_array(lazy), lazy.cloudfree.reconstruct(model="idw")):
            text = repr(scene.cloudfree)
            scene.cloudfree._repr_html_()
            assert "not readable" not in text
            assert "clouds" not in text


def test_files_are_not_read(tmp_path: Any) -> None:
    make_bands()[["B02", "VV"]].drop_vars("spatial_ref").to_zarr(tmp_path / "a.zarr")
    opened = xr.open_zarr(tmp_path / "a.zarr", chunks=None)
    assert row(opened, "chunks")[0] == "in files, read when used"
    assert not opened.B02.variable._in_memory


def test_page_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = xr.Dataset({"a": ("t", np.zeros(2))})
    odd = make_bands()
    odd.B02.attrs["scale_factor"] = "many"
    empty = make_bands().isel(y=slice(0), x=slice(0))
    cut = make_bands().isel(y=slice(1), x=slice(1))
    dateless = make_bands().isel(time=[])
    for scene in (nothing, nothing.a, odd, empty, cut, dateless, make_bands()[["B02"]]):
        assert repr(scene.cloudfree).startswith("<xcloudfree scene")
        assert scene.cloudfree._repr_html_()
    assert "ds.rename" in repr(nothing.cloudfree)
    monkeypatch.setattr("xcloudfree.plot.help.suitability.shipped", lambda: 1 / 0)
    assert "ZeroDivisionError" in repr(make_bands().cloudfree)


def test_cloud_share_is_that_of_the_mask() -> None:
    ds = make_bands(dates=3)
    shares = cloud_shares(read(ds), "score")
    assert shares is not None
    np.testing.assert_allclose(shares, ds.cloudfree.mask("score").mean(["y", "x"]))
    large = xr.concat([ds] * 4, "y").drop_vars("y")
    large = xr.concat([large] * 5, "x").drop_vars("x")
    sampled = cloud_shares(read(large), "score")
    assert sampled is not None
    np.testing.assert_allclose(sampled, shares, atol=0.03)


def test_numbers_that_are_no_reflectance_are_told() -> None:
    ds = make_bands()
    for name in ds.data_vars:
        if str(name).startswith("B"):
            ds[name] = (ds[name] * 1e4).assign_attrs(ds[name].attrs)
    value, call = row(ds, "reflectance")
    assert "calibrate" in call
    assert "taken as" not in value


def test_small_chunks_cost_what_is_read_twice() -> None:
    ds = make_bands(1, 320, 320)
    halo = Halo(methods.get("kernel-fusion").reach)
    factor = reading_factor(halo, ((64,) * 5, (320,)))
    read_ = sum(s.read_stop - s.read_start for s in halo.spans((64,) * 5))
    assert factor == pytest.approx(read_ / 320)
    value, call = row(ds.chunk(y=64, x=64), "chunks")
    assert f"reads {factor**2:.2f} times" in value
    assert call == "ds.chunk(y=1024, x=1024)"
    assert row(ds.chunk(y=320, x=320), "chunks")[1] == ""


def test_small_chunks_of_a_series_cost_what_blocks_of_several_read() -> None:
    ds = make_bands(3, 320, 320).chunk(y=16, x=16)
    reach = methods.get("kernel-fusion").reach
    together = 16 * (reach // 16)  # as many chunks as the rim is wide
    blocks = (together,) * (320 // together) + ((320 % together,) if 320 % together else ())
    factor = reading_factor(Halo(reach), (blocks, blocks))
    assert f"reads {factor:.2f} times" in row(ds, "chunks")[0]
    assert factor < reading_factor(Halo(reach), ((16,) * 20, (16,) * 20)) / 3


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_escaped_and_needs_nothing_from_outside() -> None:
    ds = make_bands()
    ds.VV.attrs["units"] = "<script>alert(1)</script>"
    text = ds.cloudfree._repr_html_()
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    tags = {tag for tag, _ in reader.seen}
    assert {"details", "summary", "dl", "code"} <= tags
    assert not tags & {"script", "link", "img", "iframe"}
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text
    assert "url(" not in text


def test_versions_name_what_is_installed_and_how_to_get_the_rest() -> None:
    out = io.StringIO()
    xcf.show_versions(out)
    text = out.getvalue()
    assert text.startswith(f"xcloudfree {xcf.__version__}\n")
    assert f"numpy           {np.__version__}" in text
    assert f"xarray          {xr.__version__}" in text
    if "omnicloudmask   not" in text:
        assert "pip install 'xcloudfree[masks]'" in text


def test_digital_numbers_have_no_cloud_share_and_patches_a_plural() -> None:
    ds = make_bands().rename(time="patch").drop_vars("patch")
    assert "2 patches" in repr(ds.cloudfree)
    assert "patchs" not in repr(ds.cloudfree)
    numbers = ds.assign({b: ds[b] * 1e4 for b in ds.data_vars if b not in ("VV", "VH")})
    assert "clouds" in repr(ds.cloudfree)
    assert "clouds" not in repr(numbers.cloudfree)
