"""Logs of a fit: a table, TensorBoard if it is installed, and pictures."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("step", "loss", "learning_rate", "validation_error")


class Journal:
    """Append to ``metrics.csv`` and to TensorBoard's own file in one folder."""

    def __init__(self, folder: Path | None, first: int = 0) -> None:
        self.folder, self.table = folder, None
        self.board: Any = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.csv"
        rows = []
        if first and path.is_file():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) < first]
        self.table = path.open("w", newline="")
        self.writer = csv.DictWriter(self.table, COLUMNS)
        self.writer.writeheader()
        self.writer.writerows(rows)
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder), purge_step=first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.table is not None:
            self.table.close()
        if self.board is not None:
            self.board.close()

    def write(self, step: int, **values: float) -> None:
        """Append one row."""
        if self.table is None:
            return
        self.writer.writerow({"step": step, **{k: f"{v:.6g}" for k, v in values.items()}})
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Flush rows to the disk."""
        if self.table is not None:
            self.table.flush()

    def picture(self, step: int, rows: Sequence[NDArray[np.float32]], bands: Sequence[str]) -> None:
        """Write samples as ``samples-<step>.png``: cloudy, predicted and target side by side."""
        if self.folder is None:
            return
        image = contact_sheet(rows, bands)
        _write_png(self.folder / f"samples-{step:06d}.png", image)
        if self.board is not None:
            self.board.add_image("samples", image, step)


def contact_sheet(
    columns: Sequence[NDArray[np.float32]], bands: Sequence[str]
) -> NDArray[np.uint8]:
    """Columns of images (n, band, y, x) as one picture (3, n * y, columns * x) of uint8."""
    natural = ("B04", "B03", "B02")
    names = natural if set(natural) <= set(bands) else (bands[0],) * 3
    chosen = [list(bands).index(name) for name in names]
    grid = np.concatenate([np.moveaxis(c[:, chosen], 1, 0) for c in columns], axis=-1)
    sheet = grid.reshape(3, -1, grid.shape[-1])
    return np.asarray(np.rint(255 * np.clip(np.nan_to_num(sheet) / 0.3, 0, 1)), np.uint8)


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    import rasterio

    _, height, width = image.shape
    shape: dict[str, Any] = {"count": 3, "height": height, "width": width, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="PNG", **shape) as file:
            file.write(image)
