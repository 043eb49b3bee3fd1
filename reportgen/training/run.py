"""What is watched, and where it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from torch import Tensor, nn
from torch.optim import Optimizer

from .choice import Choice
from .naming import label_of, parameter_names
from .notebook import Notebook
from .observations import Parameters, Standing, Standings
from .parameters import Past, Table, n_owned, optimizer_row, parameters_in, standing, start_of, table_of

_RETURNS = 4  # of optimizers that were let go of, before none is any more


@dataclass
class Run:
    """What is watched, and where it is written down."""

    models: Mapping[str, nn.Module]
    optimizers: list[Optimizer | Past]
    labels: list[str]
    """A word for each optimizer that tells it from the others."""
    notebook: Notebook
    scaler: Any = None
    choice: Choice = field(default_factory=Choice)
    """Layers whose outputs, and whose weights and gradients as histograms, are looked at."""
    paused: bool = False
    scale: float | None = None
    """The AMP scale when it was last read."""
    gone: WeakSet[Optimizer] = field(default_factory=WeakSet)
    """Optimizers that were let go of."""
    n_returns: int = 0
    """How often one of those came back."""
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

    def join(self, optimizer: Optimizer, label: str | None) -> int:
        """Take in an optimizer, and return its place; without a label it gets one of its own.

        One that was here before gets its old place, and one made anew for the same parameters that of the other.
        """
        self.n_returns += optimizer in self.gone
        place = next((i for i, known in enumerate(self.optimizers) if self._is_again(known, optimizer)), None)
        if place is None:
            place = len(self.optimizers)
            first = "" if not self.optimizers else label_of(self.models, optimizer, self.labels)
            self.labels.append(first if label is None else label)
            self.optimizers.append(optimizer)
        elif isinstance(known := self.optimizers[place], Optimizer):
            self.gone.add(known)
        self.optimizers[place] = optimizer
        self._table = None
        return place

    def _is_again(self, known: Optimizer | Past, optimizer: Optimizer) -> bool:
        if isinstance(known, Past):
            return known.optimizer() is optimizer
        alike = type(known) is type(optimizer) and parameters_in(known) == parameters_in(optimizer)
        return alike and self.n_returns < _RETURNS

    def let_go(self, place: int) -> None:
        """Hold an optimizer no longer: its state may be twice as large as the model, and the loop may be rid of it.

        Where optimizers keep coming back, they take turns, and are kept.
        """
        optimizer = self.optimizers[place]
        if isinstance(optimizer, Optimizer) and self.n_returns < _RETURNS:
            self.gone.add(optimizer)
            row = optimizer_row(optimizer, set(parameter_names(self.models)), self.labels[place])
            self.optimizers[place] = Past(optimizer, row)
            self._table = None

    def standings(self) -> Standings:
        """Say where every parameter stands. This waits for the device."""
        table = self.table()
        rows: list[Standing] = []
        for place, (p, entry) in enumerate(zip(table.parameters, table.entries, strict=True)):
            owner = None if entry.optimizer is None else self.optimizers[entry.optimizer]
            owner = None if isinstance(owner, Past) else owner
            group = None if owner is None or entry.group is None else owner.param_groups[entry.group]
            rows.append(standing(place, p, self.starts.get(id(p)), owner, group))
        return Standings(rows=rows, optimizers=table.optimizers)
