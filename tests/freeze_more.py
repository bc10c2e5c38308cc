"""What the freeze computes beside reconstruction: data, stores, judging, fitting, errors, commands.

Needs nothing of the library but its public names. See ``freeze.py``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from click.testing import CliRunner
from freeze_cases import FEW, HEIGHT, WIDTH, hidden, made, scene
from freeze_surface import main_command

import xcloudfree as xcf

Case = tuple[str, Callable[[Path], Any]]
COSTS = ["cpu_seconds", "wall_seconds", "peak_memory", "fit_cpu_seconds"]


def more(quick: bool) -> Iterator[Case]:
    """Cases in groups; the costly ones are not among the quick."""
    costly = {"evaluate", "evaluate, chunks", "cog", "cog per band", "zarr median", "zarr array"}
    for group in (DATA, STORES, JUDGED, COMMANDS, {} if quick else FITTED, {} if quick else DRAWN):
        yield from ((n, call) for n, call in group.items() if not (quick and n in costly))
    for what, call in REFUSED.items():
        yield f"refused: {what}", lambda folder, call=call: call(scene())


def few(chunks: str = "numpy", dtype: str = "float32") -> xr.Dataset:
    """Bands as variables."""
    return made("bands", "series", chunks, dtype, names=FEW)


# ------------------------------------------------------------------------------------------ data


def simulated(**words: Any) -> Callable[[Path], Any]:
    """Scene, truth and layers by the same words."""

    def call(folder: Path) -> Any:  # fmt: skip
        return {
            "scene": xcf.datasets.simulate_scene((HEIGHT, WIDTH), **words),
            "truth": xcf.datasets.simulate_truth(
                (HEIGHT, WIDTH), **{k: v for k, v in words.items() if k not in ("cover", "kind")}
            ),
            "layers": xcf.datasets.simulate_layers(
                (HEIGHT, WIDTH), **{k: v for k, v in words.items() if k not in ("level", "looks")}
            ),
        }

    return call


def real(folder: Path) -> Any:
    """Patches of SEN12MS-CR, where the variable names their folder."""
    patches = xcf.datasets.sen12mscr(Path(os.environ["XCLOUDFREE_DATA"]) / "sen12mscr")
    one = patches.isel(patch=0, y=slice(40), x=slice(64))
    return {
        "sizes": dict(patches.sizes), "patch": one.compute(),
        "out": one.drop_vars("target").cloudfree.reconstruct(),
    }  # fmt: skip


def catalog(folder: Path) -> Any:
    """A scene published on this disk and loaded again."""
    ds = scene()[list(FEW)].isel(time=slice(3))
    _, items = xcf.stac.publish(ds, folder, base_url=folder.as_uri())
    lazy = xcf.stac.load(items, chunks={"x": 29, "y": 17}, on_error="report")
    out = lazy.cloudfree.reconstruct(model="nearest-date")
    return _elsewhere({
        "loaded": lazy, "faults": len(lazy.cloudfree.report()), "out": out,
        "some": xcf.stac.load(items, bands=["B02", "B08"], resolution=20),
    }, folder)  # fmt: skip


def _elsewhere(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Without attributes that name this folder."""
    for ds in found.values():
        for array in [ds, *ds.variables.values()] if isinstance(ds, xr.Dataset) else []:
            array.attrs = {k: v for k, v in array.attrs.items() if str(folder) not in repr(v)}
    return found


DATA: dict[str, Callable[[Path], Any]] = {
    "simulated": simulated(dates=3, cover=[0.2, 0.5, 1.0], seed=4),
    "simulated, thick, BOA": simulated(dates=2, seed=5, level="BOA", kind="thick"),
    "simulated, thin, chunks": simulated(dates=2, seed=6, kind="thin", chunks={"y": 17, "x": 29}),
    "simulated clouds": lambda folder: xcf.datasets.simulate_clouds(
        xcf.datasets.simulate_truth((HEIGHT, WIDTH), dates=2, seed=1), cover=0.5, seed=2
    ),
    "simulated clouds, chunks": lambda folder: xcf.datasets.simulate_clouds(
        few("odd", "uint16"), cover=0.5, seed=2, kind="thick"
    ),
    "calibrated": lambda folder: few().drop_attrs().cloudfree.calibrate(
        level="BOA", sar="dB", quantity="gamma0"
    ),
    "calibrated numbers": lambda folder: few(dtype="uint16").drop_attrs().cloudfree.calibrate(
        scale=1e-4, offset=[-0.1, 0, 0, -0.1, -0.1, -0.1], nodata=0, level="TOA", sar="linear"
    ),
    "sen12mscr": real,
    "catalog": catalog,
    "split by region": lambda folder: [
        part if part is None else part.patch.values
        for part in xcf.train.split(
            xr.Dataset({"s2": (("patch",), np.arange(30))}, {
                "patch": np.arange(30), "region": ("patch", [f"r{i % 7}" for i in range(30)])
            }), by="region", shares=(0.5, 0.25, 0.25), seed=2,
        )
    ],
    "split of a series": lambda folder: list(
        xcf.train.split_series(few(), before="2025-06-26")
    ),
}  # fmt: skip


# ------------------------------------------------------------------------------------------ stores


def zarr(model: str, encoding: Any = None, form: str = "bands", **words: Any) -> Any:
    """A store: its values by our reader and by xarray's, its files and its layout."""

    def call(folder: Path) -> Any:  # fmt: skip
        ds = made(form, "series", "odd", "float32", names=FEW)
        out = ds.cloudfree.reconstruct(model=model, mask=hidden(ds))
        path = folder / "out.zarr"
        back = xcf.io.to_zarr(out, path, encoding=encoding, progress=False, **words)
        plain = xr.open_zarr(path, chunks=None)
        kept = ("shards", "chunks", "dtype", "scale_factor", "add_offset", "_FillValue")
        return {
            "back": back, "plain": plain, "again": xcf.io.open_zarr(path),
            "files": sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()),
            "layout": {
                n: str({k: v.encoding.get(k) for k in kept}) for n, v in plain.variables.items()
            },
        }  # fmt: skip

    return call


def cog(model: str, dtype: str = "float32", **words: Any) -> Any:
    """Files: pixels, type, no data, names of bands, overviews."""

    def call(folder: Path) -> Any:  # fmt: skip
        import rasterio

        ds = made("bands", "series", "odd", dtype, names=FEW).isel(time=slice(2))
        out = ds.cloudfree.reconstruct(model=model, mask="score")
        found = {}
        for path in xcf.io.to_cog(out, folder / "out.tif", progress=False, **words):
            with rasterio.open(path) as file:
                found[path.name] = {
                    "pixels": file.read(), "types": file.dtypes, "nodata": repr(file.nodata),
                    "names": file.descriptions, "scales": [file.scales, file.offsets],
                    "crs": str(file.crs), "transform": list(file.transform),
                    "overviews": file.overviews(1), "tags": _tags(file),
                }  # fmt: skip
        return found

    return call


def _tags(file: Any) -> dict[str, Any]:
    return {k: v for k, v in file.tags().items() if "time" not in k.lower()}


STORES = {
    "zarr median": zarr("median"),
    "zarr area-regression, int16": zarr("area-regression", "int16", "stacked"),
    "zarr idw, uint16, small chunks": zarr("idw", "uint16", chunks=16),
    "zarr array": zarr("median+offset", None, "array", memory="1 MiB"),
    "cog": cog("nearest-date"),
    "cog of numbers": cog("idw", "uint16"),
    "cog per band": cog("idw", "uint16", per="band"),
}


# ------------------------------------------------------------------------------------------ judging


def evaluated(chunks: str) -> Any:
    """All words of ``evaluate``."""

    def call(folder: Path) -> Any:  # fmt: skip
        ds = few(chunks)
        truth = xcf.datasets.simulate_truth((HEIGHT, WIDTH), dates=6, seed=7)[list(FEW)]
        one, two = (ds.cloudfree.reconstruct(model=m) for m in ("median", "idw"))
        return {
            "full": xcf.evaluate(one, truth, observed=ds, others={"idw": two}),
            "bands": xcf.evaluate(one, truth, bands=["B02", "B04"], mask=ds.cloudfree.mask()),
            "bare": xcf.evaluate(one.drop_vars("provenance"), truth),
        }

    return call


def benchmarked(folder: Path) -> Any:
    """Three methods on hidden dates, and the tables of the result."""
    cover = [0, 0.6, 0, 0.6, 0, 0.5]
    series = xcf.datasets.simulate_scene((48, 48), dates=6, cover=cover, seed=2, level="BOA")
    bench = xcf.benchmarking
    found = list(bench.hidden_dates(
        series, region="A", clear="l2a", gaps=(0, 7), clouds=1, count=2, kinds=("partial", "full")
    ))  # fmt: skip
    names = ["do nothing", "clear mean", "median", "area-regression"]
    result = bench.benchmark(found, names, folder=folder)
    again = bench.benchmark(found, names, folder=folder)
    bare = result.drop_vars(COSTS)
    return {
        "cases": [[c.name, c.kind, c.gap, c.data.B02.values, c.hidden.values] for c in found],
        "result": bare, "resumed": again.drop_vars(COSTS).equals(bare),
        "summary": bench.summary(result, ("gap",)).drop_vars(COSTS, errors="ignore"),
        "markdown": bench.to_markdown(result, by=("gap",), metrics=("psnr", "sam")),
        "latex": bench.to_latex(result, by=("gap",)),
        "compare": bench.compare(result, "median").drop_vars(COSTS, errors="ignore"),
        "winners": bench.winners(bench.summary(result, ("gap",))),
        "failures": bench.failures(result),
    }  # fmt: skip


JUDGED = {
    "evaluate": evaluated("numpy"),
    "evaluate, chunks": evaluated("odd"),
    "benchmark": benchmarked,
}


# ------------------------------------------------------------------------------------------ fitting


def fitted(name: str, series: bool, **words: Any) -> Any:
    """A fit of a few steps."""

    def call(folder: Path) -> Any:  # fmt: skip
        import torch

        torch.set_num_threads(1)
        quick = {"steps": 3, "batch": 2, "crop": 32, "progress": False, "device": "cpu"}
        cover = [0, 0.5, 0, 0.6, 0, 0.4]
        ds = xcf.datasets.simulate_scene((48, 48), dates=6, cover=cover, seed=2)
        model = xcf.models.create(name, seed=1)
        if series:
            recipe = xcf.train.Recipe(gaps=(0, 15), every=1, held_out=1)
            out = xcf.fit(ds, model, recipe=recipe, **quick, **words)
        else:
            truth = xcf.datasets.simulate_truth((48, 48), dates=6, seed=2)
            out = xcf.fit(ds, model, target=truth, **quick, **words)
        path = folder / "model.safetensors"
        xcf.models.save(out, path)
        return {
            "digest": out.digest, "spec": out.spec.to_json(),
            "loaded": xcf.models.load(path).digest == out.digest,
            "mlm": re.sub(r'"(datetime|created|updated)": "[^"]*"', "",
                          json.dumps(xcf.models.to_stac_mlm(out).to_dict(), sort_keys=True)),
        }  # fmt: skip

    return call


FITTED = {
    "fit pairs": fitted("carf-tiny", False),
    "fit pairs, cloud-aware loss": fitted("carf-tiny", False, loss="l1-cloud", simulated=1.0),
    "fit series": fitted("carf-tiny", True),
    "fit series with context": fitted("carf-tiny-regression", True, simulated=0.0),
    "fit diffusion": fitted("diffusion-tiny", False),
}


# ----------------------------------------------------------------------------------------- pictures


def drawn(what: Callable[[Any, Any], Any]) -> Any:
    """The pixels of a picture."""

    def call(folder: Path) -> Any:  # fmt: skip
        import matplotlib.pyplot as plt

        ds = few()
        found = what(ds, ds.cloudfree.reconstruct(model="area-regression"))
        figure = getattr(found, "figure", found)
        figure = getattr(figure, "fig", figure) if not hasattr(figure, "canvas") else figure
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())
        plt.close("all")
        return pixels

    return call


DRAWN = {
    "plot": drawn(lambda ds, out: out.cloudfree.plot(observed=ds, index=1)),
    "plot.rgb": drawn(lambda ds, out: ds.isel(time=1).cloudfree.plot.rgb()),
    "plot.mask": drawn(lambda ds, out: ds.isel(time=1).cloudfree.plot.mask()),
    "plot.provenance": drawn(lambda ds, out: out.isel(time=1).cloudfree.plot.provenance()),
    "plot.series": drawn(lambda ds, out: out.cloudfree.plot.series()),
}


# ----------------------------------------------------------------------------------------- commands


def ran(*words: str) -> Any:
    """A command on a store: exit code and the store that it leaves."""

    def call(folder: Path) -> Any:  # fmt: skip
        xcf.io.to_zarr(few("one"), folder / "in.zarr", progress=False)
        told = [w.replace("IN", f"{folder}/in.zarr").replace("OUT", f"{folder}/out.zarr")
                for w in words]  # fmt: skip
        done = CliRunner().invoke(main_command(), told)
        out = folder / "out.zarr"
        return {
            "code": done.exit_code, "error": type(done.exception).__name__,
            "out": xcf.io.open_zarr(out) if out.exists() else None,
        }  # fmt: skip

    return call


COMMANDS = {
    f"xcloudfree {' '.join(words)}": ran(*words)
    for words in (
        ("mask", "IN", "OUT", "--dilate", "2", "--quiet"),
        ("reconstruct", "IN", "OUT", "--model", "median", "--quiet"),
        ("reconstruct", "IN", "OUT", "--model", "idw", "--dry-run"),
        ("reconstruct", "IN", "OUT", "--model", "carf-small-demo", "--quiet"),
        ("evaluate", "IN", "IN", "--mask", "score", "--observed", "IN"),
        ("models", "list", "--methods"),
        ("models", "show", "carf-tiny"),
        ("doctor",),
        ("recon", "IN"),
        ("--version",),
    )
}


# ------------------------------------------------------------------------------------------- errors

REFUSED: dict[str, Callable[[xr.Dataset], Any]] = {
    "no such model": lambda ds: ds.cloudfree.reconstruct(model="carf-smal"),
    "no such method": lambda ds: xcf.methods.get("medain"),
    "no such mask": lambda ds: ds.cloudfree.mask("scor"),
    "a negative dilation": lambda ds: ds.cloudfree.mask(dilate=-1),
    "a mask on another grid": lambda ds: ds.cloudfree.reconstruct(
        model="idw", mask=hidden(ds).isel(x=slice(9))
    ),
    "a mask that is not boolean": lambda ds: ds.cloudfree.mask(hidden(ds).astype(float)),
    "no band at all": lambda ds: xr.Dataset({"a": ds.B02}).cloudfree.mask(),
    "without B10": lambda ds: ds.drop_vars("B10").cloudfree.score(),
    "without backscatter": lambda ds: ds.drop_vars(["VV", "VH"]).cloudfree.reconstruct(),
    "integers without a scale": lambda ds: (ds.fillna(0) * 1e4).astype("uint16")
    .drop_attrs().cloudfree.mask(),
    "backscatter without a unit": lambda ds: ds.assign(VV=ds.VV.drop_attrs(),
    VH=ds.VH.drop_attrs()).cloudfree.reconstruct(model="carf-tiny"),
    "another level": lambda ds: ds.cloudfree.reconstruct(model="carf-small-demo", mask="l2a"),
    "one date for a temporal method": lambda ds: ds.isel(time=0).cloudfree.reconstruct(
        model="median"
    ),
    "a halo below zero": lambda ds: ds.cloudfree.reconstruct(model="carf-tiny", halo=-1),
    "a blend that there is not": lambda ds: ds.cloudfree.reconstruct(blend="sharp"),
    "a device that there is not": lambda ds: ds.cloudfree.reconstruct(device="cuda:99"),
    "no share": lambda ds: ds.cloudfree.reconstruct(model="carf-tiny", interval=90),
    "a scale of zero": lambda ds: ds.cloudfree.calibrate(scale=0),
    "a mode that there is not": lambda ds: xcf.io.to_zarr(ds, "out.zarr", mode="a"),
    "a picture without its ending": lambda ds: xcf.io.to_cog(ds, "out.jpg"),
    "no coordinate system": lambda ds: xcf.io.to_cog(ds.drop_vars("spatial_ref"), "o.tif"),
    "bands that differ": lambda ds: xcf.evaluate(ds[["B02"]], ds[["B03"]]),
    "no store": lambda ds: xcf.io.open_zarr("no/such.zarr"),
    "weights that are none": lambda ds: xcf.models.load("no/such.safetensors"),
    "an option that there is not": lambda ds: xcf.models.create("carf-tiny", wings=2),
    "no case": lambda ds: xcf.benchmark([], ["idw"]),
    "no catalog": lambda ds: xcf.stac.load("no/such/catalog.json", bbox=(0, 0, 1, 1)),
    "nothing to fit": lambda ds: xcf.fit(ds, "no-such"),
    "cover above one": lambda ds: xcf.datasets.simulate_scene((8, 8), cover=3),
}  # fmt: skip
