"""Before and after on a self-contained page: a slider moves between two pictures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template
from typing import Any, Final

from numpy.typing import NDArray

from xcloudfree.core.bands import RGB
from xcloudfree.core.files import replacing
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError
from xcloudfree.plot import canvas
from xcloudfree.plot.colours import Limit, composite, limits_of, stretch
from xcloudfree.plot.flags import partly_hidden
from xcloudfree.plot.strip import pixels
from xcloudfree.plot.view import Spatial, title, view

PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { margin: 0; font: 15px/1.4 system-ui, sans-serif; color: #222; background: #fff; }
main { max-width: ${width}px; margin: 0 auto; padding: 12px; }
figure { margin: 0; }
.swipe { position: relative; --at: 50%; touch-action: pan-y; }
.swipe img { display: block; width: 100%; height: auto; image-rendering: pixelated; }
.swipe .before { position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.swipe .line { position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px;
  margin-left: -1px; background: #fff; box-shadow: 0 0 3px #000; pointer-events: none; }
.swipe input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; }
.swipe:focus-within { outline: 3px solid #0969da; outline-offset: 2px; }
.swipe span { position: absolute; top: 8px; padding: 1px 8px; border-radius: 3px; color: #fff;
  background: #000a; font-size: 13px; pointer-events: none; }
.swipe .left { left: 8px; } .swipe .right { right: 8px; }
figcaption { padding: 8px 0; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616; } }
</style>
</head>
<body>
<main>
<figure>
<div class="swipe" id="swipe">
<img class="after" src="data:image/png;base64,$after" alt="$after_alt" width="$columns"
 height="$rows">
<img class="before" src="data:image/png;base64,$before" alt="$before_alt" width="$columns"
 height="$rows">
<div class="line"></div>
<span class="left" aria-hidden="true">before</span>
<span class="right" aria-hidden="true">after</span>
<input type="range" min="0" max="100" step="1" value="50" id="handle"
 aria-label="Share of the picture that shows the state before, from the left">
</div>
<figcaption>$caption Drag, or use the arrow keys.</figcaption>
</figure>
</main>
<script>
const handle = document.getElementById("handle");
const move = () =>
  document.getElementById("swipe").style.setProperty("--at", handle.value + "%");
handle.addEventListener("input", move);
move();
</script>
</body>
</html>
""")


def swipe(
    obj: Spatial,
    path: str | Path,
    *,
    observed: Spatial | None = None,
    mask: Any = "auto",
    time: Any = None,
    index: int | None = None,
    bands: str | Sequence[str] = RGB,
    vmin: Limit = None,
    vmax: Limit = None,
    max_size: int = 1024,
) -> Path:
    """Write a self-contained page with a slider between before and after.

    Both pictures share the stretch of the clear pixels. The slider works with mouse, touch and
    arrow keys. The page loads no other files.

    Parameters
    ----------
    obj : Dataset or DataArray
        A reconstruction.
    path : str or Path
        HTML file to write.
    observed : Dataset or DataArray, optional
        The cloudy input of `obj`, see :func:`xcloudfree.plot.plot`.
    mask : str, DataArray, callable or None
        Mask whose clear pixels set the stretch, see :func:`xcloudfree.plot.plot`.
    time, index
        Which date, by time (the nearest) or number; by default as :func:`xcloudfree.plot.plot`.
    bands : str or sequence of str
        See :func:`xcloudfree.plot.rgb`.
    vmin, vmax : float or sequence of float, optional
        Reflectance that is black and that is full colour; percentiles of clear pixels by default.
    max_size : int
        Rows and columns of the pictures at most.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DataError
        If the cloudy input is unknown, or does not have the date.
    MissingBandError
        If one of the bands is missing.
    CloudFreeError
        If matplotlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import xcloudfree as xcf
    >>> scene = xcf.datasets.simulate_scene((32, 32), dates=3, cover=0.4, seed=1)
    >>> out = scene.cloudfree.reconstruct("idw", mask="score")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out.cloudfree.plot.swipe(f"{folder}/scene.html").name
    'scene.html'
    """
    if observed is None:
        raise DataError(
            "a page with before and after needs the cloudy input",
            fix='call plot.swipe("out.html", observed=ds)',
            option="--observed scene.zarr",
        )
    names, whole = composite(bands), read(obj)
    if index is None:
        index = partly_hidden(whole) if time is None else 0
    seen = view(whole, time, index, max_size)
    rows: list[tuple[str, Spatial]] = [("observed", observed), ("reconstructed", obj)]
    (hidden,), images = pixels(obj, rows, [seen], names, mask)
    limits = limits_of(images["observed"], [hidden], vmin, vmax)
    before, after = (stretch(images[row][0], limits) for row, _ in rows)

    day = title(whole, seen.index)
    words = f"Sentinel-2, {' '.join(names)}{', ' + day if day else ''}"
    share = "" if hidden is None else f"{(hidden == 1).mean():.0%} hidden by cloud or shadow. "
    target = Path(path)
    page = PAGE.substitute(
        title=escape(f"Before and after: {words}"),
        caption=escape(f"{words}. {share}"),
        before=_png(before),
        after=_png(after),
        before_alt=escape(f"Before: {words}, as observed, with clouds"),
        after_alt=escape(f"After: {words}, clouds reconstructed"),
        width=max(640, before.shape[1]),
        rows=before.shape[0],
        columns=before.shape[1],
    )
    with replacing(target, f"plot.swipe({str(target)!r})") as partial:
        partial.write_text(page, encoding="utf-8")
    return target


def _png(colours: NDArray[Any]) -> str:
    """A picture as text."""
    canvas.pyplot()  # raises the error that names the package to install
    from matplotlib.image import imsave

    file = BytesIO()
    imsave(file, colours.clip(0, 1), format="png")
    return b64encode(file.getvalue()).decode()
