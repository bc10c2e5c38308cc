"""The folder of a store: written under a temporary name, and renamed when complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import xarray as xr

from xcloudfree.exceptions import DataError
from xcloudfree.io.layout import create, create_group, disk
from xcloudfree.io.ledger import LEDGER, Identity, Ledger

try:
    import fcntl
except ImportError:  # on Windows an open file would prevent the folder from being renamed
    fcntl = None  # type: ignore[assignment]

LOCK: Final = ".xcloudfree-lock"
"""Lock file of the writing process; the system unlocks it however the process ends."""


def local_path(path: str | os.PathLike[str]) -> Path:
    """Absolute path of a store."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ""
    if not text or "://" in text:
        raise DataError(
            f"{text or type(path).__name__} is not a local path",
            fix="write here and copy the finished store: xcf.io.to_zarr(obj, 'out.zarr')",
            option="write to this machine and copy the finished store",
        )
    return Path(text).absolute()


def is_store(folder: Path) -> bool:
    """Whether a folder holds a Zarr store."""
    return (folder / "zarr.json").is_file() or (folder / ".zgroup").is_file()


def check_target(target: Path, mode: str) -> None:
    """Raise an error instead of replacing a folder that is no store, or any store with "w-"."""
    if not target.exists():
        return
    if not is_store(target) and not (target.is_dir() and not any(target.iterdir())):
        raise DataError(
            f"{target} exists and is not a Zarr store",
            fix="choose another name: xcf.io.to_zarr(obj, "
            f"{str(target.with_name(target.stem + '-new.zarr'))!r})",
            option="choose another name for the output",
        )
    if mode == "w-":
        raise DataError(
            f"{target} exists",
            fix=f"call xcf.io.to_zarr(obj, {str(target)!r}, mode='w')",
            option="choose another name for the output, or remove the old one",
        )


@contextmanager
def exclusive(partial: Path, target: Path) -> Iterator[None]:
    """Make the folder of an unfinished write, and lock other processes out."""
    if partial.exists() and not _is_ours(partial):
        raise DataError(
            f"{partial} exists but was not written by xcloudfree",
            fix="choose another name: xcf.io.to_zarr(obj, "
            f"{str(target.with_name(target.stem + '-new.zarr'))!r})",
            option="choose another name for the output",
        )
    lock = None
    while lock is None:
        with disk(target):
            partial.mkdir(parents=True, exist_ok=True)
            # None: another process finished and renamed the folder in between
            lock = _locked(partial / LOCK, target)
    try:
        yield
    finally:
        lock.close()


def _locked(path: Path, target: Path) -> Any | None:
    """The open lock of this process; None if it no longer exists."""
    try:
        file = path.open("a")
    except FileNotFoundError:
        return None
    if fcntl is None:  # type: ignore[unreachable,unused-ignore]
        file.close()  # type: ignore[unreachable,unused-ignore]
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise DataError(
            f"Another process is writing {target}",
            fix=f"open the result when it has finished: xcf.io.open_zarr({str(target)!r})",
            option="wait until it has finished",
        ) from error
    except OSError:
        return file  # this file system has no locks
    with suppress(FileNotFoundError):  # the folder may have been renamed meanwhile
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
    file.close()
    return None


def _is_ours(partial: Path) -> bool:
    """Whether a folder is an unfinished write, even one that has just begun."""
    names = {path.name for path in partial.iterdir()} if partial.is_dir() else {""}
    begun = all(name.startswith("zarr.json.") and name.endswith(".partial") for name in names)
    return begun or bool(names & {"zarr.json", ".zgroup", LOCK, LEDGER})


def begin(
    ds: xr.Dataset,
    partial: Path,
    target: Path,
    mine: Identity,
    side: int,
    *,
    anew: bool,
    group: str = "",
    call: str = "to_zarr",
) -> Ledger:
    """Ledger of the unfinished write of this object, or of a new one with empty arrays."""
    ledger = None if anew else Ledger.read(partial)
    if ledger is not None and not ledger.done and ledger.differences(mine):
        ledger = None  # nothing of it is finished, so nothing is lost
    if ledger is not None and (differences := ledger.differences(mine)):
        anew_call = f"start again: xcf.io.to_zarr(obj, {str(target)!r}, mode='overwrite')"
        if call != "to_zarr":  # which would replace the dates of the store
            anew_call = f"give it up: shutil.rmtree({str(partial)!r})"
        raise DataError(
            f"{partial} is an unfinished write of another object ({differences})",
            fix=f"pass that object to finish it, or {anew_call}",
            option=f"repeat the command as it was to finish it, or remove {partial}",
        )
    arrays = [partial, *(partial / group / str(name) for name in ds.variables)]
    if ledger is not None and all((array / "zarr.json").is_file() for array in arrays):
        return ledger
    (partial / LEDGER).unlink(missing_ok=True)  # first, or it could list blocks that are gone
    for path in partial.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
    if group:
        create_group(partial)
    create(ds, partial / group, side)
    return Ledger.begin(partial, mine)


def publish(partial: Path, target: Path) -> None:
    """Rename the complete store."""
    old = target.with_name(target.name + ".replaced")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    _finish(target, old)


def recover(target: Path) -> None:
    """Bring a store into a state in which it can be opened, if a process ended while it renamed."""
    partial, old = (target.with_name(target.name + end) for end in (".partial", ".replaced"))
    if old.exists() and partial.exists() and not target.exists():
        with exclusive(partial, target):
            if not target.exists():
                old.rename(target)
    published(target, {})


def published(target: Path, mine: Identity) -> bool:
    """Whether this object was complete, and the process ended during renaming."""
    ledger = Ledger.read(target)
    if ledger is None:
        return False
    _finish(target, target.with_name(target.name + ".replaced"))
    return not ledger.differences(mine)


def _finish(target: Path, old: Path) -> None:
    """Remove files of the write that do not belong to the store; the ledger last."""
    (target / LOCK).unlink(missing_ok=True)
    shutil.rmtree(old, ignore_errors=True)
    (target / LEDGER).unlink(missing_ok=True)
