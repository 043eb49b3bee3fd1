"""Ledger -> History: what a run is known to have come to, at any time. No torch."""

from __future__ import annotations

from statistics import median

import msgspec

from ..document.history import HistogramRun, History, LayerRun, LoopFacts, OptimizerRun, ParameterRun
from .ledger import LayerRecord, Ledger, ParameterRecord
from .observations import Tally, Turns

_CONSTANT = 1.001  # factors that differ by less are no clipping: a gradient cut to a length is cut by varying amounts


def history_of(ledger: Ledger) -> History:
    """Return the run as far as it is known."""
    tally = ledger.tally
    derived = [s for s in ledger.derived.series() if not ledger.recorder.has(s.name, "epoch")]
    return History(
        series=sorted(ledger.recorder.series() + derived, key=lambda s: s.axis),
        epochs=ledger.epochs,
        steps=tally.steps,
        batch_size=tally.batch_size,
        seconds=tally.seconds or None,
        optimizer=", ".join(o.name for o in ledger.optimizers),
        hyperparameters=(ledger.optimizers[0].settings if ledger.optimizers else {}) | ledger.hyperparameters,
        interrupted=ledger.interrupted,
        source=ledger.source,
        loop=_loop(ledger),
        parameters=[_parameter(ledger, p) for p in ledger.parameters],
        layers=[_layer(order, layer) for order, layer in enumerate(ledger.layers)],
        histograms=[
            HistogramRun(name=h.name, part=h.part, axis="step", moments=list(h.kept))
            for h in ledger.histograms.values()
        ],
        events=[event for _, event in sorted(ledger.events.kept() + ledger.texts.kept(), key=lambda e: e[0])],
    )


def _loop(ledger: Ledger) -> LoopFacts:
    tally = ledger.tally
    low, high = ledger.clip_range or (0.0, 0.0)
    scaled = tally.clipped == tally.clip_checked >= 5 and high <= low * _CONSTANT
    n_clipped = 0 if scaled else tally.clipped
    asked = tally.asked or [0] * 4
    return LoopFacts(
        optimizers=[_optimizer(tally, i, o) for i, o in enumerate(ledger.optimizers)],
        n_backwards_seen=tally.backwards,
        declared_accumulation=ledger.accumulation,
        backwards_per_step=_median(tally.backwards_of_step),
        n_fresh_checked=tally.fresh_checked,
        n_stale=tally.stale,
        n_followed=tally.followed,
        n_again=tally.again,
        n_twice=tally.twice,
        n_asked=asked[0],
        n_asked_own=asked[1],
        n_asked_before=asked[2],
        n_asked_next=asked[3],
        n_beside=tally.beside,
        n_clip_checked=tally.clip_checked,
        n_clipped=n_clipped,
        clip_factor=median(ledger.clips.values) if n_clipped and ledger.clips.values else None,
        clip_norm=median(ledger.clip_norms.values) if n_clipped and ledger.clip_norms.values else None,
        n_train_steps=tally.train_steps,
        n_eval_steps=tally.eval_steps,
        n_train_validations=tally.train_validations,
        n_dropped_validations=tally.dropped_validations,
        n_eval_validations=tally.eval_validations,
        samples_per_second=tally.samples / tally.stepping if tally.samples and tally.stepping else None,
        wait_share=tally.waited / tally.looping if tally.looping else None,
        peak_memory_bytes=tally.peak_memory,
        scaler_first=tally.scale_first,
        scaler_last=tally.scale_last,
        scaler_halvings=None if tally.scale_first is None else tally.halvings,
    )


def _parameter(ledger: Ledger, p: ParameterRecord) -> ParameterRun:
    entry, now = p.entry, p.standing
    steps = ledger.tally.optimizer_steps
    owner = 0 if entry.optimizer is None else entry.optimizer
    return ParameterRun(
        name=entry.name,
        module=entry.module,
        shape=entry.shape,
        is_matrix=entry.is_matrix,
        trainable=entry.trainable if now is None else now.trainable,
        optimizer=entry.optimizer,
        group=entry.group,
        n_steps=steps[owner] if owner < len(steps) else 0,
        n_looked=p.n_looked,
        n_grad_none=p.n_none,
        n_grad_zero=p.n_zero,
        moved=None if now is None else now.moved,
        changed=None if now is None else now.changed,
        start_mean=None if now is None else now.start_mean,
        start_rms=None if now is None else now.start_rms,
        gradient_norm=p.norm.trace(),
        update_ratio=p.ratio.trace(),
        decay_share=median(p.decay.values) if p.decay.values else None,
        eps_floor=None if now is None else now.eps_floor,
        stale_v=p.stale_v.trace(),
        state_nonfinite=0 if now is None else now.state_nonfinite,
    )


def _optimizer(tally: Tally, place: int, optimizer: OptimizerRun) -> OptimizerRun:
    n_steps = tally.optimizer_steps[place] if place < len(tally.optimizer_steps) else 0
    turns = tally.turns[place] if place < len(tally.turns) else Turns()
    return msgspec.structs.replace(
        optimizer,
        n_steps=n_steps,
        first_step=turns.first if n_steps and turns.first else None,
        last_step=turns.last if n_steps and turns.last else None,
        n_seen=turns.seen,
        n_joined=turns.joined,
        rewritten=turns.rewritten,
        passes=turns.passes / turns.seen if turns.seen else None,
    )


def _layer(order: int, layer: LayerRecord) -> LayerRun:
    return LayerRun(
        name=layer.entry.name,
        kind=layer.entry.kind,
        order=order,
        rectifier=layer.entry.rectifier,
        train_calls=layer.train,
        eval_calls=layer.eval,
        rms=layer.rms.trace(),
        silent=layer.silent.trace(),
    )


def _median(counts: dict[int, int]) -> float | None:
    """Return the median of values given by how often each occurred."""
    total, seen = sum(counts.values()), 0
    below: int | None = None
    for value, n in sorted(counts.items()):
        if below is not None:
            return (below + value) / 2
        seen += n
        if 2 * seen > total:
            return float(value)
        if 2 * seen == total:
            below = value
    return None
