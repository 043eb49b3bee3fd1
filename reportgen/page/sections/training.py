"""The training run: figures, the loop in words, curves, layers, settings, log."""

from __future__ import annotations

from ...document.facts import Report
from ...document.history import History
from ..blocks import Block, KeyValues, Pair, Section
from ..formats import count, name, seconds
from ..language import _
from ..reasons import told
from . import curves, run_layers, run_log


def section(report: Report) -> Section | None:
    """Show the curves and the values of a run."""
    history = report.training
    if history is None or not (history.series or history.epochs or history.steps or history.events):
        return None
    blocks: list[Block] = [KeyValues(pairs=_pairs(history))]
    blocks += curves.blocks(history)
    blocks += run_log.loop_blocks(history)
    blocks += run_layers.blocks(history)
    if history.hyperparameters:
        told = sorted(run_log.telling(history.hyperparameters).items())
        pairs = [Pair(label=name(k), value=run_log.setting(v)) for k, v in told]
        blocks.append(KeyValues(title=_("Hyper-parameters"), pairs=pairs))
    blocks += run_log.event_blocks(history)
    intro = _(
        "What was logged while the model trained. In a healthy run both losses fall and level off together; a training "
        "loss that falls on while the validation loss climbs is overfitting, and a curve that "
        "jumps about is too large a step."
    )
    return Section(id="training", title=_("Training"), intro=intro, blocks=blocks)


def _pairs(history: History) -> list[Pair]:
    pairs = []
    if history.epochs:
        pairs.append(Pair(label=_("Epochs"), value=count(history.epochs)))
    if history.steps:
        pairs.append(Pair(label=_("Optimizer steps"), value=count(history.steps)))
    if history.batch_size:
        pairs.append(Pair(label=_("Batch size"), value=count(history.batch_size)))
    if history.optimizer:
        pairs.append(Pair(label=_("Optimizer"), value=name(history.optimizer)))
    if history.seconds is not None:
        pairs.append(Pair(label=_("Training time"), value=seconds(history.seconds)))
    if history.source and history.source not in ("monitor", "fit"):
        pairs.append(Pair(label=_("Read from"), value=name(history.source)))
    if history.interrupted:
        pairs.append(Pair(label=_("Ended early"), value=name(told(history.interrupted)), tone="warning"))
    return pairs
