"""Run any methods on any cases, with their cost, resumably."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from xcloudfree._version import __version__
from xcloudfree.core.passes import day_numbers, same_pass
from xcloudfree.core.progress import Progress
from xcloudfree.exceptions import DataError
from xcloudfree.judge.case import Case, Fold
from xcloudfree.judge.cost import measure, quick_collection
from xcloudfree.judge.estimators import Estimate, Fit, SingleDate, identify, label, resolve
from xcloudfree.judge.evaluation import COLUMNS, PREDICTION, evaluate
from xcloudfree.judge.result import Record, Store, assemble

_LONGEST: Final = 500

Look = Callable[[Case, Any], Any]
"""Further notes on a case and its reconstruction."""


def benchmark(
    cases: Iterable[Case | Fold],
    methods: Sequence[Any] | Mapping[str, Any],
    *,
    folder: str | Path | None = None,
    retry: bool = False,
    progress: bool | None = None,
) -> xr.Dataset:
    """Evaluate methods on cases, all on the same pixels.

    Cases are taken one by one, loaded once each, and passed to every method in memory, so that
    memory contains only one case at a time. Each figure is that of
    :func:`xcloudfree.evaluate` for one case.

    Parameters
    ----------
    cases : iterable of Case or Fold
        May be a generator, see :func:`xcloudfree.benchmarking.hidden_dates`. From a fold, the test
        cases are evaluated and methods are fitted on the training cases.
    methods : sequence, or mapping from labels
        Names of classical methods (:func:`xcloudfree.methods.names`), of trivial baselines
        (:data:`xcloudfree.benchmarking.TRIVIAL`) and of models; files of models; models; functions
        of (data, hidden) that return a reconstruction; :class:`xcloudfree.benchmarking.SingleDate`;
        :class:`xcloudfree.benchmarking.Fit`.
    folder : str or Path, optional
        Folder to store each finished pair of method and case, so that a second call resumes. A pair
        is identified by the values of the case, the method (its options and weights, or the source
        of a function, but not of functions that it calls) and the library's version: use a new
        folder after changes in the library's own code.
    retry : bool
        Repeat what failed before.
    progress : bool, optional
        Whether to show a progress bar; by default in a terminal or notebook only.

    Returns
    -------
    xarray.Dataset
        ``value`` (method, case, metric, pixels), ``count`` and ``left_out`` (method, case, pixels:
        pixels compared, and pixels of the truth that the method left without data; pixels
        missing from the truth are in neither), ``cpu_seconds``,
        ``wall_seconds``, ``peak_memory`` (MB above what the process held before; see
        :func:`xcloudfree.benchmarking.cost.measure`), ``fit_cpu_seconds`` and ``failure`` (method,
        case). Coordinates of case: ``region``, ``gap``, ``protocol``, ``kind``. If a method
        fails, ``failure`` contains the message, its figures are NaN, and the others continue. The
        first case of a method may include imports, compilation and loading of weights. Select
        with ``result.sel({"method": "idw"})``, because ``method`` has another meaning in ``sel``.

    Raises
    ------
    DataError
        If there is no case, two cases or methods share a name, or a case shows another image of the
        pass that it hides.
    ModelError
        If a method is unknown.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudfree.judge import Case, benchmark
    >>> truth = xr.Dataset({"B02": (("y", "x"), np.full((4, 4), 0.1))})
    >>> hidden = xr.DataArray(np.eye(4, dtype=bool), dims=("y", "x"))
    >>> case = Case("eye", truth.where(~hidden, 0.5), hidden, truth, region="A")
    >>> result = benchmark([case], ["do nothing", "clear mean"])
    >>> result.value.sel(case="eye", metric="mae", pixels="cloudy").round(3).values.tolist()
    [0.4, 0.0]
    """
    total = len(cases) if isinstance(cases, Sequence) else 0
    with Progress("judging", total, show=progress if total else False) as bar:
        return assemble(*run(cases, methods, bar, folder=folder, retry=retry))


def run(
    cases: Iterable[Case | Fold],
    methods: Sequence[Any] | Mapping[str, Any],
    bar: Progress,
    *,
    folder: str | Path | None = None,
    retry: bool = False,
    look: Look | None = None,
) -> tuple[list[str], list[Case], list[list[Record]]]:
    """Names of the methods, cases without their arrays, and a record of each pair."""
    named = _named(methods)
    runners = [_Runner(name, resolve(method), look) for name, method in named.items()]
    store = Store(None if folder is None else Path(folder))
    seen: list[Case] = []
    records: list[list[Record]] = []
    names: set[str] = set()
    with quick_collection() as exempt:
        for number, (case, fold) in enumerate(_flat(cases)):
            if case.name in names:
                raise DataError(
                    f"two cases are called {case.name!r}",
                    fix="give Case(name=...) another name for one",
                )
            names.add(case.name)
            if number < 2:  # the first case has imported what the methods need
                exempt()
            _check_pass(case)
            loaded = case.load()
            inputs = loaded.fingerprint() if store.folder else ""
            records.append([r.run(loaded, inputs, fold, store, retry) for r in runners])
            # without its arrays
            seen.append(replace(case, data=xr.Dataset(), hidden=xr.DataArray(), truth=xr.Dataset()))
            bar.step(case.name)
    if not seen:
        raise DataError(
            "there is no case",
            fix="make some of a series: benchmarking.hidden_dates(series)",
            option="name a folder with patches",
        )
    return list(named), seen, records


@dataclass
class _Runner:
    """A method and, if it is fitted, the result of the last fit."""

    name: str
    method: Estimate | Fit
    look: Look | None = None
    identity: str = ""
    fold: Fold | None = None
    fitted: Estimate | None = None
    failure: str = ""
    fit_cpu: float = float("nan")
    shared: dict[str, Record] = field(default_factory=dict)

    def run(
        self, case: Case, fingerprint: str, fold: Fold | None, store: Store, retry: bool
    ) -> Record:
        """Figures of a case, from the store if available."""
        path, about = None, case.name
        if isinstance(self.method, SingleDate):
            data, hidden = self.method.view(case.data, case.hidden)
            case = replace(case, data=data, hidden=hidden)
            fingerprint, about = case.fingerprint(), f"{case.region} alone {_day(case)}"
        if store.folder is not None:
            self.identity = self.identity or identify(self.method)
            parts = (self.identity, fingerprint, __version__)
            fitted = isinstance(self.method, Fit) and fold is not None
            trained = fold.training if fitted else ""  # type: ignore[union-attr]
            path = store.path(self.name, about, *parts, trained)
        earlier = store.read(path) or self.shared.get(fingerprint)
        if earlier is not None and not (retry and earlier.failure):
            return earlier
        record = self._judge(case, fold)
        store.write(path, record, method=self.name, case=about, version=__version__)
        if isinstance(self.method, SingleDate):
            self.shared[fingerprint] = record
        return record

    def _judge(self, case: Case, fold: Fold | None) -> Record:
        estimate = self.method if not isinstance(self.method, Fit) else self._fit(fold)
        if estimate is None:
            return Record(failure=self.failure)
        data, hidden = case.data.copy(deep=True), case.hidden.copy(deep=True)
        try:
            guess, cost = measure(lambda: _computed(estimate(data, hidden)))
            rows = judge(case, guess)
            more = None if self.look is None else self.look(case, guess)
        except Exception as error:  # an error of one method is a result; the others continue
            return Record(failure=_message(error))
        return Record(rows.tolist(), *cost, self.fit_cpu, more=more)

    def _fit(self, fold: Fold | None) -> Estimate | None:
        """The method fitted on the fold, or None and the reason."""
        assert isinstance(self.method, Fit)
        function = self.method.function
        if self.fold is fold and fold is not None:
            return self.fitted
        self.fold, self.fitted, self.failure = fold, None, ""
        try:
            if fold is None:
                raise DataError(
                    "the method must be fitted but the case has no training cases",
                    fix="call benchmark([Fold(train, test)], methods) or "
                    "leave_one_region_out(cases)",
                )
            train = fold.train
            method, cost = measure(lambda: function(train))
            fitted = resolve(method)
            assert not isinstance(fitted, Fit)
            self.fitted, self.fit_cpu = fitted, cost.cpu
        except Exception as error:
            self.failure = f"fit: {_message(error)}"
        return self.fitted


def judge(case: Case, guess: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the figures of a reconstruction of a case.

    Parameters
    ----------
    case : Case
    guess : Dataset or DataArray
        Reconstruction of the whole series, or of the evaluated date.

    Returns
    -------
    ndarray of float64
        (pixels, metric), all, cloudy and clear pixels; metrics and the two counts in the order of
        :data:`xcloudfree.benchmarking.evaluation.COLUMNS`, of the pixels that the truth has.

    Raises
    ------
    MissingBandError, GridError
        If the reconstruction lacks bands of the truth, or lies on another grid.

    Examples
    --------
    >>> truth = xr.Dataset({"B02": (("y", "x"), np.full((4, 4), 0.1))})
    >>> hidden = xr.DataArray(np.eye(4, dtype=bool), dims=("y", "x"))
    >>> judge(Case("eye", truth.where(~hidden, 0.5), hidden, truth), truth).shape
    (3, 7)
    """
    hidden = case.occluded
    row = evaluate(case.at_date(guess), case.reference, mask=hidden).sel(estimate=PREDICTION)
    table = np.stack([np.asarray(row[name], np.float64) for name in COLUMNS], axis=-1)
    table = table.reshape(-1, len(COLUMNS))
    # methods are not blamed for pixels that the truth lacks
    lacking = case.reference.isnull().any("band").values
    place = COLUMNS.index("left_out")
    for number, chosen in enumerate((True, hidden.values, ~hidden.values)):
        table[number, place] -= np.count_nonzero(lacking & chosen)
    return table


def _check_pass(case: Case) -> None:
    """Raise an error for a series in which another image of the same pass shows the truth."""
    if case.date is None or "time" not in case.data.coords or "time" not in case.hidden.dims:
        return
    times = case.data.time.values
    date = int(np.flatnonzero(times == case.date)[0])
    twins = same_pass(day_numbers(case.data.time), date)
    twins[date] = False
    if (
        twins.any()
        and not (case.hidden.isel(time=twins) | ~case.hidden.isel(time=date, drop=True)).all()
    ):
        raise DataError(
            f"case {case.name!r} hides {_day(case)} but shows another image of the same pass, "
            "which is nearly the truth",
            fix="make the case from xcf.join_passes(ds), or with benchmarking.hidden_dates(ds)",
        )


def _named(methods: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    if not methods:
        raise DataError("there is no method", fix="call benchmark(cases, ['do nothing', 'idw'])")
    if isinstance(methods, Mapping):
        return dict(methods)
    if isinstance(methods, str):
        methods = [methods]
    names = [label(m) for m in methods]
    if doubled := {n for n in names if names.count(n) > 1}:
        raise DataError(
            f"two methods are called {sorted(doubled)[0]!r}",
            fix="name them with benchmark(cases, {'one name': method, 'another': method})",
            option="name each model once",
        )
    return dict(zip(names, methods, strict=True))


def _flat(cases: Iterable[Case | Fold]) -> Iterator[tuple[Case, Fold | None]]:
    for item in cases:
        if isinstance(item, Fold):
            yield from ((case, item) for case in item.test)
        elif isinstance(item, Case):
            yield item, None
        else:
            raise DataError(
                f"a case is a {type(item).__name__}",
                fix="call benchmark([Case(name, data, hidden, truth)], methods), or make cases "
                "of a series with hidden_dates(series)",
            )


def _computed(guess: Any) -> Any:
    return guess.compute() if hasattr(guess, "compute") else guess


def _day(case: Case) -> str:
    return "" if case.date is None else str(np.datetime_as_string(case.date, "D"))


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST]
