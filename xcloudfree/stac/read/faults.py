"""Why an asset could not be read, and the record of it that travels with the pixels.

A fault is known only when a task reads, perhaps on another machine. So the task itself writes it
down: for every pixel a code, in the coordinate ``read_status`` that is computed with the pixels,
is stored with them, and needs no memory shared between workers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Cause(IntEnum):
    """Kind of fault, as it is written into ``read_status``."""

    NOT_FOUND = 2
    REFUSED = 3
    SERVER = 4
    NO_ANSWER = 5
    DAMAGED = 6
    OTHER = 7


NO_DATA, READ = 0, 1
"""Codes of pixels without a fault: nothing there (footprint), a value was read."""

WORDS = {
    Cause.NOT_FOUND: "not found",
    Cause.REFUSED: "refused",
    Cause.SERVER: "server error",
    Cause.NO_ANSWER: "no answer in time",
    Cause.DAMAGED: "damaged file",
    Cause.OTHER: "not readable",
}

LAST_ITEM = 30
"""Items of a scene are told apart up to this position; those behind count as this one."""

_VALID = 255  # in the making: a value was read, whatever failed beside it
_STATUS = re.compile(r"HTTP (?:response|error) code: (\d{3})\b")
_PATTERNS = (
    (Cause.REFUSED, r"Access ?Denied|ExpiredToken|InvalidAccessKey|Signature|InvalidCredentials"),
    (Cause.NO_ANSWER, r"CURL error|timed? ?out|too slow|resolve host|connect to|error code: 0\b"),
    (Cause.NOT_FOUND, r"does not exist|No such file"),
    (Cause.DAMAGED, r"not recognized|ecod|got \d+ bytes|TIFF|IReadBlock|corrupt|JP2|JPEG"),
)


@dataclass(frozen=True)
class Failure:
    """Why an asset could not be read.

    Parameters
    ----------
    cause : Cause
        Kind.
    detail : str
        What was said, without secrets.
    """

    cause: Cause
    detail: str = ""

    def __str__(self) -> str:
        return f"{WORDS[self.cause]} ({self.detail})" if self.detail else WORDS[self.cause]


def classify(messages: Sequence[str], logged: Iterable[str] = ()) -> Failure:
    """Kind of a fault, from what GDAL said.

    Parameters
    ----------
    messages : sequence of str
        Messages of an exception and of its causes, the outermost first.
    logged : iterable of str
        What was logged on the way, such as the statuses of requests that were repeated.

    Returns
    -------
    Failure

    Examples
    --------
    >>> str(classify(["HTTP response code: 403"]))
    'refused (HTTP 403)'
    >>> str(classify(["Read failed.", "TIFFFillTile: got 10 bytes, expected 99"]))
    'damaged file (TIFFFillTile: got 10 bytes, expected 99)'
    """
    statuses = [int(s) for m in (*messages, *logged) for s in _STATUS.findall(m)]
    if statuses:
        return Failure(_of_status(statuses[0]), f"HTTP {statuses[0]}")
    detail = messages[-1] if messages else ""
    text = " ".join([*messages, *logged])
    for cause, pattern in _PATTERNS:
        if re.search(pattern, text):
            return Failure(cause, detail)
    return Failure(Cause.OTHER, detail)


def _of_status(status: int) -> Cause:
    if status in (404, 410):
        return Cause.NOT_FOUND
    if status in (400, 401, 403, 407):  # archives answer 400 to a token that has expired
        return Cause.REFUSED
    return Cause.SERVER if status >= 500 or status in (408, 429) else Cause.OTHER


def failed(cause: Cause, position: int) -> int:
    """Code of a pixel that could not be read.

    Parameters
    ----------
    cause : Cause
        Kind of fault.
    position : int
        Position of the item among those of its scene.

    Returns
    -------
    int

    Examples
    --------
    >>> failed(Cause.REFUSED, 1), cause_of(11), position_of(11)
    (11, <Cause.REFUSED: 3>, 1)
    """
    return int(cause) + 8 * min(position, LAST_ITEM)


def cause_of(code: int) -> Cause | None:
    """Kind of fault in a code; None where there is none."""
    return Cause(code % 8) if code > READ else None


def position_of(code: int) -> int:
    """Position in its scene of the item that failed."""
    return int(code) // 8


def pack(
    values: npt.NDArray[np.generic], nodata: float, where: npt.NDArray[np.bool_] | None, code: int
) -> npt.NDArray[np.complex64]:
    """Values with their codes in one array, as loaders know only arrays of numbers.

    The real part is the value, the imaginary part the code. float32 and whole numbers of 16 bits
    pass unchanged.

    Parameters
    ----------
    values : ndarray
        What was read, (y, x).
    nodata : float
        Value of no data, perhaps NaN.
    where : ndarray of bool, optional
        Pixels that could not be read; None: those without a value stay without one.
    code : int
        Code of these pixels.

    Returns
    -------
    ndarray of complex64
    """
    valid = values == values if np.isnan(nodata) else values != nodata
    if values.dtype.kind == "f":
        valid &= ~np.isnan(values)
    out = np.zeros(values.shape, np.complex64)
    out.real = np.where(valid, values, 0)
    out.imag = np.where(valid, _VALID, NO_DATA)
    if where is not None:
        out.imag[where & ~valid] = code
    return out


def fuse(below: npt.NDArray[np.complex64], above: npt.NDArray[np.complex64]) -> None:
    """Fill an array from another in place: a value counts more than a fault, a fault than nothing.

    Parameters
    ----------
    below : ndarray of complex64
        What is kept where it has a value, see :func:`pack`.
    above : ndarray of complex64
        What fills the rest.
    """
    np.copyto(below, above, where=above.imag > below.imag)


def unpack(
    packed: npt.NDArray[np.complex64], data_type: str, nodata: float
) -> npt.NDArray[np.generic]:
    """Values of :func:`pack`, with no data where nothing was read.

    Parameters
    ----------
    packed : ndarray of complex64
        Values with codes.
    data_type : str
        Type of the values.
    nodata : float
        Value of no data.

    Returns
    -------
    ndarray
    """
    values = np.full(packed.shape, nodata, data_type)
    valid = packed.imag == _VALID
    values[valid] = packed.real[valid].astype(data_type)
    return values


def codes(packed: npt.NDArray[np.complex64]) -> npt.NDArray[np.uint8]:
    """Codes of :func:`pack`, still in the making: see :func:`merge`."""
    return packed.imag.astype(np.uint8)


def merge(
    parts: Sequence[npt.NDArray[np.uint8]], positions: Sequence[Sequence[int]]
) -> npt.NDArray[np.uint8]:
    """Final codes of one asset of one scene, from those of the mosaics that it is made of.

    Parameters
    ----------
    parts : sequence of ndarray of uint8
        :func:`codes` of each mosaic.
    positions : sequence of sequence of int
        For each mosaic, the position in the scene of every one of its items.

    Returns
    -------
    ndarray of uint8
    """
    out = np.zeros(parts[0].shape, np.uint8)
    for part, own in zip(parts, positions, strict=True):
        table = np.arange(256, dtype=np.uint8)
        for here, there in enumerate(own):
            for cause in Cause:
                table[failed(cause, here)] = failed(cause, there)
        np.maximum(out, table[part], out=out)
    out[out == _VALID] = READ
    return out
