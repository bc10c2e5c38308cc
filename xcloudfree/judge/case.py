"""Benchmark cases: a scene that methods may see, its hidden pixels, and the clear truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError
from xcloudfree.judge.evaluation import on_yx, reflectance


@dataclass(frozen=True, eq=False)
class Case:
    """One image to reconstruct, with everything needed to evaluate it.

    Parameters
    ----------
    name : str
        Different from that of every other case.
    data : Dataset
        Data that a method may see, in any accepted form, lazy or not: one image, or a series of
        which one date is evaluated. It must not contain the truth.
    hidden : DataArray of bool
        True = occluded, on the grid (and the dates) of `data`.
    truth : Dataset
        The clear image, without time; pixels without data are excluded from all figures.
    region : str
        Cases of one region are not independent: significance is computed over regions.
    date : datetime64, optional
        Date of a series to evaluate.
    gap : float
        Days around the date whose observations are withheld; NaN if it does not apply.
    protocol, kind : str
        How the case was made, for tables.

    Examples
    --------
    >>> import numpy as np
    >>> truth = xr.Dataset({"B02": (("y", "x"), np.full((4, 4), 0.1))})
    >>> hidden = xr.DataArray(np.eye(4, dtype=bool), dims=("y", "x"))
    >>> Case("eye", truth.where(~hidden, 0.5), hidden, truth, region="A").region
    'A'
    """

    name: str
    data: xr.Dataset
    hidden: xr.DataArray
    truth: xr.Dataset
    region: str = ""
    date: np.datetime64 | None = None
    gap: float = float("nan")
    protocol: str = ""
    kind: str = ""

    def load(self) -> Case:
        """The same case in memory.

        Returns
        -------
        Case
        """
        return replace(
            self,
            data=self.data.compute(),
            hidden=self.hidden.compute(),
            truth=self.truth.compute(),
        )

    def at_date(self, obj: Any) -> Any:
        """The evaluated date of an object with the dates of the series.

        Parameters
        ----------
        obj : Dataset or DataArray

        Returns
        -------
        Dataset or DataArray
            Without time.
        """
        if self.date is None or "time" not in obj.dims:
            return obj
        return obj.isel(time=int(np.flatnonzero(obj.time.values == self.date)[0]), drop=True)

    @property
    def occluded(self) -> xr.DataArray:
        """Occluded pixels of the evaluated image, (y, x)."""
        return on_yx(self.at_date(self.hidden)).transpose("y", "x")

    @cached_property
    def reference(self) -> xr.DataArray:
        """Reflectance of the truth, (band, y, x), read once for all methods."""
        return reflectance_of(self.truth.drop_vars("time", errors="ignore"))

    def fingerprint(self) -> str:
        """Hash of all that affects the figures: values, coordinates, attributes, not the name."""
        sha = blake2b(repr(self.date).encode(), digest_size=16)
        for part in (self.data, self.hidden.to_dataset(name="hidden"), self.truth):
            for name in sorted(part.variables, key=str):
                variable = part.variables[name]
                values = np.ascontiguousarray(variable.values)
                head = (str(name), variable.dims, values.dtype.str, values.shape)
                sha.update(repr(head).encode())
                sha.update(repr(sorted(variable.attrs.items(), key=repr)).encode())
                text = values.dtype == object
                sha.update(repr(values.tolist()).encode() if text else values.tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class Fold:
    """Cases to evaluate, and cases to fit methods on first.

    Parameters
    ----------
    train : sequence of Case
        For :class:`xcloudfree.judge.Fit`.
    test : sequence of Case
        Cases to evaluate.
    name : str
        Used in messages.

    Examples
    --------
    >>> import numpy as np
    >>> truth = xr.Dataset({"B02": (("y", "x"), np.full((4, 4), 0.1))})
    >>> hidden = xr.DataArray(np.eye(4, dtype=bool), dims=("y", "x"))
    >>> north, south = (Case(n, truth.where(~hidden, 0.5), hidden, truth, region=n) for n in "NS")
    >>> Fold(train=[north], test=[south]).test[0].region
    'S'
    """

    train: Sequence[Case]
    test: Sequence[Case]
    name: str = ""

    @cached_property
    def training(self) -> str:
        """Fingerprint of the training cases and their regions."""
        return " ".join(f"{c.region}:{c.load().fingerprint()}" for c in self.train)


def reflectance_of(obj: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Reflectance (..., band, y, x) in memory, with the attributes that declare it."""
    level = read(obj).level
    array = reflectance(obj).drop_attrs().drop_encoding().compute()
    return array.assign_attrs(units="1", **({"processing_level": level} if level else {}))


def leave_one_region_out(cases: Iterable[Case]) -> Iterator[Fold]:
    """Use each region once as test, with all others for fitting.

    Parameters
    ----------
    cases : iterable of Case

    Yields
    ------
    Fold
        Named after the left-out region, in the order in which regions appear.

    Raises
    ------
    DataError
        With fewer than two regions.

    Examples
    --------
    >>> image = xr.Dataset({"B02": (("y", "x"), np.full((2, 2), 0.1))})
    >>> cases = [Case(n, image, image.B02 > 1, image, region=n[0]) for n in ("a1", "a2", "b1")]
    >>> [(f.name, len(f.train), [c.name for c in f.test]) for f in leave_one_region_out(cases)]
    [('a', 1, ['a1', 'a2']), ('b', 2, ['b1'])]
    """
    cases = list(cases)
    regions = list(dict.fromkeys(c.region for c in cases))
    if len(regions) < 2:
        raise DataError(
            f"the cases are of {'one region' if regions else 'no region'}, so none is left "
            "to fit on",
            fix="name two or more with Case(..., region=...)",
        )
    for region in regions:
        train = [c for c in cases if c.region != region]
        yield Fold(train, [c for c in cases if c.region == region], region)
