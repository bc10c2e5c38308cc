"""Errors, each with the problem and the call that fixes it, and warnings."""

from __future__ import annotations

from typing import Any


class CloudFreeError(Exception):
    """Base of every error that xcloudfree raises on purpose.

    Parameters
    ----------
    problem : str
        What is wrong.
    fix : str
        The call that fixes it; the message ends with it.
    subject : str
        What the problem belongs to, such as ``"model 'glfcr'"``; the message begins with it.
    option : str
        The same for the command line, ``"--sar dB"``, where `fix` has such a form.

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
        """The fix for the command line, in options where these have it."""
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
    """A band or polarisation that the method needs is absent."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


class UnitsError(CloudFreeError, ValueError):
    """Values whose physical unit is undeclared or contradicts the declaration."""


class GridError(CloudFreeError, ValueError):
    """Arrays that do not share one pixel grid."""


class ModelError(CloudFreeError, ValueError):
    """A model that cannot be built, or does not fit the data that it is given."""


class WeightsError(CloudFreeError, ValueError):
    """A weights file that cannot be read or does not fit its own description."""


class DeviceMemoryError(CloudFreeError, MemoryError):
    """The memory of a device does not hold what is asked of it."""


class CatalogError(CloudFreeError, RuntimeError):
    """A catalog that cannot be reached, or that returned nothing usable."""


class DataError(CloudFreeError, ValueError):
    """Data that cannot serve the purpose: no samples, no truth, no time within the gap."""


class PluginError(CloudFreeError, ImportError):
    """A mask or model of another package that is missing, broken, or claimed twice."""


class UntrainedWarning(UserWarning):
    """A network without fitted weights is about to be used."""


class DemonstrationWarning(UserWarning):
    """Weights that demonstrate the software and carry no claim of quality are about to be used."""


class QuantityWarning(UserWarning):
    """Backscatter of another kind (sigma0, gamma0) than the model was fitted on."""


class SeamWarning(UserWarning):
    """A network that reads its whole input is about to be run in fixed tiles."""


class CatalogWarning(UserWarning):
    """A catalog answered otherwise than it was asked, or an item says something doubtful."""


class GridWarning(UserWarning):
    """Scenes of several map projections are brought onto one grid."""
