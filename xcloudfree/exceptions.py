"""Errors with the problem and the call that fixes it, and warnings."""

from __future__ import annotations

from typing import Any


class CloudFreeError(Exception):
    """Base class of all errors that xcloudfree raises on purpose.

    Parameters
    ----------
    problem : str
        What is wrong.
    fix : str
        The call that fixes it; the message ends with it.
    subject : str
        Where the problem lies, such as ``"model 'glfcr'"``; the message begins with it.
    option : str
        The fix as a command-line option, ``"--sar dB"``, if there is one.

    Examples
    --------
    >>> error = CloudFreeError("has no dimension x", "call ds.rename(col='x')", subject="the scene")
    >>> str(error), error.problem
    ("the scene has no dimension x; call ds.rename(col='x')", 'has no dimension x')
    """

    def __init__(
        self, problem: str = "", fix: str = "", subject: str = "", option: str = ""
    ) -> None:
        self.problem, self.fix, self.subject, self.option = problem, fix, subject, option
        super().__init__(_message(self, fix))

    def __reduce__(self) -> tuple[Any, ...]:  # the fields travel between processes
        return type(self), (self.problem, self.fix, self.subject, self.option)

    @property
    def instruction(self) -> str:
        """The fix for the command line, as options where available."""
        return f"use {self.option}" if self.option.startswith("--") else self.option or self.fix

    @property
    def as_options(self) -> str:
        """The message for the command line."""
        return _message(self, self.instruction)


def _message(error: CloudFreeError, fix: str) -> str:
    """Subject, problem and fix as one sentence."""
    start = f"{error.subject} {error.problem}" if error.subject else error.problem
    return f"{start}; {fix}" if fix else start


class MissingBandError(CloudFreeError, KeyError):
    """A band or polarisation that the method needs is missing."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


class UnitsError(CloudFreeError, ValueError):
    """Values whose unit is undeclared or contradicts the declaration."""


class GridError(CloudFreeError, ValueError):
    """Arrays that are not on the same pixel grid."""


class ModelError(CloudFreeError, ValueError):
    """A model that cannot be built, or does not fit the data."""


class WeightsError(CloudFreeError, ValueError):
    """A weights file that cannot be read or does not match its own specification."""


class DeviceMemoryError(CloudFreeError, MemoryError):
    """A device that has too little memory for the computation."""


class CatalogError(CloudFreeError, RuntimeError):
    """A catalog that cannot be reached, or that returned nothing usable."""


class DataError(CloudFreeError, ValueError):
    """Data that is unsuitable: no samples, no truth, no date within the gap."""


class PluginError(CloudFreeError, ImportError):
    """A mask or model of another package that is missing, broken, or defined twice."""


class UntrainedWarning(UserWarning):
    """A network without fitted weights is about to run."""


class DemonstrationWarning(UserWarning):
    """Weights that only demonstrate the software are about to run."""


class QuantityWarning(UserWarning):
    """Backscatter of another kind (sigma0, gamma0) than the model was fitted on."""


class SeamWarning(UserWarning):
    """A network that reads its whole input is about to run in fixed tiles."""


class CatalogWarning(UserWarning):
    """A catalog gave an unexpected answer, or an item contains doubtful metadata."""


class GridWarning(UserWarning):
    """Scenes in several map projections are reprojected to one grid."""
