"""``reportgen train`` and ``reportgen demo``: train under the monitor, then report."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import app
from .output import MAX_SEED, Out, checked, interrupts_kept, written


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="digits or iris")] = "digits",
    output: Out = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Of the split, the initialisation and the order of the batches.")
    ] = 0,
) -> None:
    """Train a small real model and write a report about it (report.html and report.json unless told otherwise)."""
    paths = checked(output)
    with interrupts_kept():
        import torch

        from ..options import Options
        from ..pipeline import examine
        from ..subject.demos import build
        from ..training.fit import fit

    torch.set_num_threads(1)  # tensors this small gain nothing from more, and lose much beside a busy neighbour
    task = build(name, seed)
    history = fit(
        task.model, task.train_loader, task.val_loader, loss=task.loss, optimizer=task.optimizer, epochs=task.epochs
    )
    options = Options(title=task.title, class_names=task.class_names, seed=seed)
    report = examine(
        task.model,
        task.val_loader,
        train_data=task.train_loader,
        loss=task.loss,
        optimizer=task.optimizer,
        history=history,
        options=options,
    )
    written(report, paths)
