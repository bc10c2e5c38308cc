"""What a reconstruction would do, before it does it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.cli.group import as_options
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.core.windows import Halo
from xcloudfree.masks.resolve import plan_mask
from xcloudfree.plot import help as describe
from xcloudfree.plot.help.reading import reading_factor
from xcloudfree.reconstruct.checks import check_fitness
from xcloudfree.reconstruct.compose import EDGE


def plan_text(
    obj: xr.Dataset | xr.DataArray,
    model: str,
    out: str,
    *,
    mask: str = "score",
    dilate: int = 0,
    shadow: bool | None = None,
) -> str:
    """Blocks, reading, memory, arithmetic and size of a reconstruction.

    Parameters
    ----------
    obj : Dataset or DataArray
        A scene, lazy.
    model : str
        Name or path of the model, or a classical method.
    out : str
        Where the result would go.
    mask, dilate, shadow
        See :func:`xcloudfree.reconstruct.reconstruct`.

    Returns
    -------
    str
        Lines for the terminal; memory and arithmetic are estimates.

    Raises
    ------
    CloudFreeError
        If the model or the mask does not fit the scene.
    """
    scene = read(obj)
    chunks = _chunks(scene)
    lead = int(np.prod([scene.source.sizes[d] for d in scene.lead], dtype=int))
    blocks = lead * len(chunks[0]) * len(chunks[1])
    side = max(chunks[0]), max(chunks[1])
    told = describe.page(obj)
    lines = [f"scene       {told.title}"]
    lines += [
        f"{row.label:<12}{row.value}; {as_options(row.call)}" for row in told.rows if row.call
    ]
    shape = f"{side[0]} x {side[1]} px"
    lines.append(f"blocks      {blocks} of {shape}, one task each")
    margin = plan_mask(scene, mask, None, dilate, shadow=shadow).reach + EDGE
    window, network = _network(model, chunks, scene, lead, margin)
    lines += network
    bands, kinds = _bands(scene)
    size = lead * scene.shape[0] * scene.shape[1] * (bands * kinds + 1)
    read_ = window[0] * window[1] * (bands + _polarisations(scene)) * 4 * 2
    lines.append(f"memory      {_bytes(read_ + window[2])} for each block in work, about")
    lines.append(f"output      {out}, {_bytes(size)} before compression")
    return "\n".join(lines)


def _network(
    model: str,
    chunks: tuple[tuple[int, ...], tuple[int, ...]],
    scene: Scene,
    lead: int,
    margin: int,
) -> tuple[tuple[int, int, int], list[str]]:
    """Rows and columns of a window, bytes of the network in it, and lines about both."""
    from xcloudfree import methods
    from xcloudfree.models import load

    side = max(chunks[0]), max(chunks[1])
    if methods.known(model):
        method = methods.get(model)
        window = side[0] + 2 * method.reach, side[1] + 2 * method.reach
        dates = " and reads all dates of a block at once" if method.temporal else ""
        many = lead if method.temporal else 1
        values = 8 * many * window[0] * window[1] * _bands(scene)[0]
        return (*window, values), [f"method      {model} needs no weights{dates}"]
    from xcloudfree.models.cost import multiply_adds, parameters, peak_bytes

    network = load(model)
    spec = network.spec
    check_fitness(scene, spec)
    pixels = lead * scene.shape[0] * scene.shape[1]
    work = multiply_adds(network, 256) / 256**2
    per_pixel = peak_bytes(network, 128) / 128**2
    lines = [
        f"network     {spec.name}: {parameters(network) / 1e6:.2f} M parameters, "
        f"{work / 1e6:.2f} million multiply-adds a pixel"
    ]
    if spec.reach is None:
        tile = spec.tile or 256
        lines.append(f"reading     fixed tiles of {tile} x {tile} px, blended")
        window = side[0] + tile, side[1] + tile
        return (*window, int(per_pixel * tile**2)), [*lines, _work(work, pixels, 1.6)]
    plan = Halo(spec.reach + -(-margin // spec.stride) * spec.stride, spec.stride)
    factor = reading_factor(plan, chunks)
    rows, columns = (max(s.read_stop - s.read_start for s in plan.spans(n)) for n in chunks)
    lines.append(
        f"reading     {factor:.2f} times the area: stride {spec.stride}, reach {spec.reach} px"
    )
    return (rows, columns, int(per_pixel * rows * columns)), [*lines, _work(work, pixels, factor)]


def _work(per_pixel: float, pixels: int, factor: float) -> str:
    total = per_pixel * pixels * factor
    return (
        f"arithmetic  {total:.2g} multiply-adds if all is cloud; far from clouds pixels cost none"
    )


def _chunks(scene: Scene) -> tuple[tuple[int, ...], tuple[int, ...]]:
    template = scene.template()
    rows, columns = (
        template.variable.chunksizes.get(d, (n,))
        for d, n in zip(scene.spatial, scene.shape, strict=True)
    )
    return tuple(rows), tuple(columns)


def _bands(scene: Scene) -> tuple[int, int]:
    """Optical bands, and bytes of a value."""
    if scene.optical is None:
        return 0, 0
    return len(scene.optical.names), scene.optical.arrays[0].dtype.itemsize


def _polarisations(scene: Scene) -> int:
    return 0 if scene.sar is None else len(scene.sar.names)


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"


def plan_mask_text(obj: Any, method: str, out: str) -> str:
    """What writing a mask would do.

    Parameters
    ----------
    obj : Dataset or DataArray
        A scene, lazy.
    method : str
        Of the mask.
    out : str
        Where it would go.

    Returns
    -------
    str
    """
    scene = read(obj)
    chunks = _chunks(scene)
    lead = int(np.prod([scene.source.sizes[d] for d in scene.lead], dtype=int))
    told = describe.page(obj)
    verdicts = {v.name: v for v in told.masks}
    fits = verdicts.get(method)
    state = "unknown" if fits is None else "ready" if fits.fits else fits.reason
    size = lead * scene.shape[0] * scene.shape[1]
    return "\n".join(
        [
            f"scene       {told.title}",
            f"mask        {method}: {state}",
            f"blocks      {lead * len(chunks[0]) * len(chunks[1])}, one task each",
            f"output      {out}, {_bytes(size)} before compression",
        ]
    )
