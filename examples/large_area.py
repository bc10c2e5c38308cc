"""Reconstruct an area of any size on a cluster, into a Zarr store and cloud-optimised GeoTIFFs.

    python examples/large_area.py out.zarr                         # simulated scene, this machine
    python examples/large_area.py out.zarr --scene scene.zarr      # a scene that you have
    python examples/large_area.py out.zarr --catalog https://earth-search.aws.element84.com/v1 \\
        --bbox 11.0 46.0 12.0 47.0 --datetime 2025-05/2025-07      # a search, lazily
    python examples/large_area.py out.zarr --scheduler tcp://head-node:8786 --cog maps/area.tif

Whatever ends it (Ctrl-C, a lost node, a full disk, a time limit), the same command goes on where it
stopped: blocks that are in the store are not computed again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import xarray as xr

import xcloudfree as xcf
from xcloudfree.exceptions import CloudFreeError

EPILOGUE = """
\b
Sizes: a block (--block) is a dask chunk, a task and a file of the store. 1024 suits CPUs and
GPUs; with 13 bands it is 52 MiB of reflectance, and a worker needs about 3 GiB.
\b
Several GPUs: one worker process for each, which sees one device and declares it, such as
  CUDA_VISIBLE_DEVICES=0 dask worker tcp://head-node:8786 --nthreads 4 --resources GPU=1
\b
Workers, scheduler and this command must have the same versions installed and see OUT and SCENE
under the same path; keys for protected catalogs go into the workers' environment.
"""


@click.command(epilog=EPILOGUE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--scene", type=click.Path(exists=True, path_type=Path), help="Zarr store of a scene."
)
@click.option("--catalog", help="Address of a STAC API to search; needs --bbox and --datetime.")
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="In degrees.")
@click.option("--datetime", "when", help="Such as 2025-05/2025-07.")
@click.option("--size", default=2048, show_default=True, help="Pixels of the simulated scene.")
@click.option("--block", default=1024, show_default=True, help="Pixels of a block.")
@click.option("--model", default="auto", show_default=True, help="Name or file.")
@click.option("--mask", default="auto", show_default=True, help="series, scl, l2a, ...")
@click.option("--dilate", default=0, show_default=True, help="Pixels to extend the mask by.")
@click.option("--device", help="Torch device of the workers; by default a GPU where there is one.")
@click.option(
    "--encoding",
    type=click.Choice(["int16", "uint16", "float32"]),
    default="int16",
    show_default=True,
    help="How reflectance is stored; integers in steps of 1e-4.",
)
@click.option("--cog", type=click.Path(path_type=Path), help="Name of GeoTIFFs to write as well.")
@click.option(
    "--per", type=click.Choice(["date", "band"]), default="date", help="What a GeoTIFF holds."
)
@click.option("--scheduler", help="Address of a running cluster; else one is started here.")
@click.option("--workers", type=int, help="Processes of the cluster started here.")
@click.option("--threads", default=1, show_default=True, help="Threads of each of them.")
@click.option(
    "--memory", default="1 GiB", show_default=True, help="Input that a worker may keep to share."
)
@click.option("--anew", is_flag=True, help="Forget what an unfinished run has written.")
def main(out: Path, **options: Any) -> None:
    """Reconstruct a scene block by block on a cluster and store it in OUT (Zarr).

    The scene is simulated, or a store (--scene), or what a catalog finds (--catalog). The cluster
    is one that runs (--scheduler), or is started on this machine. Interrupted, the same command
    goes on where it stopped.

    \b
      large_area.py out.zarr --size 4096 --cog maps/area.tif
      large_area.py out.zarr --scheduler tcp://head-node:8786 --model mine.safetensors \\
          --catalog https://earth-search.aws.element84.com/v1 \\
          --bbox 11.0 46.0 12.0 47.0 --datetime 2025-05/2025-07 --mask l2a
    """
    try:
        run(out, **options)
    except CloudFreeError as error:
        raise click.ClickException(str(error)) from error


def run(
    out: Path,
    *,
    scheduler: str | None,
    workers: int | None,
    threads: int,
    encoding: str,
    memory: str,
    anew: bool,
    cog: Path | None,
    per: str,
    model: str,
    mask: str,
    dilate: int,
    device: str | None,
    **source: Any,
) -> None:
    with cluster(scheduler, workers, threads) as client:
        page = f", watch it at {client.dashboard_link}" if scheduler else ""
        click.echo(f"{client.scheduler.address}: {len(client.nthreads())} workers{page}")
        ds = opened(out, **source)
        click.echo(repr(ds.cloudfree))
        lazy = ds.cloudfree.reconstruct(model=model, mask=mask, dilate=dilate, device=device)
        start = time.monotonic()
        stored = xcf.io.to_zarr(
            lazy,
            out,
            mode="overwrite" if anew else "w",
            encoding=None if encoding == "float32" else encoding,  # type: ignore[arg-type]
            memory=memory,
        )
        click.echo(f"{out}: {dict(stored.sizes)} in {time.monotonic() - start:.0f} s")
    if cog is not None:
        for file in xcf.io.to_cog(stored, cog, per=per):  # type: ignore[arg-type]
            click.echo(str(file))


@contextmanager
def cluster(address: str | None, workers: int | None, threads: int) -> Iterator[Any]:
    """Client of a cluster: the one at an address, or one of our own for as long as it is needed."""
    from distributed import Client, LocalCluster

    if address is not None:
        with Client(address) as client:
            client.wait_for_workers(1)
            yield client
        return
    cores = os.cpu_count() or 1
    with (
        LocalCluster(
            n_workers=workers or max(1, cores // threads),
            threads_per_worker=threads,
            dashboard_address=None,
        ) as local,
        Client(local) as client,
    ):
        yield client


def opened(
    out: Path,
    *,
    scene: Path | None,
    catalog: str | None,
    bbox: tuple[float, ...] | None,
    when: str | None,
    size: int,
    block: int,
) -> xr.Dataset | xr.DataArray:
    """The scene, lazily, in blocks of one date."""
    if catalog is not None:
        if not bbox or not when:
            raise click.UsageError("--catalog needs --bbox and --datetime")
        return xcf.stac.load(catalog, bbox=bbox, datetime=when, chunks={"y": block, "x": block})
    if scene is None:
        scene = out.with_name(out.stem + "-scene.zarr")
        if not scene.exists():  # in a store, not in the graph: workers read their own blocks
            click.echo(f"simulating {size} x {size} pixels into {scene}")
            simulated = xcf.datasets.simulate_scene((size, size), seed=7, cover=0.4)
            xcf.io.to_zarr(simulated.chunk(time=1, y=block, x=block), scene, progress=False)
    ds = xcf.io.open_zarr(scene)
    own = {d: block for d in ("y", "x") if d in ds.chunksizes and max(ds.chunksizes[d]) > block}
    return ds.chunk(own) if own else ds


if __name__ == "__main__":
    main()
