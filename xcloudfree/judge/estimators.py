"""Methods to evaluate: names, files, models, functions, and functions that are fitted first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import xarray as xr

from xcloudfree import methods
from xcloudfree.exceptions import ModelError
from xcloudfree.judge.case import Case
from xcloudfree.methods.base import Method

Estimate = Callable[[xr.Dataset, xr.DataArray], Any]
"""(data, hidden) to a reconstruction in any accepted form, of the whole series or of its date."""


@dataclass(frozen=True)
class Reconstruct:
    """``data.cloudfree.reconstruct(model=model, mask=hidden, **options)``.

    Parameters
    ----------
    model : str, Path or Model
        Model of :func:`xcloudfree.reconstruct.reconstruct`, including classical methods.
    options : mapping
        Its other options.

    Examples
    --------
    >>> Reconstruct("area-regression", {"blend": None}).model
    'area-regression'
    """

    model: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, data: xr.Dataset, hidden: xr.DataArray) -> Any:
        """Reconstruct the data."""
        from xcloudfree.reconstruct.pipeline import reconstruct

        return reconstruct(data, model=self.model, mask=hidden, **self.options)

    def fingerprint(self) -> str:
        """Name and options; for a network the digest of its specification and weights."""
        options = repr(sorted(self.options.items()))
        if isinstance(self.model, methods.Method):
            return f"method {self.model!r} {options}"
        if isinstance(self.model, str) and methods.known(self.model):
            return f"method {self.model} {options}"
        from xcloudfree.models.cache import reference

        return f"network {reference(self.model)[0].digest} {options}"


@dataclass(frozen=True)
class SingleDate:
    """A method that gets only the evaluated date (the dates with hidden pixels).

    Methods of single images need not read the rest of a series. Cases that differ only in other
    dates, such as those of :func:`xcloudfree.judge.hidden_dates` that differ in the gap, are one
    case for it: the benchmark runs it once and reports the figures and cost of that run for each.

    Parameters
    ----------
    method : str, Path, Model or callable
        See :func:`xcloudfree.judge.benchmark`; not one that must be fitted.

    Examples
    --------
    >>> label(SingleDate("idw"))
    'idw'
    """

    method: Any

    def view(self, data: xr.Dataset, hidden: xr.DataArray) -> tuple[xr.Dataset, xr.DataArray]:
        """The part of a case that the method gets."""
        if "time" not in hidden.dims:
            return data, hidden
        dates = hidden.any([d for d in hidden.dims if d != "time"]).values
        return data.isel(time=dates), hidden.isel(time=dates)

    def __call__(self, data: xr.Dataset, hidden: xr.DataArray) -> Any:
        """Reconstruct these dates."""
        return self._estimate()(*self.view(data, hidden))

    def fingerprint(self) -> str:
        """Fingerprint of the method."""
        return f"alone {identify(self._estimate())}"

    def _estimate(self) -> Estimate:
        method = resolve(self.method)
        if isinstance(method, Fit):
            raise ModelError(
                "a method that must be fitted takes whole cases, not a SingleDate",
                fix="call benchmarking.Fit(function)",
            )
        return method


@dataclass(frozen=True)
class Fit:
    """A method that is fitted on the training cases of a fold before it is evaluated.

    Parameters
    ----------
    function : callable
        ``function(train)`` with a sequence of :class:`Case` returns a method: a function of (data,
        hidden), or a model.

    Examples
    --------
    >>> import numpy as np
    >>> def brightness(train):
    ...     level = float(np.mean([c.truth.B02.mean() for c in train]))
    ...     return lambda data, hidden: data.assign(B02=data.B02.where(~hidden, level))
    >>> method = Fit(brightness)
    """

    function: Callable[[Sequence[Case]], Any]

    def fingerprint(self) -> str:
        """Fingerprint of the function; the benchmark adds the training cases."""
        return f"fit {identify(self.function)}"


def resolve(method: Any) -> Estimate | Fit:
    """A method as a callable."""
    from xcloudfree.judge.baselines import TRIVIAL

    if isinstance(method, str) and method in TRIVIAL:
        return TRIVIAL[method]
    if isinstance(method, methods.Method) or (isinstance(method, str) and methods.known(method)):
        return Reconstruct(method)
    if isinstance(method, (str, Path)) or hasattr(method, "spec"):
        if isinstance(method, str):
            from xcloudfree.reconstruct.checks import check_known

            check_known(method, TRIVIAL)
        out = Reconstruct(method)
        out.fingerprint()  # loads the model, so that a wrong path raises an error before any case
        return out
    if isinstance(method, Fit):
        return method
    if callable(method):
        return cast("Estimate", method)
    raise ModelError(
        f"a method is a {type(method).__name__}",
        fix="give names, models, functions of (data, hidden) or benchmarking.Fit(function) to "
        "benchmark(cases, methods)",
    )


def label(method: Any) -> str:
    """Name of a method for tables."""
    if isinstance(method, Path):
        return method.stem
    if isinstance(method, str):
        return Path(method).stem if method.endswith(".safetensors") else method
    if isinstance(method, Reconstruct):
        return ", ".join([label(method.model), *(f"{k}={v}" for k, v in method.options.items())])
    if isinstance(method, SingleDate):
        return label(method.method)
    if isinstance(method, Fit):
        return label(method.function)
    if hasattr(method, "spec"):
        return str(method.spec.name)
    if isinstance(method, Method):
        return method.name
    return str(getattr(method, "__name__", type(method).__name__)).replace("_", " ")


def identify(method: Any) -> str:
    """Hash that identifies a method, to find its stored results."""
    if hasattr(method, "fingerprint"):
        return blake2b(str(method.fingerprint()).encode(), digest_size=16).hexdigest()
    import cloudpickle  # type: ignore[import-untyped,unused-ignore]

    try:
        state = cloudpickle.dumps(method)
    except Exception as error:
        raise ModelError(
            f"the state of method {label(method)!r} cannot be read ({error})",
            fix="give it a method fingerprint() that returns what it depends on, or "
            "benchmark(..., folder=None)",
        ) from error
    plain = inspect.isfunction(method) or inspect.isclass(method)
    sha = blake2b(state, digest_size=16)
    with suppress(OSError, TypeError):
        sha.update(inspect.getsource(method if plain else type(method)).encode())
    return sha.hexdigest()
