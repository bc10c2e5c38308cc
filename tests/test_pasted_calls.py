"""The call that an error names is pasted, runs, and the problem is gone.

A row: what breaks a scene, and what is then called with it. The first call in the fix of the error
is evaluated with `ds` (and `array`, `dates`, `s1`, `s2`, `tree` where a row has them), and what it
returns is called the same way. Rooms add their errors as rows.
"""

import ast
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xcloudfree as xcf
from xcloudfree.exceptions import CloudFreeError

START = re.compile(r"(?<![\w.])(?:ds|xcf|xr|array|tree|dates)[.\[]")


def calls(text):
    """The Python expressions that a message names, in their order."""
    found, position = [], 0
    while match := START.search(text, position):
        ends = [
            n + 1
            for n in range(match.start(), len(text))
            if text[n] in ")]'\"" or n == len(text) - 1
        ]
        position = match.end()
        for end in reversed(ends):
            try:
                ast.parse(text[match.start() : end], mode="eval")
            except SyntaxError:
                continue
            found.append(text[match.start() : end])
            position = end
            break
    return found


@pytest.fixture(scope="module")
def ds():
    return xcf.datasets.simulate_scene((16, 16), dates=4, cover=0.4, seed=1, level="BOA")


def clouds(ds):
    """A mask on the grid of a scene, whatever its dates are."""
    return ds["B03"] > ds["B03"].median()


def filling(model):
    return lambda ds: ds.cloudfree.reconstruct(model=model, mask=clouds(ds), shadow=False).compute()


def optical(ds):
    return [b for b in ds if b[0] == "B"]


def numbers(ds):
    out = {b: (ds[b] * 1e4).clip(1).astype("uint16").drop_attrs() for b in optical(ds)}
    return ds.assign(out)


def with_value(ds, bands, value):
    west = ds.x < ds.x[3]
    new = {b: ds[b].where(~west, value).astype("float32").assign_attrs(ds[b].attrs) for b in bands}
    return ds.assign(new)


def declaring(ds, bands, **attrs):
    return ds.assign({b: ds[b].assign_attrs(attrs) for b in bands})


def undeclared(ds, bands):
    return ds.assign({b: ds[b].drop_attrs() for b in bands})


B = ["B02", "B03", "B04"]
R = ["VV", "VH"]
fill, fuse, mask = filling("median"), filling("pixel-fusion"), lambda ds: ds.cloudfree.mask("l2a")

ROWS = {
    "integers without a scale": (numbers, fill),
    "digital numbers as floats": (
        lambda ds: ds.assign({b: numbers(ds)[b].astype("float32") for b in optical(ds)}), fill),
    "a scale for reflectance": (
        lambda ds: declaring(ds, optical(ds), scale_factor=1e-4), filling("idw")),
    "-9999 in reflectance": (lambda ds: with_value(ds, B, -9999), fill),
    "1e20 in reflectance": (lambda ds: with_value(ds, B, 1e20), fill),
    "a fill that was interpolated": (
        lambda ds: ds.assign(B04=ds.B04.where(ds.x > ds.x[1], -3000 * ds.B04)), fill),
    "-9999 in backscatter": (lambda ds: with_value(ds, R, -9999), fuse),
    "0 in backscatter": (lambda ds: with_value(ds, R, 0), fuse),
    "backscatter of no unit": (lambda ds: undeclared(ds, R), fuse),
    "power that is called dB": (
        lambda ds: ds.assign({p: (10 ** (ds[p] / 10)).assign_attrs(units="dB") for p in R}), fuse),
    "dB that is called power": (
        lambda ds: ds.assign({p: ds[p].assign_attrs(units="1") for p in R}), fuse),
    "bands of two types": (
        lambda ds: ds.assign(B02=ds.B02.astype("float64")), fill),
    "no data that is no number": (
        lambda ds: declaring(ds, optical(ds), nodata="none"), fill),
    "no data of radar that is no number": (
        lambda ds: declaring(ds, R, nodata="none"), fuse),
    "a scale that is no number": (
        lambda ds: declaring(numbers(ds), optical(ds), scale_factor="none"), fill),
    "no data of classes that is no number": (
        lambda ds: ds.assign(SCL=xr.full_like(ds.B02, 4, "uint8").assign_attrs(nodata="none")),
        lambda ds: ds.cloudfree.mask("scl")),
    "bands as text": (lambda ds: ds.assign(B02=ds.B02.astype(str)), fill),
    "two names of a band": (lambda ds: ds.assign(blue=ds.B02), fill),
    "dates by another name": (lambda ds: ds.rename(time="t"), fill),
    "dates as integers": (
        lambda ds: ds.assign_coords(time=[20250610, 20250615, 20250620, 20250625]), fill),
    "numbers in the place of dates": (lambda ds: ds.assign_coords(time=[0, 1, 2, 3]), fill),
    "a date that is missing": (
        lambda ds: ds.assign_coords(time=ds.time.where(ds.time != ds.time[1])), fill),
    "a dimension that no one knows": (
        lambda ds: ds.assign(VV=ds.VV.expand_dims(orbit=[1, 2]), VH=ds.VH), fuse),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_the_call_of_an_error_fixes_it(ds, row):
    spoil, call = ROWS[row]
    broken = spoil(ds)
    with pytest.raises(CloudFreeError) as first:
        call(broken)
    named = calls(first.value.fix)
    assert named, first.value.fix
    names = {"ds": broken, "xcf": xcf, "xr": xr, "np": np, "numpy": np, "pandas": pd}
    fixed = eval(named[0], names)
    try:
        call(fixed)
    except CloudFreeError as second:  # the next thing may be missing, never the same
        assert second.problem != first.value.problem, named[0]  # noqa: PT017
