"""Recognise the form of an input, and check that its arrays fit together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import xarray as xr

from xcloudfree.core.bands import (
    POLARISATIONS,
    S2_BANDS,
    is_scene_classification,
    optical_band,
    sar_band,
)
from xcloudfree.core.grid import check_grid
from xcloudfree.core.nodata import KEYS
from xcloudfree.core.scene import BAND_DIMS, Layer, Scene, band_dim, listed
from xcloudfree.exceptions import CloudFreeError, GridError, MissingBandError, UnitsError

SPATIAL = (("y", "x"), ("latitude", "longitude"), ("lat", "lon"))

BESIDE = ("_std", "_lower", "_upper")
"""Endings of what a reconstruction says of the values of a variable."""


def read(obj: Any) -> Scene:
    """Recognise an input."""
    if isinstance(obj, xr.DataArray):
        return _assemble(obj, "array", *_split(obj, band_dim(obj)))
    if isinstance(obj, xr.DataTree):
        nodes = [n.path for n in obj.subtree if any(optical_band(v) for v in n.data_vars)]
        path = nodes[0].strip("/") if nodes else "measurements/reflectance/r10m"
        raise CloudFreeError(
            "a DataTree contains several grids but a scene has one",
            fix=f"choose one with tree[{path!r}].to_dataset()",
        )
    if not isinstance(obj, xr.Dataset):
        raise CloudFreeError(
            f"expected an xarray Dataset or DataArray, not {type(obj).__name__}",
            fix="build one with xr.Dataset({'B02': (('y', 'x'), array), ...})",
        )
    names = {str(v).lower(): v for v in obj.data_vars}
    if "s2" in names or "s1" in names:
        optical = _stacked(obj, names.get("s2"), optical_band)
        sar = _stacked(obj, names.get("s1"), _polarisation)
        classes = next((obj[v] for v in obj.data_vars if is_scene_classification(v)), None)
        return _assemble(obj, "stacked", optical, sar, classes)
    if (stored := _only_stacked(obj)) is not None:
        return _assemble(obj, "stacked", *_split(obj[stored], band_dim(obj[stored])))
    return _assemble(obj, "bands", *_variables(obj))


def _only_stacked(ds: xr.Dataset) -> Hashable | None:
    """The only variable with bands along a dimension, as a DataArray comes back from a store."""
    found = []
    for name, array in ds.data_vars.items():
        if optical_band(name) or _polarisation(name):
            return None
        for dim in (dim for dim in array.dims if dim in BAND_DIMS and dim in array.coords):
            labels = array[dim].values
            if any(optical_band(label) or _polarisation(label) for label in labels):
                found.append(name)
    found = [name for name in found if not str(name).endswith(BESIDE)]
    return found[0] if len(found) == 1 else None


def _assemble(
    source: xr.Dataset | xr.DataArray,
    form: str,
    optical: Layer | None,
    sar: Layer | None,
    classes: xr.DataArray | None,
) -> Scene:
    layer = optical or sar
    if layer is None:
        _refuse_unknown(source)
    assert layer is not None
    for array in (*layer.arrays, *(() if sar is None else sar.arrays)):
        if array.dtype.kind not in "iuf":
            name = array.name
            call = f"ds.assign({{{name!r}: ds[{name!r}].astype('float32')}})"
            if isinstance(source, xr.DataArray):
                call = "array.astype('float32')"
            raise UnitsError(
                f"{array.name!r} contains {array.dtype}, not integers or floating-point numbers",
                fix=f"convert it with {call}",
                option="write it to the file as numbers",
            )
    spatial = _spatial(layer.arrays[0])
    for array in layer.arrays:
        if not set(spatial) <= set(array.dims):
            raise GridError(
                f"{array.name!r} has dimensions {array.dims} and other bands have {spatial}",
                fix="put them on one grid first, with ds.odc.reproject(geobox) of the band to keep",
                option="warp all bands to one grid first, for example with gdalwarp",
            )
    check_grid(source, spatial, optical, sar)
    lead = tuple(
        dict.fromkeys(d for a in layer.arrays for d in a.dims if d != "band" and d not in spatial)
    )
    _check_dates(source, lead)
    sizes = {d: n for a in layer.arrays for d, n in a.sizes.items()}

    def canonical(part: Layer | None) -> Layer | None:
        if part is None:
            return None
        arrays = tuple(_canonical(a, sizes, lead, spatial) for a in part.arrays)
        return Layer(part.names, arrays, part.variables)

    if classes is not None:
        classes = _canonical(classes, sizes, lead, spatial)
    return Scene(source, form, canonical(optical), canonical(sar), classes, lead, spatial)


def dates_elsewhere(obj: xr.Dataset | xr.DataArray, dims: Iterable[Hashable]) -> Hashable | None:
    """Which of some dimensions has dates, if none is called time, as in files of openEO."""
    dated = [d for d in dims if d == "time" or (d in obj.coords and obj[d].dtype.kind == "M")]
    return dated[0] if dated and "time" not in dated else None


def _check_dates(source: xr.Dataset | xr.DataArray, lead: tuple[Hashable, ...]) -> None:
    """Raise an error for dates along another dimension than time, as if each stood alone."""
    if (dim := dates_elsewhere(source, lead)) is not None:
        what = "array" if isinstance(source, xr.DataArray) else "ds"
        raise CloudFreeError(
            f"the dates are in the dimension {str(dim)!r}, which should be called 'time'",
            fix=f"call {what}.rename({{{str(dim)!r}: 'time'}})",
            option="call that dimension time in the file",
        )


def _canonical(
    array: xr.DataArray,
    sizes: Mapping[Hashable, int],
    lead: tuple[Hashable, ...],
    spatial: tuple[Hashable, Hashable],
) -> xr.DataArray:
    """Order the dimensions; an array without time applies to every date."""
    extra = [d for d in array.dims if d not in (*lead, *spatial, "band")]
    if extra:
        raise GridError(
            f"{array.name!r} has dimension {extra[0]!r} that the Sentinel-2 bands lack",
            fix=f"select along it with ds.isel({extra[0]}=0)",
            option=f"keep one element along {extra[0]} in the file",
        )
    missing = {d: sizes[d] for d in lead if d not in array.dims}
    out = array.expand_dims(missing) if missing else array
    band = ("band",) if "band" in out.dims else ()
    out = out.transpose(*lead, *band, *spatial)
    if band and out.chunks is not None and len(out.variable.chunksizes["band"]) > 1:
        out = out.chunk(band=-1)
    return out


def _variables(ds: xr.Dataset) -> tuple[Layer | None, Layer | None, xr.DataArray | None]:
    images = {name: array for name, array in ds.data_vars.items() if array.ndim >= 2}
    for name, array in images.items():
        if array.sizes.get("band") == 1:  # as rioxarray opens a single-band file
            images[name] = array.squeeze("band", drop=True)
    optical = _by_band({name: optical_band(name) for name in images})
    sar = _by_band({name: (sar_band(name) or (None,))[0] for name in images})
    classes = [array for name, array in images.items() if is_scene_classification(name)]

    def layer(variables: dict[str, Hashable], order: tuple[str, ...]) -> Layer | None:
        names = tuple(n for n in order if n in variables)
        chosen = tuple(variables[n] for n in names)
        return Layer(names, tuple(images[v] for v in chosen), chosen) if names else None

    return layer(optical, S2_BANDS), layer(sar, POLARISATIONS), classes[-1] if classes else None


def _stacked(
    ds: xr.Dataset, variable: Hashable | None, canonical: Callable[[object], str | None]
) -> Layer | None:
    if variable is None:
        return None
    array = ds[variable]
    found = _pick(array, band_dim(array), canonical)
    if found is None:
        _refuse_unknown(array)
    assert found is not None
    return Layer(found[0], (found[1],), (variable,))


def _split(array: xr.DataArray, dim: str) -> tuple[Layer | None, Layer | None, xr.DataArray | None]:
    optical = _pick(array, dim, optical_band)
    sar = _pick(array, dim, _polarisation)
    if optical and sar:  # the attributes of the array are those of its reflectance
        own = {k: v for k, v in array.attrs.items() if k in KEYS[1:]}  # of all stored numbers
        own |= {k[4:]: v for k, v in array.attrs.items() if str(k).startswith("sar_")}
        sar = sar[0], sar[1].drop_attrs(deep=False).assign_attrs(own)
    classes = None
    for i, name in enumerate(array[dim].values if dim in array.coords else ()):
        if is_scene_classification(name):
            classes = array.isel({dim: i}, drop=True)
    return (
        Layer(optical[0], (optical[1],), (array.name,)) if optical else None,
        Layer(sar[0], (sar[1],), (array.name,)) if sar else None,
        classes,
    )


def _pick(
    array: xr.DataArray, dim: str, canonical: Callable[[object], str | None]
) -> tuple[tuple[str, ...], xr.DataArray] | None:
    """Recognised entries along a band dimension, without its other coordinates."""
    if dim not in array.coords:
        return None
    labels = list(array[dim].values)
    found = _by_band({i: canonical(name) for i, name in enumerate(labels)}, (dim, labels))
    if not found:
        return None
    where = list(found.values())
    picked = array if where == list(range(array.sizes[dim])) else array.isel({dim: where})
    along = [c for c in picked.coords if dim in picked[c].dims]
    picked = picked.drop_vars(along)
    return tuple(found), picked if dim == "band" else picked.rename({dim: "band"})


def _by_band(
    bands: Mapping[Any, str | None], along: tuple[str, list[Any]] | None = None
) -> dict[str, Any]:
    """Variables, or positions along a dimension, by band; an error if a band occurs twice."""
    found: dict[str, Any] = {}
    for variable, band in bands.items():
        if band in found:
            first, second = found[band], variable
            call = f"ds.drop_vars({str(second)!r})"
            if along is not None:
                first, second = (str(along[1][n]) for n in (first, second))
                call = f"array.drop_sel({along[0]}=[{second!r}])"
                if first == second:
                    call = f"array.drop_duplicates({along[0]!r})"
            raise MissingBandError(
                f"{first!r} and {second!r} are both {band}",
                fix=f"keep one, for example with {call}",
                option="keep one of them in the file",
            )
        if band is not None:
            found[band] = variable
    return found


def _polarisation(name: object) -> str | None:
    found = sar_band(name)
    return None if found is None else found[0]


def spatial_dims(obj: xr.Dataset | xr.DataArray | xr.Variable) -> tuple[str, str] | None:
    """Names of rows and columns, if there are both."""
    return next((pair for pair in SPATIAL if set(pair) <= set(obj.dims)), None)


def _spatial(array: xr.DataArray) -> tuple[str, str]:
    pair = spatial_dims(array)
    if pair is None:
        raise GridError(
            f"no spatial dimensions among {array.dims}",
            fix="rename them with ds.rename({...: 'y', ...: 'x'})",
            option="call the dimensions of rows and columns y and x in the file",
        )
    return pair


def _refuse_unknown(source: xr.Dataset | xr.DataArray) -> None:
    if isinstance(source, xr.Dataset):
        flat = [v for v in source.data_vars if source[v].ndim < 2]
        if any(optical_band(v) or _polarisation(v) for v in flat):
            dims = source[flat[0]].dims
            missing = "x" if "y" in dims else "y"
            raise GridError(
                f"{flat[0]!r} has dimensions {dims} but an image has rows and columns",
                fix=f"add the other with ds.expand_dims('{missing}'), or keep it when you "
                f"select, as {missing}=slice(0, 1) does",
                option="keep rows and columns in the file, also where there is only one",
            )
        if not source.data_vars:
            raise MissingBandError(
                "the Dataset has no variables",
                fix="put bands into it with xr.Dataset({'B02': (('y', 'x'), array), ...})",
                option="write the bands into it as variables",
            )
        raise MissingBandError(
            f"no Sentinel-2 or Sentinel-1 band among the variables {listed(source.data_vars)}",
            fix="name them B01 ... B12, VV, VH with ds.rename({...: 'B02'})",
            option="name the bands B01 ... B12, VV and VH in the file",
        )
    dim = band_dim(source)
    have = source[dim].values if dim in source.coords else "no names at all"
    names = "['VV', 'VH']" if str(source.name).lower() == "s1" else "['B01', 'B02', ...]"
    told = source.attrs.get("long_name")  # where rioxarray puts the descriptions of a file's bands
    if isinstance(told, (list, tuple)) and any(optical_band(n) or _polarisation(n) for n in told):
        names = "list(array.long_name)"
    raise MissingBandError(
        f"no Sentinel-2 or Sentinel-1 band along {dim!r}, which has {have}",
        fix=f"name the bands with array.assign_coords({dim}={names})",
        option="give each band its name in the file, such as B02, B03, B04",
    )
