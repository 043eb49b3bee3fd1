"""What is watched, and where it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from .naming import label_of
from .notebook import Notebook
from .observations import Parameters, Standing, Standings
from .parameters import Table, n_owned, standing, start_of, table_of


@dataclass
class Run:
    """What is watched, and where it is written down."""

    models: Mapping[str, nn.Module]
    optimizers: list[Optimizer]
    labels: list[str]
    """A word for each optimizer that tells it from the others."""
    notebook: Notebook
    scaler: Any = None
    paused: bool = False
    scale: float | None = None
    """The AMP scale when it was last read."""
    starts: dict[int, Tensor] = field(default_factory=dict)
    """Entries of each parameter when its first step began, by id."""
    _table: Table | None = None

    def table(self) -> Table:
        """List the parameters; again when the optimizers own more or fewer than before, or some had no shape."""
        if self._table is None or not self._table.is_whole or self._table.n_owned != n_owned(self.optimizers):
            self.notebook.settle()  # what waits speaks of places in the old table
            self._table = table_of(self.models, self.optimizers, self.labels)
            self.notebook.add(Parameters(entries=self._table.entries, optimizers=self._table.optimizers))
            for p in self._table.parameters:
                if id(p) not in self.starts and not p.is_meta:
                    self.starts[id(p)] = start_of(p)
        return self._table

    def join(self, optimizer: Optimizer, label: str | None) -> None:
        """Take in an optimizer; without a label it gets one of its own."""
        first = "" if not self.optimizers else label_of(self.models, optimizer, self.labels)
        self.labels.append(first if label is None else label)
        self.optimizers.append(optimizer)
        self._table = None

    def standings(self) -> Standings:
        """Say where every parameter stands. This waits for the device."""
        table = self.table()
        rows: list[Standing] = []
        for place, (p, entry) in enumerate(zip(table.parameters, table.entries, strict=True)):
            owner = None if entry.optimizer is None else self.optimizers[entry.optimizer]
            group = None if owner is None or entry.group is None else owner.param_groups[entry.group]
            rows.append(standing(place, p, self.starts.get(id(p)), owner, group))
        return Standings(rows=rows, optimizers=table.optimizers)
