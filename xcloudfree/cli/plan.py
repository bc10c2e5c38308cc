"""Estimates of what writing a mask or a reconstruction will take, before it runs."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from math import prod
from typing import Any, Final

import xarray as xr

from xcloudfree import methods
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Halo
from xcloudfree.exceptions import CloudFreeError
from xcloudfree.masks.resolve import plan_mask
from xcloudfree.masks.shares import middle
from xcloudfree.plot import help as help_page
from xcloudfree.plot.help.findings import reading_factor
from xcloudfree.reconstruct.checks import check_fitness
from xcloudfree.reconstruct.choice import AUTO
from xcloudfree.reconstruct.compose import EDGE

SIDE: Final = 128
"""Side in px of the window from which the time is estimated."""

Chunks = tuple[tuple[int, ...], tuple[int, ...]]


def plan_mask_text(obj: xr.Dataset | xr.DataArray, method: str, out: str) -> str:
    """Cost of writing a mask, as lines for the terminal."""
    scene, page = read(obj), help_page.page(obj)
    chunks, images = _chunks(scene), _images(scene)
    verdict = next((v for v in page.masks if v.name == method), None)
    state = "unknown" if verdict is None else verdict.reason or "ready"
    return "\n".join(
        [
            f"scene       {page.title}",
            f"mask        {method}: {state}",
            f"blocks      {images * len(chunks[0]) * len(chunks[1])}, one task each",
            f"output      {out}, {_bytes(images * prod(scene.shape))} before compression",
        ]
    )


def plan_text(
    obj: xr.Dataset | xr.DataArray,
    model: str,
    out: str,
    *,
    mask: str = "auto",
    dilate: int = 0,
    shadow: bool | None = None,
    chosen_by: str = "",
) -> str:
    """Blocks, reading, memory, compute and size of a reconstruction, as lines."""
    scene, page = read(obj), help_page.page(obj)
    chosen = [f"model       {chosen_by}"] if chosen_by else []
    chunks, images = _chunks(scene), _images(scene)
    rows, columns = max(chunks[0]), max(chunks[1])
    plan = plan_mask(scene, mask, None, dilate, shadow=shadow)
    if plan.reason:
        chosen.append(f"mask        {AUTO} chooses {plan.label}: {plan.reason}")
    margin = plan.reach + EDGE
    estimate = _method if methods.known(model) else _network
    window, working_bytes, lines = estimate(model, scene, chunks, margin)
    bands, itemsize = _bands(scene)
    planes = bands + (len(scene.sar.names) if scene.sar else 0)
    memory = window[0] * window[1] * planes * 4 * 2 + working_bytes
    size = images * prod(scene.shape) * (bands * itemsize + 1)  # and a byte of provenance
    blocks = images * len(chunks[0]) * len(chunks[1])
    return "\n".join(
        [
            f"scene       {page.title}",
            *(f"{row.label:<12}{row.value}; {row.option or row.fix}" for row in page.missing),
            *chosen,
            f"blocks      {blocks} of {rows} x {columns} px, one task each",
            *lines,
            f"memory      {_bytes(memory)} for each block in work, about",
            f"output      {out}, {_bytes(size)} before compression",
        ]
    )


Estimate = tuple[tuple[int, int], int, list[str]]
"""Rows and columns of a window, its working bytes, and lines about both."""


def time_text(
    obj: xr.Dataset | xr.DataArray, run: Callable[[Any], Any], device: str | None = None
) -> str:
    """Time that a function of a scene will compute, from that of a window in its middle.

    Processor time of the window is spread over the threads: it varies less than what a clock says
    on a busy machine. Reading is left out, because it depends on where the scene lies.
    """
    from xcloudfree.core.devices import chosen, resolved
    from xcloudfree.io.schedulers import capacity, cluster

    scene = read(obj)
    window = middle(obj, SIDE).compute()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the run itself has warned
            run(middle(window, SIDE // 4)).compute()  # imports and loads the weights
            wall, work = time.perf_counter(), time.process_time()
            run(window).compute()
    except CloudFreeError as error:
        return f"time        unknown: in the middle of the scene, {error.problem}"
    wall, work = time.perf_counter() - wall, time.process_time() - work
    on_processor = "torch" not in sys.modules or resolved(chosen(device)).startswith("cpu")
    threads = capacity(cluster())[1]
    share = prod(window.sizes[dim] for dim in scene.spatial) / prod(scene.shape)
    seconds = (work / threads if on_processor else wall) / share
    where = f"{threads} threads" if on_processor else "the device"
    size = " x ".join(str(window.sizes[dim]) for dim in scene.spatial)
    return (
        f"time        about {_duration(seconds)} on {where} without reading: "
        f"{size} px of it took {wall:.1f} s"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _method(name: str, scene: Scene, chunks: Chunks, margin: int) -> Estimate:
    method = methods.get(name)
    window = max(chunks[0]) + 2 * method.reach, max(chunks[1]) + 2 * method.reach
    dates = _images(scene) if method.temporal else 1
    several = " and reads all dates of a block at once" if method.temporal else ""
    working_bytes = 8 * dates * prod(window) * _bands(scene)[0]
    return window, working_bytes, [f"method      {name} needs no weights{several}"]


def _network(name: str, scene: Scene, chunks: Chunks, margin: int) -> Estimate:
    from xcloudfree.models import load
    from xcloudfree.models.cost import multiply_adds, parameters, peak_bytes

    network = load(name)
    spec = network.spec
    check_fitness(scene, spec)
    work = multiply_adds(network, 256) / 256**2
    bytes_a_pixel = peak_bytes(network, 128) / 128**2
    if spec.reach is None:
        tile = spec.tile or 256
        factor, window = 1.6, (max(chunks[0]) + tile, max(chunks[1]) + tile)
        working_bytes = int(bytes_a_pixel * tile**2)
        reading = f"fixed tiles of {tile} x {tile} px, blended"
    else:
        halo = Halo(spec.reach + -(-margin // spec.stride) * spec.stride, spec.stride)
        factor = reading_factor(halo, chunks)
        rows, columns = (max(s.read_stop - s.read_start for s in halo.spans(n)) for n in chunks)
        window, working_bytes = (rows, columns), int(bytes_a_pixel * rows * columns)
        reading = f"{factor:.2f} times the area: stride {spec.stride}, reach {spec.reach} px"
    total = work * _images(scene) * prod(scene.shape) * factor
    return (
        window,
        working_bytes,
        [
            f"network     {spec.name}: {parameters(network) / 1e6:.2f} M parameters, "
            f"{work / 1e6:.2f} million multiply-adds per pixel",
            f"reading     {reading}",
            f"compute     {total:.2g} multiply-adds if everything is cloud; "
            "pixels far from clouds cost nothing",
        ],
    )


def _images(scene: Scene) -> int:
    return prod(scene.source.sizes[dim] for dim in scene.lead)


def _chunks(scene: Scene) -> Chunks:
    sizes = scene.template().variable.chunksizes
    rows, columns = (
        tuple(sizes.get(dim, (length,)))
        for dim, length in zip(scene.spatial, scene.shape, strict=True)
    )
    return rows, columns


def _bands(scene: Scene) -> tuple[int, int]:
    """Optical bands, and bytes per value."""
    if scene.optical is None:
        return 0, 0
    return len(scene.optical.names), scene.optical.arrays[0].dtype.itemsize


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
