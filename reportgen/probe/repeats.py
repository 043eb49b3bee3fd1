"""Can rows of measurements repeat by chance? By how common the values of each column are."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 100  # rows
_LEVELS = 100  # values that make a column a measurement, or half as many as there are rows
_COLUMNS = 3


def coincidences(table: tuple[Tensor, Tensor] | None, dimension: float | None = None) -> float | None:
    """Return how many rows would be equal to a given one by chance, for each row drawn; the median over rows.

    The product over columns of the share of different rows that hold the row's value there, to the power of one half,
    for columns hang together, or of the ``dimension`` of the data over the number of columns where that is more. Of
    columns with a hundred values, or half as many as there are rows; of rows that occur
    more than once in the sample, where there are five, for those may be emptier than others. ``table`` is (inputs
    (N, F), targets). None for fewer than 100 rows or three such columns.
    """
    if table is None or len(table[0]) < LEAST:
        return None
    rows, times = torch.unique(table[0], dim=0, return_counts=True)
    total = torch.zeros(len(rows), dtype=torch.float64)
    found = 0
    for column in rows.T:
        _, place, counts = torch.unique(column, return_inverse=True, return_counts=True)
        if len(counts) >= min(_LEVELS, len(rows) / 2):
            found += 1
            total += (counts[place].double() / len(rows)).log()
    if found < _COLUMNS:
        return None
    power = min(max(0.5, (dimension or 0.0) / found), 1.0)
    often = times > 1
    return float((total[often] if int(often.sum()) >= 5 else total).median().mul(power).exp())
