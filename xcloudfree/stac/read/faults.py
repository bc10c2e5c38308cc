"""Why an asset could not be read, and the record of it that accompanies the pixels.

Faults appear only when a task reads, perhaps on another machine. So the task itself records
them: it writes a code for every pixel into the coordinate ``read_status``, which is computed and
stored with the pixels, and needs no memory shared between workers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Cause(IntEnum):
    """Kind of fault, as written into ``read_status``."""

    NOT_FOUND = 2
    REFUSED = 3
    SERVER = 4
    NO_ANSWER = 5
    DAMAGED = 6
    OTHER = 7


NO_DATA, READ = 0, 1
"""Codes of pixels without a fault: outside the footprint, or read."""

WORDS = {
    Cause.NOT_FOUND: "not found",
    Cause.REFUSED: "refused",
    Cause.SERVER: "server error",
    Cause.NO_ANSWER: "no answer in time",
    Cause.DAMAGED: "damaged file",
    Cause.OTHER: "not readable",
}

LAST_ITEM = 30
"""Items of a scene have separate codes up to this position; later ones share its code."""

_VALID = 255  # intermediate: a value was read, whatever else failed
_STATUS = re.compile(r"HTTP (?:response|error) code: (\d{3})\b")
_NOWHERE = re.compile(r" at row 4294967295(, col\w* 4294967295)?")  # -1, as libtiff prints it
_PATTERNS = (
    (Cause.REFUSED, r"Access ?Denied|ExpiredToken|InvalidAccessKey|Signature|InvalidCredentials"),
    (Cause.NO_ANSWER, r"CURL error|timed? ?out|too slow|resolve host|connect to|error code: 0\b"),
    (Cause.NOT_FOUND, r"does not exist|No such file"),
    (Cause.DAMAGED, r"not recognized|ecod|got \d+ bytes|TIFF|IReadBlock|corrupt|JP2|JPEG"),
)


@dataclass(frozen=True)
class Failure:
    """Why an asset could not be read."""

    cause: Cause
    detail: str = ""  # the message, without secrets
    status: int = 0  # of HTTP, if there was an answer

    def __str__(self) -> str:
        return f"{WORDS[self.cause]} ({self.detail})" if self.detail else WORDS[self.cause]


def classify(messages: Sequence[str], logged: Iterable[str] = ()) -> Failure:
    """Kind of a fault, from GDAL's message."""
    statuses = [int(s) for m in (*messages, *logged) for s in _STATUS.findall(m)]
    if statuses:
        return Failure(_of_status(statuses[0]), f"HTTP {statuses[0]}", statuses[0])
    detail = _NOWHERE.sub("", messages[-1]) if messages else ""
    text = " ".join([*messages, *logged])
    for cause, pattern in _PATTERNS:
        if re.search(pattern, text):
            return Failure(cause, detail)
    return Failure(Cause.OTHER, detail)


def _of_status(status: int) -> Cause:
    if status in (404, 410):
        return Cause.NOT_FOUND
    if status in (400, 401, 403, 407):  # archives answer 400 to an expired token
        return Cause.REFUSED
    return Cause.SERVER if status >= 500 or status in (408, 429) else Cause.OTHER


def failure_code(cause: Cause, position: int) -> int:
    """Code of a pixel that could not be read."""
    return int(cause) + 8 * min(position, LAST_ITEM)


def fault_of(code: int) -> tuple[Cause, int]:
    """Kind of fault in a code above READ, and position in its scene of the item that failed."""
    return Cause(code % 8), code // 8


def pack(
    values: npt.NDArray[np.generic], nodata: float, where: npt.NDArray[np.bool_] | None, code: int
) -> npt.NDArray[np.complex64]:
    """Values (real part) with codes (imaginary part), because loaders take only plain arrays."""
    # float32 and whole numbers of 16 bits are preserved
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
    """Fill an array from another in place: values precede faults, and faults no data."""
    np.copyto(below, above, where=above.imag > below.imag)


def unpack(
    packed: npt.NDArray[np.complex64], data_type: str, nodata: float
) -> npt.NDArray[np.generic]:
    """Values of :func:`pack`, with no data where nothing was read."""
    values = np.full(packed.shape, nodata, data_type)
    valid = packed.imag == _VALID
    values[valid] = packed.real[valid].astype(data_type)
    return values


def codes(packed: npt.NDArray[np.complex64]) -> npt.NDArray[np.uint8]:
    """Intermediate codes of :func:`pack`, of which the largest counts where mosaics meet."""
    return packed.imag.astype(np.uint8)


def stacked(*assets: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Final codes (..., asset) from the intermediate ones of each asset."""
    out = np.stack(assets, axis=-1)
    out[out == _VALID] = READ
    return out
