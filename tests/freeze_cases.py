"""What the freeze computes: small scenes, every method and network, and what goes around them.

Needs nothing of the library but its public names. See ``freeze.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xcloudfree as xcf

Case = tuple[str, Callable[[Path], Any]]

HEIGHT, WIDTH, DATES = 40, 48, 6
FEW = ("B01", "B02", "B03", "B04", "B08", "B10", "B11", "VV", "VH")
FORMS = ("bands", "stacked", "array")
CHUNKS = {"numpy": None, "one": {"y": -1, "x": -1}, "odd": {"y": 29, "x": 17, "time": 4}}
TYPES = ("float32", "uint16")
SQUARE = (
    ("bands", "series", "numpy", "float32"),
    ("stacked", "single", "odd", "uint16"),
    ("array", "series", "one", "uint16"),
    ("stacked", "series", "odd", "float32"),
    ("bands", "single", "one", "uint16"),
    ("array", "single", "numpy", "float32"),
    ("bands", "series", "odd", "uint16"),
)
"""Some of the forms, so that each pair of two kinds is met or nearly so; the first are the most."""

ALL = tuple(
    form
    for form in product(FORMS, ("series", "single"), CHUNKS, TYPES)
    if form[3] == "float32" or form in SQUARE
)
WHOLE = ("median+offset", "area-regression", "idw", "pixel-fusion")
CHEAP = ("carf-tiny", "carf-bandwise", "diffusion-tiny", "uncrtaints")
"""Methods and networks that are run in all forms; one of each way of reading."""


# ------------------------------------------------------------------------------------------ digest


def digest(obj: Any) -> Any:
    """Something short for JSON that changes with any bit, type, dimension, name or attribute."""
    if isinstance(obj, xr.Dataset):
        out = {"attrs": _attrs(obj.attrs), "coords": _coords(obj)}
        done = obj.compute()  # all at once, since variables share their work
        return out | {str(n): _array(done[n], a.chunks, n) for n, a in obj.data_vars.items()}
    if isinstance(obj, xr.DataArray):
        done = obj.compute()
        own = {
            str(n): _array(done[n], c.chunks, n)
            for n, c in obj.coords.items()
            if n in ("provenance", "std")
        }
        values = _array(done, obj.chunks)
        return {"name": str(obj.name), "values": values, "coords": _coords(obj), **own}
    if isinstance(obj, np.ndarray):
        return _array(xr.DataArray(obj))
    if isinstance(obj, dict):
        return {str(key): digest(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [digest(value) for value in obj]
    if isinstance(obj, str) and len(obj) > 200:
        return f"text of {len(obj)} characters, {obj[:60]!r}, {_sha(obj.encode())}"
    return obj if isinstance(obj, str | int | float | bool | None) else repr(obj)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


def _bytes(values: np.ndarray) -> bytes:
    if values.dtype.kind in "OUT":
        return json.dumps(values.tolist(), default=str).encode()
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type("nan"), values)  # one kind of NaN
    return np.ascontiguousarray(values).tobytes()


def _array(array: xr.DataArray, chunks: Any = None, name: Any = "") -> str:
    values = array.values
    mean = np.nanmean(values) if values.dtype.kind in "buif" and np.isfinite(values).any() else 0
    told = "numpy" if chunks is None else f"chunks {chunks}"
    return (
        f"{values.dtype} {dict(array.sizes)} {told} mean {mean:.6g} {_sha(_bytes(values))} "
        f"{_attrs(array.attrs, full=name == 'provenance')}"
    )


def _attrs(attrs: dict[Any, Any], full: bool = False) -> str:
    text = {str(key): repr(value) for key, value in sorted(attrs.items(), key=str)}
    return str(text) if full else f"{','.join(text)} {_sha(str(text).encode())}"


def _coords(obj: Any) -> dict[str, str]:
    return {
        str(n): f"{c.dims} {c.dtype} {_sha(_bytes(c.values) + _attrs(c.attrs).encode())}"
        for n, c in sorted(obj.coords.items(), key=str)
        if n not in ("provenance", "std")
    }


# ------------------------------------------------------------------------------------------ scenes


@cache
def scene(level: str = "TOA", height: int = HEIGHT, width: int = WIDTH) -> xr.Dataset:
    """A series with a few pixels without data, and with a scene classification."""
    cover = [0.3, 0.6, 0.0, 0.4, 0.2, 0.8]
    ds = xcf.datasets.simulate_scene((height, width), dates=DATES, cover=cover, seed=7, level=level)
    for name in ds.data_vars:
        ds[name][2, 3:6, 4:9] = np.nan
        ds[name][1, 20, :5] = np.nan
    ds.VV[0, 10:12, 10:20] = np.nan
    hidden = ds.cloudfree.mask("l2a").values
    classes = np.where(hidden, 9, 4).astype("uint8")
    classes[:, :3, :3] = 3
    return ds.assign(SCL=(("time", "y", "x"), classes))


def made(
    form: str, dates: str, chunks: str, dtype: str, *, level: str = "TOA",
    names: tuple[str, ...] | None = None, height: int = HEIGHT, width: int = WIDTH,
    length: int = DATES,
) -> Any:  # fmt: skip
    """The scene in one of the accepted forms."""
    ds = scene(level, height, width).drop_vars("SCL").isel(time=slice(length))
    ds = ds[[n for n in ds.data_vars if names is None or n in names]]
    optical = [str(n) for n in ds.data_vars if str(n).startswith("B")]
    units, radar = dict(ds.B02.attrs), dict(ds.VV.attrs)
    if dtype == "uint16":
        units |= {"scale_factor": 1e-4, "add_offset": -0.1, "nodata": 0}
        ds = ds.assign({n: _numbers(ds[n], 1e-4, -0.1, units) for n in optical})
    if dates == "single":
        ds = ds.isel(time=1)
    if form == "array" and dtype == "uint16":
        radar |= {"scale_factor": 0.01, "add_offset": -100.0, "nodata": 0}
        ds = ds.assign({n: _numbers(ds[n], 0.01, -100, radar) for n in ("VV", "VH")})
    out: Any = ds
    lead = ("time",) if dates == "series" else ()
    if form == "array":
        own = {f"sar_{k}": v for k, v in radar.items() if k != "grid_mapping"}
        sun = {k: v for k, v in ds.attrs.items() if k.startswith("sun")}
        out = ds.to_dataarray("band", name="scene").transpose(*lead, "band", "y", "x")
        out = out.assign_attrs(units | own | sun)
    if form == "stacked":
        s2 = ds[optical].to_dataarray("band").transpose(*lead, "band", "y", "x")
        s1 = ds[["VV", "VH"]].to_dataarray("polarisation")
        out = xr.Dataset({"s2": s2.assign_attrs(units), "s1": s1.assign_attrs(radar)})
        out = out.assign_attrs(ds.attrs)
    cuts = CHUNKS[chunks]
    return out if cuts is None else out.chunk({d: n for d, n in cuts.items() if d in out.dims})


def _numbers(array: xr.DataArray, scale: float, offset: float, attrs: Any) -> xr.DataArray:
    numbers = ((array.astype("float64") - offset) / scale).round().clip(1, 65535)
    return numbers.fillna(0).astype("uint16").assign_attrs(attrs)


def hidden(ds: Any, seed: int = 3) -> xr.DataArray:
    """A boolean mask on the grid of a scene."""
    rng = np.random.default_rng(seed)
    values = np.kron(rng.random((DATES, HEIGHT // 8, WIDTH // 8)) < 0.4, np.ones((1, 8, 8), bool))
    return xr.DataArray(values, {d: ds[d] for d in ("time", "y", "x")}, ("time", "y", "x"))


@lru_cache(maxsize=2)
def network(name: str) -> Any:
    """A network by its name; without fitted weights random ones, so that all of it acts."""
    import torch

    torch.set_num_threads(1)
    try:
        model = xcf.models.create(name, seed=1)
    except xcf.exceptions.ModelError:
        return xcf.models.load(name)
    noise = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for tensor in model.network.parameters():
            tensor += 0.02 * torch.randn(tensor.shape, generator=noise)
    return model


# ------------------------------------------------------------------------------------------ cases


def cases(quick: bool) -> Iterator[Case]:
    """All cases: a name, and what takes an empty folder and gives a result."""
    for number, name in enumerate(xcf.methods.names()):
        heavy = name == "starfm"
        size = {"names": FEW}
        if heavy:
            size = {"names": ("B02", "B08", "VV", "VH"), "height": 24, "width": 24, "length": 3}
        chosen = ALL if name in WHOLE else SQUARE[:4] if heavy else SQUARE
        if quick:
            chosen = SQUARE[:1] if heavy else (SQUARE[2], SQUARE[(0, 3, 6)[number % 3]])
        for form in chosen:
            yield f"method {name} {' '.join(form)}", partial(_method, name, form, size, heavy)
    for name in xcf.models.list():
        yield from _networks(name, quick)
    for group in (_masks, _options):
        yield from group(quick)
    from freeze_more import more

    yield from more(quick)


def _method(name: str, form: Any, size: dict[str, Any], heavy: bool, folder: Path) -> Any:
    ds = made(*form, **size)
    mask = (lambda obj: _bright(obj, form)) if heavy else "score"
    return ds.cloudfree.reconstruct(model=name, mask=mask)


def _bright(obj: Any, form: Any) -> xr.DataArray:
    """A mask that any form gives, of blue that is bright."""
    blue = obj.s2.sel(band="B02", drop=True) if form[0] == "stacked" else None
    if blue is None:
        blue = obj.B02 if form[0] == "bands" else obj.sel(band="B02", drop=True)
    return blue > (3000 if form[3] == "uint16" else 0.2)


COSTLY = {"carf-base", "carf-base-f4", "carf-large", "carf-reference", "dsen2cr", "glfcr",
          "sar-opt-cgan", "simulation-fusion-gan", "simulation-fusion-gan-resnet"}  # fmt: skip


def _networks(name: str, quick: bool) -> Iterator[Case]:
    """A network in the forms that its cost allows."""
    costly = name in COSTLY
    chosen = ALL if name in CHEAP else SQUARE[1:3] if costly else SQUARE[:5]
    if costly:
        chosen = (("bands", "single", "numpy", "float32"), ("stacked", "single", "odd", "uint16"))
        chosen = chosen[:1] if "gan" in name else chosen
    if quick:
        chosen = () if costly or "-t3" in name else SQUARE[1:3] if name in CHEAP else SQUARE[2:3]
    size = {"height": 24, "width": 32} if costly else {}
    for form in chosen:
        yield f"network {name} {' '.join(form)}", partial(_network, name, form, size)
    if not (quick and costly):
        yield f"network {name} initial weights", partial(_initial, name)


def _network(name: str, form: Any, size: dict[str, Any], folder: Path) -> Any:
    model = network(name)
    level = model.spec.level
    ds = made(*form, level=level, **size)
    return ds.cloudfree.reconstruct(model=model, mask="l2a" if level == "BOA" else "score")


def _initial(name: str, folder: Path) -> Any:
    try:
        model = xcf.models.create(name, seed=3)
    except xcf.exceptions.ModelError:
        model = xcf.models.load(name)
    return {"digest": model.digest, "spec": model.spec.to_json(), "repr": repr(model)}


def _masks(quick: bool) -> Iterator[Case]:
    """Masks of every name with every setting, score, weights, context."""
    names = ("score", "reference-code", "l2a", "scl", "s2cloudless", "omnicloudmask")
    forms = [("bands", "odd"), ("array", "numpy"), ("stacked", "one")][: 1 if quick else 3]
    for method, (form, chunks) in product(names, forms):
        for level in ("TOA", "BOA"):
            for shadow in (False, True, None):
                word = f"mask {method} {level} {form} {chunks} shadow={shadow}"
                yield word, partial(_mask, method, level, form, chunks, {"shadow": shadow})
        more = {"dilate": 2}, {"threshold": 0.3}, {"haze": 0.15}, {"shadow": (150.0, 40.0)}
        for words in more:
            word = f"mask {method} TOA {form} {chunks} {words}"
            yield word, partial(_mask, method, "TOA", form, chunks, words)
    for form, chunks, dtype in product(FORMS, ("odd",) if quick else CHUNKS, TYPES):
        ds = partial(made, form, "series", chunks, dtype)
        what = f"{form} {chunks} {dtype}"
        yield f"score {what}", lambda folder, ds=ds: ds().cloudfree.score()
        yield f"weights {what}", lambda folder, ds=ds: ds().cloudfree.weights(alpha=0.7, dilate=1)
        yield f"context {what}", lambda folder, ds=ds: ds().cloudfree.context(least=0.1, dilate=1)
        yield f"repr {what}", lambda folder, ds=ds: [
            repr(ds().cloudfree), ds().cloudfree._repr_html_()
        ]  # fmt: skip


def _mask(
    method: str, level: str, form: str, chunks: str, words: dict[str, Any], folder: Path
) -> Any:
    ds = made(form, "series", chunks, "float32", level=level)
    if form != "array":
        ds = ds.assign(SCL=scene(level).SCL)
    return ds.cloudfree.mask(method, **words)


def _options(quick: bool) -> Iterator[Case]:
    """Settings of ``reconstruct``."""
    settings: list[dict[str, Any]] = [
        {"blend": None}, {"dilate": 2}, {"shadow": False}, {"shadow": True}, {"mask": "l2a"},
        {"mask": "reference-code", "dilate": 1}, {"mask": hidden}, {"halo": 8},
        {"uncertainty": True}, {"uncertainty": True, "blend": None}, {"precision": "bfloat16"},
    ]  # fmt: skip
    models = ("carf-tiny", "area-regression", "uncrtaints", "median", "area-regression+nearby",
              "kriging", "carf-tiny-regression", "pixel-fusion")  # fmt: skip
    forms = (SQUARE[0], SQUARE[3], SQUARE[2])
    for name, words, form in product(models[: 3 if quick else 8], settings, forms[: 3 - 2 * quick]):
        told = {k: getattr(v, "__name__", v) for k, v in words.items()}
        yield f"reconstruct {name} {told} {' '.join(form)}", partial(_option, name, words, form)
    if quick:
        return
    for name in xcf.methods.names():
        if name != "starfm":
            yield f"uncertainty {name}", partial(_option, name, {"uncertainty": True}, SQUARE[0])
            yield f"blend=None {name}", partial(_option, name, {"blend": None}, SQUARE[3])
    for name, words in (
        ("median-45d", {}), ("geomedian-10d+offset", {}), ("whittaker", {"smoothness": 1e4}),
        ("idw", {"power": 1.0, "neighbours": 5}), ("kriging", {"shape": "spherical"}),
        ("regression-kriging", {"neighbours": 8}), ("median", {"window": 7}), ("median", {"no": 1}),
    ):  # fmt: skip
        yield f"methods.get {name} {words}", partial(_configured, name, words)


def _option(name: str, words: dict[str, Any], form: Any, folder: Path) -> Any:
    named = name in xcf.methods.names()
    ds = made(*form, names=FEW if named else None)
    words = {k: v(ds) if callable(v) else v for k, v in words.items()}
    return ds.cloudfree.reconstruct(model=name if named else network(name), **words)


def _configured(name: str, words: dict[str, Any], folder: Path) -> Any:
    method = xcf.methods.get(name, **words)
    ds = made("bands", "series", "odd", "float32", names=FEW)
    return {"name": method.name, "out": ds.cloudfree.reconstruct(model=method)}
