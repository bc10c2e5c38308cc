"""Products of matrices whose rows do not depend on each other, not even in the last bit.

A library for linear algebra may sum a row in another order where the shape of the matrices leaves
a remainder, which rows these are depends on how many there are. Whole cache lines leave none, and
are faster.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

LINE: Final = 16
"""Numbers of a cache line, in float32."""


def product(rows: Tensor, columns: Tensor) -> Tensor:
    """``rows @ columns``, (row, inner) and (inner, column)."""
    count, width = len(rows), columns.shape[1]
    if count < LINE:  # few rows are summed as vectors are
        rows = torch.nn.functional.pad(rows, (0, 0, 0, LINE - count))
    return (rows @ padded(columns))[:count, :width]


def padded(columns: Tensor) -> Tensor:
    """With columns of zeros up to whole lines, one row after the other in memory."""
    return torch.nn.functional.pad(columns, (0, -columns.shape[-1] % LINE)).contiguous()
