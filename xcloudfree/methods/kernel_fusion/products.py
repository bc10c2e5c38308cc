"""Products of matrices whose rows are independent of each other, even in the last bit.

A linear algebra library may sum some rows in another order if the shape of the matrices leaves
a remainder, and which rows depends on their number. Whole cache lines leave no remainder, and
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
    if count < LINE:  # few rows are summed like vectors
        rows = torch.nn.functional.pad(rows, (0, 0, 0, LINE - count))
    return (rows @ padded(columns))[:count, :width]


def padded(columns: Tensor) -> Tensor:
    """Pad with columns of zeros to whole lines, with rows contiguous in memory."""
    missing = -columns.shape[-1] % LINE
    return (torch.nn.functional.pad(columns, (0, missing)) if missing else columns).contiguous()
