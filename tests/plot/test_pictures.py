"""Pictures against stored ones: what a reader sees, without letters.

Made anew by ``python -m tests.plot.test_pictures``, and then looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf  # noqa: F401  registers ds.cloudfree

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

OLDER = pytest.mark.skipif(
    matplotlib.__version_info__ < (3, 10), reason="this matplotlib lays axes out a pixel elsewhere"
)
BASELINE = Path(__file__).parents[1] / "baseline"
TOLERANCE = 3.0
"""Root mean square of the difference, of 255."""


def scene(dates: int = 4) -> xr.Dataset:
    """A disk of cloud that grows, over a ramp with stripes; everything in closed form."""
    y, x = np.mgrid[0:60, 0:80]
    names, shape = ("B02", "B03", "B04", "B08"), (dates, 60, 80)
    cloud = np.stack([np.hypot(y - 25, x - 45) < 8 * (t + 1) - 6 for t in range(dates)])
    ds = xr.Dataset(
        {
            name: (
                ("time", "y", "x"),
                np.where(
                    cloud,
                    0.8,
                    np.broadcast_to(
                        0.05 + 0.001 * (x + k * y) + 0.05 * ((x // 10 + k * (y // 15)) % 2), shape
                    ),
                ).astype("float32"),
                {"units": "1", "processing_level": "BOA"},
            )
            for k, name in enumerate(names)
        },
        coords={
            "time": np.datetime64("2025-06-01", "ns") + 10 * np.arange(dates).astype("m8[D]"),
            "y": 5e6 - 10.0 * np.arange(60),
            "x": 4e5 + 10.0 * np.arange(80),
        },
    )
    for name, level in (("VV", -10.0), ("VH", -17.0)):
        values = level + 4 * np.sin(x / 7 + (name == "VH")) + y / 30
        ds[name] = ("time", "y", "x"), np.broadcast_to(values, shape).astype("float32")
        ds[name].attrs |= {"units": "dB", "quantity": "sigma0"}
    flags = np.where(cloud, np.where(x > 60, 3, 2), 1).astype("uint8")
    flags[:, :6, :9] = 0
    return ds.assign(provenance=(("time", "y", "x"), flags))


def overview() -> Any:
    ds = scene()
    truth = ds.isel(time=[0]).drop_vars("provenance")
    spread = xr.where(ds.provenance == 2, 0.02 + 0.001 * abs(ds.B04 - 0.1), np.nan)
    out = (ds * 1).assign(provenance=ds.provenance)
    for name in ("B02", "B03", "B04"):
        out[name] = ds[name].where(ds.provenance != 2, truth[name].isel(time=0, drop=True))
        out[name].attrs = ds[name].attrs
        out[f"{name}_std"] = spread
    for name in ("VV", "VH", "B08"):
        out[name].attrs = ds[name].attrs
    return out.cloudfree.plot(
        observed=ds.drop_vars("provenance"), truth=truth, index=2, figsize=(11, 2.4)
    )


def infrared() -> Any:
    hidden = scene().provenance >= 2
    return scene().cloudfree.plot.rgb(
        "infrared", mask=hidden, outline=True, col="time", col_wrap=2, figsize=(3.4, 2.8)
    )


def mask() -> Any:
    hidden = scene().provenance >= 2
    return scene().cloudfree.plot.mask(hidden, index=3, figsize=(2.2, 2))


def strip() -> Any:
    return scene().cloudfree.plot.series(dates=4, figsize=(4, 1.8))


PICTURES: dict[str, Callable[[], Any]] = {
    "overview": overview,
    "infrared": infrared,
    "mask": mask,
    "strip": strip,
}


def save(name: str, path: Path) -> None:
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "Agg"}):
        figure = PICTURES[name]()
        for text in figure.findobj(matplotlib.text.Text):
            text.set_visible(False)
        figure.savefig(path, dpi=60)
        matplotlib.pyplot.close(figure)


def difference(one: Path, other: Path) -> float:
    a, b = (matplotlib.image.imread(p)[..., :3] for p in (one, other))
    assert a.shape == b.shape
    return float(255 * np.sqrt(np.mean((a - b) ** 2)))


@OLDER
@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_looks_as_stored(name: str, tmp_path: Path) -> None:
    save(name, tmp_path / "now.png")
    assert difference(tmp_path / "now.png", BASELINE / f"{name}.png") < TOLERANCE


def test_another_stretch_is_another_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xcloudfree.plot.colours.PERCENTILES", (10.0, 70.0))
    save("strip", tmp_path / "now.png")
    assert difference(tmp_path / "now.png", BASELINE / "strip.png") > TOLERANCE


def test_a_missing_outline_is_another_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xcloudfree.plot.canvas.draw_outline", lambda *a, **k: None)
    save("infrared", tmp_path / "now.png")
    assert difference(tmp_path / "now.png", BASELINE / "infrared.png") > TOLERANCE


if __name__ == "__main__":
    BASELINE.mkdir(exist_ok=True)
    for key in PICTURES:
        save(key, BASELINE / f"{key}.png")
