"""Files that are complete as soon as they have their name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from xcloudfree.exceptions import DataError


@contextmanager
def replacing(target: Path, call: str) -> Iterator[Path]:
    """Path of a temporary file that replaces the target when it is complete."""
    partial = target.with_name(f"{target.stem}.{uuid4().hex}.partial{target.suffix}")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise DataError(
            f"Writing {target} stopped: {error.strerror or error}",
            fix=f"make room there, or choose another folder, and call {call} again",
            option="make room there, or choose another place, and repeat the command",
        ) from error
    finally:
        with suppress(OSError):  # a disk that cannot be written to does not contain it
            partial.unlink(missing_ok=True)
