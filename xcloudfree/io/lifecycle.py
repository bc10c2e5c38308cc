"""The folder of a store: begun under another name, and renamed when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xarray as xr

from xcloudfree.exceptions import DataError
from xcloudfree.io.layout import create, refused
from xcloudfree.io.ledger import LEDGER, Identity, Ledger


@contextmanager
def disk(target: Path) -> Iterator[None]:
    """Say what to do when the disk refuses.

    Parameters
    ----------
    target : Path
        The store, for the error.

    Raises
    ------
    CloudFreeError
        Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise refused(error, str(target)) from error


def local_path(path: str | os.PathLike[str]) -> Path:
    """Where a store is, as an absolute path.

    Parameters
    ----------
    path : path-like
        As the user gave it.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If it is an address.
    """
    text = os.fspath(path)
    if "://" in text:
        raise DataError(
            f"{text} is not a local path; write here and copy the finished store: "
            "xcf.io.to_zarr(obj, 'out.zarr')."
        )
    return Path(text).absolute()


def is_store(folder: Path) -> bool:
    """Whether a folder holds a Zarr store.

    Parameters
    ----------
    folder : Path
        There or not.

    Returns
    -------
    bool
    """
    return (folder / "zarr.json").is_file() or (folder / ".zgroup").is_file()


def check_target(target: Path, mode: str) -> None:
    """Refuse to replace what is no Zarr store, or any store if so asked.

    Parameters
    ----------
    target : Path
        The name of the complete store.
    mode : {"w", "w-", "overwrite"}
        See :func:`xcloudfree.io.to_zarr`.

    Raises
    ------
    DataError
        If something is there that must stay.
    """
    if not target.exists():
        return
    if not is_store(target) and not (target.is_dir() and not any(target.iterdir())):
        raise DataError(
            f"{target} exists and is not a Zarr store; choose another name: "
            f"xcf.io.to_zarr(obj, {str(target.with_name(target.stem + '-new.zarr'))!r})."
        )
    if mode == "w-":
        raise DataError(f"{target} exists: xcf.io.to_zarr(obj, {str(target)!r}, mode='w').")


def begin(
    ds: xr.Dataset, partial: Path, target: Path, mine: Identity, chunks: int, *, anew: bool
) -> Ledger:
    """Ledger of the unfinished write of this very object, or of a new one with empty arrays.

    Parameters
    ----------
    ds : Dataset
        What is written.
    partial, target : Path
        The store while it is written, and its name when it is complete.
    mine : Identity
        Of the object.
    chunks : int
        Side of a chunk in pixels.
    anew : bool
        Whether to forget what an interrupted write left.

    Returns
    -------
    Ledger

    Raises
    ------
    DataError
        If another object is half written there, or something that is not ours.
    """
    ledger = None if anew else Ledger.read(partial)
    if ledger is not None:
        if differences := ledger.differences(mine):
            raise DataError(
                f"{partial} holds an unfinished write of another object ({differences}); pass "
                "that object to finish it, or begin anew: "
                f"xcf.io.to_zarr(obj, {str(target)!r}, mode='overwrite')."
            )
        return ledger
    if partial.exists():
        if not (is_store(partial) or not any(partial.iterdir())):
            raise DataError(
                f"{partial} is in the way and not ours; choose another name: "
                f"xcf.io.to_zarr(obj, {str(target.with_name(target.stem + '-new.zarr'))!r})."
            )
        shutil.rmtree(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    create(ds, partial, chunks)
    return Ledger.begin(partial, mine)


def publish(partial: Path, target: Path) -> None:
    """Give the complete store its name.

    Parameters
    ----------
    partial, target : Path
        The store while it was written, and its name.
    """
    old = target.with_name(target.name + ".replaced")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    (target / LEDGER).unlink()
    if old.exists():
        shutil.rmtree(old)


def published(target: Path, mine: Identity) -> bool:
    """Whether this very object was complete, and the process ended while it took its name.

    Parameters
    ----------
    target : Path
        The name of the complete store.
    mine : Identity
        Of the object.

    Returns
    -------
    bool
    """
    ledger = Ledger.read(target)
    if ledger is None:
        return False
    (target / LEDGER).unlink()
    shutil.rmtree(target.with_name(target.name + ".replaced"), ignore_errors=True)
    return not ledger.differences(mine)
