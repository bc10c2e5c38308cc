"""Storage survives: killed processes and workers, a full disk; the store comes out the same."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr.storage

from tests.builders import contents
from tests.processes import cluster, exit_code
from xcloudfree.exceptions import DataError
from xcloudfree.io import cells, layout, open_zarr, to_zarr, zarr_store
from xcloudfree.io.ledger import LEDGER, Ledger

BLOCKS = 12


def noise(block_info: Any = None, pause: float = 0.0) -> np.ndarray:
    """Numbers that compress badly and depend on their place only."""
    time.sleep(pause)
    place = block_info[None]
    rng = np.random.default_rng(place["chunk-location"])
    return rng.random(place["chunk-shape"], dtype=np.float32)


def scene(pause: float = 0.0, side: int = 32) -> xr.Dataset:
    """Three variables in 4 x 3 blocks."""
    chunks = ((side,) * 4, (side,) * 3)
    meta = np.empty((0, 0), np.float32)
    source = da.map_blocks(noise, pause=pause, chunks=chunks, dtype=np.float32, meta=meta)
    return xr.Dataset({f"B0{k}": (("y", "x"), source + np.float32(k)) for k in (2, 3, 4)})


def finished(store: Path) -> int:
    ledger = store.with_name(store.name + ".partial") / LEDGER
    return len(ledger.read_bytes().splitlines()) - 1 if ledger.exists() else 0


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    to_zarr(scene(), tmp_path / "whole.zarr", progress=False)
    return contents(tmp_path / "whole.zarr")


# ------------------------------------------------------------------ the process is killed


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_until_killed(path: Path, moment: str) -> None:
    """The child: writes, and kills itself at the eighth block."""
    if moment == "inside a file":
        real_replace = Path.replace
        renames = iter(range(10_000))

        def replace(self: Path, target: Any) -> Path:
            if "/c/" in str(self) and next(renames) == 3 * 7 + 1:
                os.truncate(self, self.stat().st_size // 2)
                die()
            return real_replace(self, target)

        Path.replace = replace  # type: ignore[method-assign]
    elif moment == "between two variables":
        real_flush, flushes = layout.flush, iter(range(10_000))

        def flush(file: Path) -> None:
            real_flush(file)
            if next(flushes) == 3 * 7 + 1:
                die()

        layout.flush = flush
    else:
        real_add, adds = Ledger.add, iter(range(10_000))

        def add(self: Ledger, key: str) -> None:
            if next(adds) == 7:
                die()
            real_add(self, key)

        Ledger.add = add  # type: ignore[method-assign]
    to_zarr(scene(), path, progress=False)


@pytest.mark.parametrize(
    "moment", ["inside a file", "between two variables", "before it is recorded"]
)
def test_second_call_after_a_kill_gives_the_bytes_of_an_undisturbed_run(
    tmp_path: Path, undisturbed: dict[str, bytes], moment: str
) -> None:
    if moment == "inside a file" and not hasattr(zarr.storage._local, "_atomic_write"):
        pytest.skip("this zarr does not write beside a file and rename")
    store = tmp_path / "out.zarr"
    assert exit_code(run_until_killed, store, moment) == -signal.SIGKILL
    assert not store.exists()
    with pytest.raises(DataError, match="interrupted"):
        open_zarr(store)
    done = finished(store)
    assert 0 < done < BLOCKS
    left = [p for p in store.with_name("out.zarr.partial").rglob("*.partial") if p.is_file()]
    assert left or moment != "inside a file"  # another thread may have been inside one too
    computed = count_computed(store)
    assert computed == BLOCKS - done
    assert contents(store) == undisturbed


def count_computed(store: Path) -> int:
    """Finish a write, and count the blocks that were computed for it."""
    before = finished(store)
    seen = []
    real = Ledger.add

    def add(self: Ledger, key: str) -> None:
        seen.append(key)
        real(self, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "add", add)
        to_zarr(scene(), store, progress=False)
    assert before + len(seen) == BLOCKS
    return len(seen)


def test_a_straggler_of_an_earlier_write_changes_nothing(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread or worker that is still at its block when another write begins."""
    store, real, found = tmp_path / "out.zarr", zarr_store.stream, []

    def interrupted(ds: xr.Dataset, grid: Any, write: Any, **_: Any) -> None:
        found.append((write, cells.pieces(ds, grid)))
        raise KeyboardInterrupt

    def overtaken(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        write, parts = found[0]
        with pytest.raises(DataError, match="Another write of .* has begun"):
            write(parts, (0, 0), *(np.zeros((32, 32), np.float32) for _ in parts))

    with monkeypatch.context() as patch:
        patch.setattr(zarr_store, "stream", interrupted)
        with pytest.raises(KeyboardInterrupt):
            to_zarr(scene(), store, progress=False)
        patch.setattr(zarr_store, "stream", overtaken)
        to_zarr(scene(), store, mode="overwrite", progress=False)
    assert contents(store) == undisturbed


# ------------------------------------------------------------------ a worker is killed


def test_a_killed_worker_costs_time_and_nothing_else(
    tmp_path: Path, undisturbed: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    distributed = pytest.importorskip("distributed")
    store = tmp_path / "out.zarr"
    with cluster() as started, distributed.Client(started) as client:
        workers = set(client.run(os.getpid).values())
        victim = min(workers)

        def kill() -> None:
            while finished(store) < 2:
                time.sleep(0.005)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        to_zarr(scene(pause=0.1), store, progress=True)
        killer.join()
        client.wait_for_workers(2)
        assert victim not in client.run(os.getpid).values()
    assert contents(store) == undisturbed
    assert f"{BLOCKS}/{BLOCKS}" in capsys.readouterr().err


# ------------------------------------------------------------------ the disk is full


def test_a_full_disk_is_told_and_what_is_finished_stays(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "out.zarr"
    writes = iter(range(10_000))

    def full(path: Path) -> None:
        if next(writes) >= 20:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(layout, "flush", full)
        with pytest.raises(DataError, match=r"No space left on device.*room.*to_zarr\(obj, '.*'"):
            to_zarr(scene(), store, progress=False)
    assert 0 < finished(store) < BLOCKS
    assert not store.exists()
    to_zarr(scene(), store, progress=False)
    assert contents(store) == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(tmp_path: Path, small_disk: Path) -> None:
    whole, store = tmp_path / "whole.zarr", small_disk / "out.zarr"
    to_zarr(scene(side=128), whole, progress=False)  # 2 MB
    with pytest.raises(DataError, match="No space left on device"):
        to_zarr(scene(side=128), store, progress=False)
    assert 0 < finished(store) < BLOCKS
    with pytest.raises(DataError, match="No space left on device"):
        to_zarr(scene(side=128), store, progress=False)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    to_zarr(scene(side=128), store, progress=False)
    assert contents(store) == contents(whole)


def test_the_ledger_names_the_model_that_differs(tmp_path: Path) -> None:
    def made(model: str, seed: int) -> xr.Dataset:
        flags = xr.DataArray(np.full((4, 4), seed, np.uint8), dims=("y", "x"))
        ds = xr.Dataset({"provenance": flags.assign_attrs(model=model, mask="score")})
        return ds.chunk(y=2)

    store = tmp_path / "out.zarr"
    add = Ledger.add

    def die(self: Ledger, key: str) -> None:
        raise KeyboardInterrupt

    def die_later(self: Ledger, key: str) -> None:
        add(self, key)
        raise KeyboardInterrupt

    for seed, stopped in ((2, die), (1, die_later)):  # of the first nothing is finished, or lost
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ledger, "add", stopped)
            with pytest.raises(KeyboardInterrupt):
                to_zarr(made("carf-tiny", seed), store, progress=False)
    with pytest.raises(DataError, match=r"model is 'carf-small', was 'carf-tiny'") as e:
        to_zarr(made("carf-small", 1), store, progress=False)
    assert "values" not in str(e.value)
    with pytest.raises(DataError, match="provenance: other values"):
        to_zarr(made("carf-tiny", 2), store, progress=False)
    assert json.loads((tmp_path / "out.zarr.partial" / LEDGER).read_text().splitlines()[0])
