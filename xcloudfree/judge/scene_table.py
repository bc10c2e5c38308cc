"""The table of a scene: errors of hidden pixels, by band, index and distance to visible pixels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.judge.case import Case
from xcloudfree.judge.metrics import DEFINITIONS, UNITS
from xcloudfree.judge.result import Record, about

ANY: Final = "any"
ALL: Final = "all"

DISTANCES: Final = {
    "up to 4 px": (0.0, 4.0),
    "4 to 16 px": (4.0, 16.0),
    "over 16 px": (16.0, np.inf),
}
"""Classes of the distance of a hidden pixel to the nearest visible one: above, and up to."""

FIGURES: Final = ("psnr", "mae", "bias")
"""Figures of :func:`band_errors` for each band and index."""

SUMMED: Final = {"distance": ANY, "band": ALL}
"""Dimensions of a table that have a label for all of them together."""

_COSTS: Final = {
    "cpu_seconds": ("cpu", "s", "CPU time of a case, all threads, median"),
    "wall_seconds": ("wall", "s", "time of a case, median"),
    "peak_memory": ("memory", "MB", "highest resident memory above that before, median"),
}
_CELLS: Final = ("gap", "distance", "band")
_BIAS: Final = ("bias", "mean difference; above 0 is too bright")

Floats = NDArray[np.floating]
Booleans = NDArray[np.bool_]


class Errors(NamedTuple):
    """Errors of one image; the first class of distance is any, the first band all of them."""

    values: NDArray[np.float64]  # (distance, band and index, figure)
    angles: NDArray[np.float64]  # spectral angle in degrees (distance,)
    asked: NDArray[np.int64]  # pixels with a known truth (distance,)
    filled: NDArray[np.int64]  # those of them that were predicted (distance,)


def indices_of(bands: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Normalised differences that the bands allow: positions of the two bands of each."""
    infrared = next((b for b in ("B08", "B8A") if b in bands), None)
    pairs = {"NDVI": (infrared, "B04"), "NDWI": ("B03", infrared)}  # Rouse 1973; McFeeters 1996
    return {
        name: (bands.index(one), bands.index(other))
        for name, (one, other) in pairs.items()
        if one in bands and other in bands
    }


def band_errors(
    guess: Floats, truth: Floats, hidden: Booleans, indices: dict[str, tuple[int, int]]
) -> Errors:
    """Errors of the hidden pixels of an image (band, y, x), clipped and left out as in metrics."""
    known: Booleans = np.isfinite(truth).all(axis=0)  # type: ignore[assignment]
    predicted = np.isfinite(guess).all(0)
    classes = _classes(hidden, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        one, other = (np.clip(a.astype(np.float64), 0, 1) for a in (guess, truth))
        ratios = [
            [(a[i] - a[j]) / (a[i] + a[j]) for i, j in indices.values()] for a in (one, other)
        ]
        lengths = np.sqrt((one**2).sum(0)) * np.sqrt((other**2).sum(0))
        angle = np.degrees(np.arccos(np.clip((one * other).sum(0) / lengths, -1, 1)))
    angle[lengths == 0] = np.nan
    difference = one - other
    rows, angles = [], []
    with warnings.catch_warnings():  # a class without pixels has no mean
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        for chosen in classes:
            use = chosen & known & predicted
            planes = [difference[:, use], *difference[:, use]]
            planes += [a[use] - b[use] for a, b in zip(*ratios, strict=True)]
            rows.append([_figures(plane) for plane in planes])
            angles.append(float(np.nanmean(angle[use])))
    asked = [np.count_nonzero(chosen & known) for chosen in classes]
    filled = [np.count_nonzero(chosen & known & predicted) for chosen in classes]
    return Errors(np.array(rows), np.array(angles), np.array(asked), np.array(filled))


def _classes(hidden: Booleans, known: Booleans) -> list[Booleans]:
    """Hidden pixels, and those of each class of distance."""
    visible = ~hidden & known
    away: Floats = np.full(hidden.shape, np.inf)
    if visible.any():
        away = scipy.ndimage.distance_transform_edt(~visible)
    return [hidden, *(hidden & (away > low) & (away <= high) for low, high in DISTANCES.values())]


def _figures(differences: Floats) -> list[float]:
    """PSNR, mean absolute error and bias; NaN without pixels."""
    square = float(np.nanmean(differences**2))
    psnr = np.inf if square == 0 else -10 * np.log10(square)
    return [float(psnr), float(np.nanmean(np.abs(differences))), float(np.nanmean(differences))]


def table_of(
    models: Sequence[str],
    cases: Sequence[Case],
    records: Sequence[Sequence[Record]],
    bands: Sequence[str],
) -> xr.Dataset:
    """Means over the cases of each gap."""
    gaps = list(dict.fromkeys(case.gap for case in cases))
    errors = [[record.more for record in row] for row in records]
    labels = {
        "model": list(models),
        "gap": gaps,
        "distance": [ANY, *DISTANCES],
        "band": [ALL, *bands],
    }
    asked = np.array([_asked(row, len(DISTANCES) + 1) for row in errors])
    of_gap = [[n for n, case in enumerate(cases) if _same(case.gap, gap)] for gap in gaps]
    shape = (len(models), len(gaps), len(DISTANCES) + 1)
    values = np.full((*shape, len(bands) + 1, len(FIGURES)), np.nan)
    angles, filled = np.full(shape, np.nan), np.zeros(shape)
    with warnings.catch_warnings():  # classes without pixels, methods without values
        warnings.filterwarnings("ignore", "(Mean of empty|All-NaN) slice", RuntimeWarning)
        for place, numbers in enumerate(of_gap):
            for row in range(len(models)):
                done = [errors[n][row] for n in numbers if errors[n][row] is not None]
                if done:
                    values[row, place] = np.nanmean([e.values for e in done], axis=0)
                    angles[row, place] = np.nanmean([e.angles for e in done], axis=0)
                    filled[row, place] = np.sum([e.filled for e in done], axis=0)
        costs = {
            name: ("model", np.nanmedian(_column(records, key), axis=0), about(words, unit))
            for name, (key, unit, words) in _COSTS.items()
        }
    costs["peak_memory"] = ("model", costs["peak_memory"][1] / 1e6, costs["peak_memory"][2])
    pixels = np.array([asked[numbers].sum(0) for numbers in of_gap])
    with np.errstate(invalid="ignore"):
        share = filled / pixels
    figures = ("model", "gap", "distance", "band")
    variables: dict[str, Any] = {
        name: (figures, values[..., n], _described(name)) for n, name in enumerate(FIGURES)
    }
    variables["sam"] = (figures[:3], angles, _described("sam"))
    words = "share of the hidden pixels that the model filled"
    variables["reconstructed"] = (figures[:3], share, about(words))
    variables["pixels"] = (figures[1:3], pixels, about("hidden pixels, over all cases"))
    variables |= costs
    failures = [_failure([row[n] for row in records]) for n in range(len(models))]
    variables["failure"] = ("model", np.array(failures, dtype=str))
    out = xr.Dataset(variables, labels)
    out.gap.attrs = about("days around the hidden date whose images were withheld", "day")
    out.distance.attrs = {"long_name": "distance of a hidden pixel to the nearest visible one"}
    out.band.attrs = {"long_name": "all bands jointly, a band, or an index of bands"}
    return out


def as_result(table: xr.Dataset, by: Sequence[str] = ()) -> xr.Dataset:
    """A table as a result of a benchmark, if it is none: a case per gap, distance and band."""
    if "model" not in table.dims:
        return table
    for dim, whole in SUMMED.items():
        table = table.sel({dim: [v for v in table[dim].values if (v == whole) != (dim in by)]})
    rows, cells = table.sizes["model"], list(product(*(table[dim].values for dim in _CELLS)))

    def flat(array: xr.DataArray) -> Any:
        return array.broadcast_like(table.psnr).transpose("model", *_CELLS).values.reshape(rows, -1)

    metrics = {
        "psnr": table.psnr,
        "mae": table.mae,
        "sam": table.sam.where(table.band == ALL),
        "bias": table.bias,
    }
    asked = flat(table.pixels)
    filled = np.nan_to_num(flat(table.reconstructed) * asked).round().astype(int)
    pair, pixels = ("method", "case"), ("method", "case", "pixels")
    variables: dict[str, Any] = {
        "value": ((*pair, "metric", "pixels"), np.stack([flat(m) for m in metrics.values()], -1)),
        "count": (pixels, filled),
        "left_out": (pixels, asked - filled),
    }
    variables = {name: (dims, values[..., None]) for name, (dims, values) in variables.items()}
    for name in (*_COSTS, "failure"):
        variables[name] = (pair, flat(table[name]))
    gaps, distances, bands = zip(*cells, strict=True)
    empty = ("case", [""] * len(cells))
    coords = {
        "method": table.model.values,
        "case": [f"gap {gap:g}, {distance}, {band}" for gap, distance, band in cells],
        "metric": list(metrics),
        "pixels": ["cloudy"],
        "gap": ("case", np.array(gaps, float)),
        "distance": ("case", np.array(distances)),
        "band": ("case", np.array(bands)),
        **dict.fromkeys(("region", "protocol", "kind"), empty),
    }
    return xr.Dataset(variables, coords, table.attrs)


def _asked(row: Sequence[Errors | None], size: int) -> Any:
    """Hidden pixels of a case by class of distance, which are the same for every method."""
    return next((e.asked for e in row if e is not None), np.zeros(size, int))


def _column(records: Sequence[Sequence[Record]], key: str) -> Any:
    return np.array([[getattr(record, key) for record in row] for row in records], float)


def _failure(column: Sequence[Record]) -> str:
    """Failures and their number, in a sentence; empty if there are none."""
    messages = [record.failure for record in column if record.failure]
    if not messages:
        return ""
    return f"on {len(messages)} of {len(column)} cases: {messages[0]}"


def _same(one: float, other: float) -> bool:
    return one == other or bool(np.isnan(one) and np.isnan(other))


def _described(name: str) -> dict[str, str]:
    words, definition = _BIAS if name == "bias" else DEFINITIONS[name]
    unit = UNITS.get(name, "1")
    return {"units": unit, "long_name": words, "definition": f"{definition}; mean over cases"}
