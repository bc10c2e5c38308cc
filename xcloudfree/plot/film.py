"""A film of a series: one frame per date, before and after side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xcloudfree.core.bands import RGB
from xcloudfree.core.files import replacing
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError
from xcloudfree.plot import canvas
from xcloudfree.plot.colours import Limit, composite, limits_of, stretch
from xcloudfree.plot.strip import pixels
from xcloudfree.plot.view import Spatial, title, view

WRITERS = {".gif": "pillow", ".mp4": "ffmpeg"}


def movie(
    obj: Spatial,
    path: str | Path,
    *,
    observed: Spatial | None = None,
    mask: Any = "auto",
    bands: str | Sequence[str] = RGB,
    fps: int = 3,
    vmin: Limit = None,
    vmax: Limit = None,
    max_size: int = 400,
) -> Path:
    """Write a film with a frame per date: the cloudy input and the reconstruction side by side.

    All frames share the stretch of the clear pixels.

    Parameters
    ----------
    obj : Dataset or DataArray
        A reconstruction, or any input, with a ``time`` dimension.
    path : str or Path
        File to write: ``.gif``, or ``.mp4`` if the program ffmpeg is installed.
    observed : Dataset or DataArray, optional
        The cloudy input of `obj`, see :func:`xcloudfree.plot.plot`; shown if it has the same dates.
    mask : str, DataArray, callable or None
        Mask whose clear pixels set the stretch, see :func:`xcloudfree.plot.plot`.
    bands : str or sequence of str
        See :func:`xcloudfree.plot.rgb`.
    fps : int
        Frames per second.
    vmin, vmax : float or sequence of float, optional
        Reflectance that is black and that is full colour; percentiles of clear pixels by default.
    max_size : int
        Rows and columns of a frame at most.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DataError
        If there is no ``time`` dimension or another one, the file format is unknown, or ffmpeg is
        not installed for an MP4.
    MissingBandError
        If one of the bands is missing.
    CloudFreeError
        If matplotlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((32, 32), dates=3, cover=0.4, seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     scene.cloudfree.plot.movie(f"{folder}/scene.gif", mask="score").name
    'scene.gif'
    """
    plt, target = canvas.pyplot(), Path(path)
    from matplotlib import animation

    writer = _writer(target, animation.writers.is_available)
    names, whole = composite(bands), read(obj)
    if "time" not in whole.lead:
        raise DataError(
            "a film needs dates and there is no time dimension",
            fix="give it one with ds.expand_dims(time=...)",
            option="give a scene with several dates",
        )
    if others := [str(d) for d in whole.lead if d != "time"]:
        raise DataError(
            f"a film shows the dates of one scene and the data has a dimension {others[0]!r}",
            fix=f"choose one with ds.isel({others[0]}=0)",
            option=f"keep one element along {others[0]} in the file",
        )
    views = [view(whole, None, i, max_size) for i in range(whole.source.sizes["time"])]
    rows: list[tuple[str, Spatial]] = []
    dates = None if observed is None else observed.coords.get("time")
    if observed is not None and dates is not None and np.array_equal(dates, obj["time"]):
        rows.append(("observed", observed))
    rows.append(("reconstructed" if rows else "", obj))
    hidden, images = pixels(obj, rows, views, names, mask)
    limits = limits_of(images[rows[0][0]], hidden, vmin, vmax)

    tall = whole.shape[0] / whole.shape[1]
    figure, axes = plt.subplots(
        1, len(rows), squeeze=False, figsize=(3.6 * len(rows), 3.6 * tall + 0.45), dpi=110,
        layout="constrained",
    )  # fmt: skip
    shown = []
    for axis, (row, _) in zip(axes[0], rows, strict=True):
        axis.set_axis_off()
        axis.set_title(row, fontsize=9)
        shown.append(axis.imshow(stretch(images[row][0], limits), interpolation="nearest"))
    words = figure.suptitle(" ", fontsize=10)
    try:
        film = animation.writers[writer](fps=fps)
        with (
            replacing(target, f"plot.movie({str(target)!r})") as partial,
            film.saving(figure, str(partial), dpi=110),
        ):
            for number, seen in enumerate(views):
                for image, (row, _) in zip(shown, rows, strict=True):
                    image.set_data(stretch(images[row][number], limits))
                words.set_text(title(whole, seen.index) or f"image {number}")
                film.grab_frame()
    finally:
        plt.close(figure)
    return target


def _writer(target: Path, is_available: Callable[[str], bool]) -> str:
    """Matplotlib's writer for a file name."""
    gif = target.with_suffix(".gif").name
    writer = WRITERS.get(target.suffix.lower())
    if writer is None:
        raise DataError(
            f"a film is a GIF or an MP4, not {target.name!r}",
            fix=f"call plot.movie({gif!r})",
            option="name it with the ending .gif",
        )
    if not is_available(writer):
        raise DataError(
            "an MP4 is written by the program ffmpeg, which is not installed",
            fix=f"call plot.movie({gif!r}), or install ffmpeg with your package manager, for "
            "example with `conda install -c conda-forge ffmpeg`",
            option="name it with the ending .gif, or install ffmpeg with your package manager, "
            "for example with `conda install -c conda-forge ffmpeg`",
        )
    return writer
