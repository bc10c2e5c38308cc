"""Write the table of networks in ``docs/models.md``: size, cost, reach, seams.

    python examples/model_table.py

CPU time is that of one 128 x 128 image on one thread, against ``carf-reference`` in the same run.
Seams are measured on the 512 x 512 Level-1C scene of XCLOUDFREE_DATA, where that is set.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from pathlib import Path

import click
import numpy as np
import rasterio
import torch
import xarray as xr

import xcloudfree as xcf
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.methods.temporal_context import scaled_planes
from xcloudfree.models.cost import multiply_adds, parameters
from xcloudfree.models.model import Model
from xcloudfree.models.networks import NETWORKS
from xcloudfree.models.variants import VARIANTS

PAGE = Path(__file__).parent.parent / "docs/models.md"
SCENE = Path(os.environ.get("XCLOUDFREE_DATA", "data")) / "pairs_l1c/sen1floods11_Spain_7370579"
ROUNDS, SIDE = 3, 128
REFERENCE = "carf-reference"


@click.command()
@click.option("--seams/--no-seams", default=True, help="Measure seams, about ten minutes.")
def main(seams: bool) -> None:
    """Measure every network and replace the table between the markers of the page."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    names = [n for n in VARIANTS if n != "uncrtaints-l2-t3"]  # -t3 but for the head
    times = cpu_times(names)
    scene = open_scene() if seams else None
    rows = [row(name, times, scene) for name in names]
    head = (
        "| name | architecture | bands | M parameters | GMAC at 256 x 256 | dates | stride px | "
        "what a pixel depends on | seams | CPU time |\n" + "|---" * 10 + "|\n"
    )
    note = (
        f"CPU time: one {SIDE} x {SIDE} image on one thread against `{REFERENCE}` "
        f"({times[REFERENCE]:.2f} s), median of {ROUNDS} interleaved rounds. Seams: mean and "
        "largest difference between tiles and the whole of a real 512 x 512 scene, relative to the "
        "spread of the output, with the weights that the untrained network starts with.\n"
    )
    licences = (
        "| architecture | source | the authors' code and weights |\n|---|---|---|\n"
        + "".join(f"| {key} | {a.source} | {a.licence} |\n" for key, a in NETWORKS.items())
    )
    replace("table", head + "".join(rows) + "\n" + note)
    replace("licences", licences)


def row(name: str, times: dict[str, float], scene: xr.Dataset | None) -> str:
    """One line of the table."""
    model = xcf.models.create(name)
    spec = model.spec
    depends = (
        f"the whole input: tiles of {spec.tile} px, blended"
        if spec.reach is None
        else f"{spec.reach} px around it: exact"
    )
    if spec.reach is not None:
        seam = "none"
    elif spec.dates > 1:
        seam = "as of one date"
    elif scene is None:
        seam = "not measured"
    else:
        seam = "{:.1%}, {:.0%}".format(*seam_error(model, scene))
    bands = f"{len(spec.optical_bands)} {spec.level}"
    if spec.polarisations:
        bands += f", {' '.join(spec.polarisations)}"
    work, time = f"{multiply_adds(model) / 1e9:.1f}", f"{times[name] / times[REFERENCE]:.3f}"
    if model.network.config.reads_series:  # without other dates it computes nothing
        work, time = "depends on the dates", "see [results](results.md#carf-series)"
    cells = (
        f"`{name}`", spec.architecture, bands, f"{parameters(model) / 1e6:.3f}", work, spec.dates,
        spec.stride, depends, seam, time,
    )  # fmt: skip
    click.echo(" | ".join(map(str, cells)))
    return "| " + " | ".join(map(str, cells)) + " |\n"


def cpu_times(names: list[str]) -> dict[str, float]:
    """Median CPU seconds of a forward pass, in interleaved rounds."""
    models = {name: xcf.models.create(name) for name in names}
    measured: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(ROUNDS + 1):
        for name, model in models.items():
            inputs, extra = random_inputs(model)
            start = time.process_time()
            with torch.inference_mode():
                model.network(*inputs, **extra)
            if turn:  # the first round warms up
                measured[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in measured.items()}


def random_inputs(model: Model) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Inputs of the right shape."""
    spec = model.spec
    dates = (spec.dates,) if spec.dates > 1 else ()
    counts = len(spec.optical_bands), len(spec.polarisations)
    inputs = [torch.rand(1, *dates, n, SIDE, SIDE) for n in counts]
    extra = {"dates": torch.arange(float(spec.dates))[None]} if dates else {}
    if spec.needs_mask:
        extra["mask"] = torch.ones(1, 1, SIDE, SIDE)
    if spec.context:
        extra["context"] = torch.rand(1, scaled_planes(spec.context, counts[0]), SIDE, SIDE)
    return inputs, extra


def open_scene() -> xr.Dataset:
    """A real scene of 512 x 512 pixels, Level-1C, in reflectance and dB."""
    planes = {}
    for name in ("s2", "s1_grd"):
        with rasterio.open(SCENE / f"{name}.tif") as source:
            planes[name] = source.read().astype("float32")
    return xr.Dataset(
        {
            "s2": (
                ("band", "y", "x"),
                planes["s2"] * np.float32(1e-4),
                {"units": "1", "processing_level": "TOA"},
            ),
            "s1": (("polarisation", "y", "x"), planes["s1_grd"], {"units": "dB"}),
        },
        coords={"band": list(S2_BANDS), "polarisation": ["VV", "VH"]},
    )


def seam_error(model: Model, scene: xr.Dataset) -> tuple[float, float]:
    """Mean and largest difference between tiles and the whole, per spread of the output."""
    x, r = model.normalise(scene.s2.values[None], scene.s1.values[None])
    with torch.inference_mode():
        whole = model.denormalise(model.network(x, r))[0]
    tiled = scene.cloudfree.reconstruct(model=model, blend=None, device="cpu").s2.values
    known = np.isfinite(tiled)
    difference = np.abs(tiled - whole)[known] / whole[known].std()
    return float(difference.mean()), float(difference.max())


def replace(marker: str, text: str) -> None:
    """Put text between the markers of the page."""
    start, end = f"<!-- {marker} -->\n", f"<!-- /{marker} -->"
    page = PAGE.read_text()
    before, rest = page.split(start)
    PAGE.write_text(before + start + text + end + rest.split(end)[1])


if __name__ == "__main__":
    main()
