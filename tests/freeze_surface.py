"""What the freeze records of the library's surface (names, signatures, commands) and of its costs.

Needs nothing of the library but its public names. See ``freeze.py``.
"""

from __future__ import annotations

import dataclasses
import gc
import inspect
import pickle
import re
import tempfile
import time
import tomllib
import types
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import dask
import dask.array as da
import numpy as np
import xarray as xr

MODULES = ("bands", "benchmarking", "datasets", "exceptions", "io", "methods", "models", "plot",
           "stac", "train")  # fmt: skip
SCALES = (1, 24, 512)
"""Rounds, dates and pixels along a side of the storage case."""


def names_of(module: Any) -> list[str]:
    """Public names; without ``__all__`` those that the library defines itself."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(
        name
        for name, member in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(member)
        and (name.isupper() or str(getattr(member, "__module__", "")).startswith("xcloudfree"))
    )


def plain(value: Any) -> str:
    """A default or a constant without addresses and without the paths of modules."""
    if inspect.isroutine(value) or inspect.isclass(value):
        return str(value.__name__)
    if isinstance(value, type({}.keys()) | set | frozenset):
        value = sorted(value, key=repr)
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    return re.sub(r"\b[A-Za-z_]\w*\.(?=[A-Za-z_])", "", text)[:600]


def signature(member: Any) -> dict[str, str]:
    """Parameters in their order with kind and default; annotations without modules apart."""
    try:
        found = inspect.signature(member)
    except (TypeError, ValueError):
        return {"parameters": "?"}
    words, notes = [], []
    for p in found.parameters.values():
        default = "" if p.default is p.empty else f"={plain(p.default)}"
        words.append(f"{p.kind.name.lower()} {p.name}{default}")
        notes.append(f"{p.name}: {_annotation(p.annotation)}")
    notes.append(f"-> {_annotation(found.return_annotation)}")
    return {"parameters": "; ".join(words), "annotations": "; ".join(notes)}


def _annotation(value: Any) -> str:
    text = value if isinstance(value, str) else getattr(value, "__name__", repr(value))
    return re.sub(r"\b[A-Za-z_]\w*\.(?=[A-Za-z_])", "", text.replace("'", '"'))


def described(member: Any) -> Any:
    """A function, class or constant."""
    if isinstance(member, types.ModuleType):
        return "module"
    if not inspect.isclass(member):
        return signature(member) if callable(member) else f"constant {plain(member)}"
    out: dict[str, Any] = {"bases": " ".join(c.__name__ for c in member.__mro__)}
    if not issubclass(member, BaseException):
        out |= signature(member)
        out["members"] = members(member)
    if dataclasses.is_dataclass(member):
        out["fields"] = " ".join(field.name for field in dataclasses.fields(member))
    return out


def members(cls: type) -> dict[str, Any]:
    """Public methods and properties of a class."""
    out: dict[str, Any] = {}
    for name in dir(cls):
        if name.startswith("_") and name != "__call__":
            continue
        member = inspect.getattr_static(cls, name)
        if isinstance(member, classmethod | staticmethod):
            member = member.__func__
        out[name] = signature(member) if inspect.isroutine(member) else type(member).__name__
    if "__call__" in out and not inspect.isroutine(inspect.getattr_static(cls, "__call__")):
        del out["__call__"]
    return out


def surface() -> dict[str, Any]:
    """Names and signatures by the name that users write."""
    import xcloudfree as xcf

    out: dict[str, Any] = {"xcf": names_of(xcf)}
    for name in xcf.__all__:
        if name not in ("accessor", "__version__") and not inspect.ismodule(getattr(xcf, name)):
            out[f"xcf.{name}"] = described(getattr(xcf, name))
    for name in MODULES:
        module = getattr(xcf, name)
        out[f"xcf.{name}"] = names_of(module)
        for word in names_of(module):
            out[f"xcf.{name}.{word}"] = described(getattr(module, word))
    ds = xcf.datasets.simulate_scene((16, 16), seed=1)
    out["ds.cloudfree"] = members(type(ds.cloudfree))
    out["ds.B02.cloudfree"] = members(type(ds.B02.cloudfree))
    out["ds.cloudfree.plot"] = members(type(ds.cloudfree.plot))
    out["models"] = xcf.models.list()
    out["methods"] = xcf.methods.names()
    out["cli"] = commands(main_command())
    return out


def main_command() -> click.Command:
    """The command line, found where the project declares its script."""
    import xcloudfree as xcf

    project = Path(xcf.__file__).parents[1] / "pyproject.toml"
    script = tomllib.loads(project.read_text())["project"]["scripts"]["xcloudfree"]
    module, name = script.split(":")
    found: click.Command = getattr(import_module(module), name)
    return found


def commands(command: click.Command, path: str = "xcloudfree") -> dict[str, Any]:
    """Arguments and options of a command and of all below it."""
    out = {path: {}}
    for p in command.params:
        name = " ".join([*p.opts, *p.secondary_opts]) or str(p.name)
        kind = {k: v for k, v in p.type.to_info_dict().items() if k in ("param_type", "choices")}
        default = None if "Sentinel" in repr(p.default) else p.default
        flag = getattr(p, "is_flag", False)
        out[path][name] = (
            f"{p.param_type_name} {kind} default={default!r} nargs={p.nargs} flag={flag} "
            f"required={p.required} multiple={getattr(p, 'multiple', False)}"
        )
    for name, inner in getattr(command, "commands", {}).items():
        out |= commands(inner, f"{path} {name}")
    return out


# ------------------------------------------------------------------------------------------ costs


def loop_seconds() -> float:
    """A fixed pure-Python loop, the yardstick of this machine at this moment."""
    start, total = time.process_time(), {}
    for i in range(300_000):
        total[i % 1000] = total.get(i % 1000, 0) + i * i % 7
    return time.process_time() - start


def graphs() -> dict[str, Any]:
    """Tasks, layers, pickled bytes and seconds of graphs, none of which is computed."""
    out = {}
    blocks = {"carf-tiny": (40, None), "median": (8, 6), "area-regression": (8, 6)}
    for name, (side, dates) in blocks.items():
        try:
            out[name] = _graph(name, lazy_area(side, dates), side * side * (dates or 1))
        except Exception as error:
            out[name] = {"error": type(error).__name__, "message": str(error)[:80]}
    return out


def lazy_area(side: int, dates: int | None, block: int = 256) -> xr.Dataset:
    """A lazy scene of so many blocks along a side, a date to a chunk."""
    import xcloudfree as xcf

    n, lead = side * block, () if dates is None else (dates,)
    dims = (*("time",)[: len(lead)], "y", "x")
    units = {"units": "1", "processing_level": "TOA"}, {"units": "dB", "quantity": "sigma0"}
    bands = xcf.bands.S2_BANDS if dates is None else ("B02", "B03", "B04", "B08")

    def lazy(count: int | None) -> Any:
        mid = () if count is None else (count,)
        chunks = (*(1 for _ in lead), *mid, block, block)
        return da.zeros((*lead, *mid, n, n), "float32", chunks=chunks)

    if dates is None:
        return xr.Dataset(
            {
                "s2": (("band", "y", "x"), lazy(13), units[0]),
                "s1": (("polarisation", "y", "x"), lazy(2), units[1]),
            },
            {"band": list(bands), "polarisation": ["VV", "VH"]},
        )
    variables = {b: (dims, lazy(None), units[b[0] == "V"]) for b in (*bands, "VV", "VH")}
    days = np.datetime64("2025-06-10", "ns") + 5 * np.arange(dates) * np.timedelta64(1, "D")
    return xr.Dataset(variables, {"time": days})


def _graph(name: str, ds: xr.Dataset, blocks: int) -> dict[str, Any]:
    hidden: Any = "score"
    if "time" in ds.dims:
        hidden = (ds.B02 > 0.5).rename("hidden")

    def build() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ds.cloudfree.reconstruct(model=name, mask=hidden)

    out, seconds, loops = build(), [], []
    for _ in range(7):
        gc.collect()
        loops.append(loop_seconds())
        start = time.process_time()
        again = build()
        seconds.append(time.process_time() - start)
    graph = out.__dask_graph__()
    (optimised,) = dask.optimize(out)
    ready = optimised.__dask_graph__()
    return {
        "tasks": len(graph),
        "layers": len(graph.layers),
        "tasks_per_block": round(len(graph) / blocks, 3),
        "tasks_optimised": sum(
            type(task).__name__ not in ("Alias", "DataNode") for task in dict(ready).values()
        ),
        "pickled_bytes": len(pickle.dumps(ready, protocol=5)),
        "build_ratio": round(min(seconds) / min(loops), 3),
        "same_keys_twice": str(out.__dask_keys__()) == str(again.__dask_keys__()),
    }


def storage() -> dict[str, Any]:
    """The storage case: CPU of ``to_zarr`` over that of ``compute``, and the most memory."""
    import rioxarray  # noqa: F401

    import xcloudfree as xcf

    rounds, dates, side = SCALES
    rng = np.random.default_rng(5)
    attrs = {"units": "1", "processing_level": "BOA"}
    shape = (dates, side, side)
    hidden = np.kron(rng.random((dates, 8, 8)) < 0.4, np.ones((1, side // 8, side // 8), bool))
    days = np.datetime64("2025-04-01", "ns") + 5 * np.arange(dates) * np.timedelta64(1, "D")
    variables = {
        band: (("time", "y", "x"), rng.random(shape, "float32") * np.float32(0.2) + level, attrs)
        for band, level in {"B02": 0.05, "B03": 0.08, "B04": 0.06, "B08": 0.3}.items()
    }
    coords = {"time": days, "y": 10.0 * np.arange(side)[::-1], "x": 10.0 * np.arange(side)}
    ds = xr.Dataset(variables, coords).rio.write_crs(32633).chunk(time=1)
    mask = xr.DataArray(hidden, {"time": days}, ("time", "y", "x")).chunk(time=1)
    out = ds.cloudfree.reconstruct(model="median+offset", mask=mask)
    peaks = {"prepared_mb": peak_memory()}

    def cpu(call: Callable[[], Any]) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    stored, computed = [], []
    with tempfile.TemporaryDirectory() as folder, dask.config.set(scheduler="threads",
                                                                 num_workers=1):  # fmt: skip
        path = f"{folder}/out.zarr"
        for _ in range(rounds):
            stored.append(cpu(lambda: xcf.io.to_zarr(out, path, mode="overwrite", progress=False)))
        peaks["stored_mb"] = peak_memory()
        for _ in range(rounds):
            computed.append(cpu(out.compute))
    peaks["computed_mb"] = peak_memory()
    return {
        "cpu_stored": round(min(stored), 2),
        "cpu_computed": round(min(computed), 2),
        "cpu_ratio": round(min(stored) / min(computed), 3),
        **peaks,
    }


def peak_memory() -> float:
    """Most resident memory of this process in MB; a child would inherit ``ru_maxrss``."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(found[1]) / 1000, 1) if found else float("nan")
