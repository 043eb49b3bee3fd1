"""How the loop behaved, in words, and what happened on the way."""

from __future__ import annotations

from collections.abc import Mapping

from ...document.history import Event, History, LoopFacts, OptimizerRun
from ..blocks import Block, Cell, Column, KeyValues, Pair, Table, Tone
from ..cells import of_count, of_name, of_text
from ..formats import count, name, percent, short, size
from ..language import _, plural
from ..reasons import told

MAX_EVENTS = 200
_SWITCHES = ("capturable", "differentiable", "foreach", "fused", "decoupled_weight_decay")
_VARIANTS = ("amsgrad", "centered", "maximize", "nesterov")
_OPEN = 12  # events that are shown without unfolding


def loop_blocks(history: History) -> list[Block]:
    """Say how the loop treats its model, as far as it was seen from hooks."""
    loop = history.loop
    if loop is None:
        return []
    pairs = [p for p in (_passes(loop), _cleared(loop), _clipped(loop), _modes(loop), _validation(loop)) if p]
    pairs += [p for p in (_speed(loop), _waiting(loop), _memory(loop), _scaler(loop)) if p]
    out: list[Block] = [KeyValues(title=_("The loop"), pairs=pairs)] if pairs else []
    if len(loop.optimizers) > 1 or any(len(o.group_sizes) > 1 or o.foreign for o in loop.optimizers):
        out.append(_optimizers(loop.optimizers))
    return out


def _passes(loop: LoopFacts) -> Pair | None:
    if loop.backwards_per_step is None:
        return None
    note = ""
    if loop.declared_accumulation is not None:
        note = _("declared: {n}").format(n=count(loop.declared_accumulation))
    different = loop.declared_accumulation is not None and loop.backwards_per_step != loop.declared_accumulation
    return Pair(
        label=_("Backward passes per step"),
        value=short(loop.backwards_per_step),
        note=note,
        tone="warning" if different else "",
    )


def _cleared(loop: LoopFacts) -> Pair | None:
    if not loop.n_fresh_checked:
        return None
    checked = plural("seen at {n} step", "seen at {n} steps", loop.n_fresh_checked)
    note = checked.format(n=count(loop.n_fresh_checked))
    if loop.n_again and not loop.n_stale:
        back = percent(loop.n_again / loop.n_followed)
        value = _("those of earlier losses come back after {share} of the steps").format(share=back)
        return Pair(label=_("Gradients"), value=value, tone="warning")
    if not loop.n_stale:
        return Pair(label=_("Gradients"), value=_("cleared before each step"), note=note)
    share = percent(loop.n_stale / loop.n_fresh_checked)
    value = _("not cleared before {share} of the steps").format(share=share)
    return Pair(label=_("Gradients"), value=value, note=note, tone="warning")


def _clipped(loop: LoopFacts) -> Pair | None:
    if not loop.n_clip_checked:
        return None
    if not loop.n_clipped:
        return Pair(label=_("Clipping"), value=_("no step clipped"))
    value = _("{share} of the steps").format(share=percent(loop.n_clipped / loop.n_clip_checked))
    parts = []
    if loop.clip_norm is not None:
        parts.append(_("to a norm of {norm}").format(norm=short(loop.clip_norm)))
    if loop.clip_factor is not None:
        parts.append(_("{share} of the length, median").format(share=percent(loop.clip_factor)))
    return Pair(label=_("Clipping"), value=value, note=_(", ").join(parts))


def _modes(loop: LoopFacts) -> Pair | None:
    steps = loop.n_train_steps + loop.n_eval_steps
    if not steps:
        return None
    note = plural("seen at {n} step", "seen at {n} steps", steps).format(n=count(steps))
    if not loop.n_eval_steps:
        return Pair(label=_("Mode while training"), value=_("train mode"), note=note)
    share = percent(loop.n_eval_steps / steps)
    value = _("eval mode at {share} of the steps").format(share=share)
    return Pair(label=_("Mode while training"), value=value, note=note, tone="warning")


def _validation(loop: LoopFacts) -> Pair | None:
    passes = loop.n_train_validations + loop.n_eval_validations
    if not passes:
        return None
    note = plural("{n} pass without gradients", "{n} passes without gradients", passes).format(n=count(passes))
    wrong = not loop.n_eval_validations
    value = _("train mode") if wrong else _("eval mode") if not loop.n_train_validations else _("both modes")
    return Pair(label=_("Mode while validating"), value=value, note=note, tone="warning" if wrong else "")


def _speed(loop: LoopFacts) -> Pair | None:
    if loop.samples_per_second is None:
        return None
    return Pair(label=_("Throughput"), value=_("{n} samples/s").format(n=short(round(loop.samples_per_second, 1))))


def _waiting(loop: LoopFacts) -> Pair | None:
    if loop.wait_share is None:
        return None
    note = _("more workers would pay") if loop.wait_share > 0.3 else ""
    return Pair(
        label=_("Waiting for data"), value=_("{share} of the time").format(share=percent(loop.wait_share)), note=note
    )


def _memory(loop: LoopFacts) -> Pair | None:
    return None if loop.peak_memory_bytes is None else Pair(label=_("Peak memory"), value=size(loop.peak_memory_bytes))


def _scaler(loop: LoopFacts) -> Pair | None:
    if loop.scaler_first is None:
        return None
    value = (
        short(loop.scaler_first)
        if loop.scaler_last is None
        else f"{short(loop.scaler_first)} → {short(loop.scaler_last)}"
    )
    note = ""
    if loop.scaler_halvings is not None:
        note = plural("halved once", "halved {n} times", loop.scaler_halvings).format(n=count(loop.scaler_halvings))
    return Pair(label=_("Loss scale"), value=value, note=note)


def _optimizers(optimizers: list[OptimizerRun]) -> Table:
    foreign = any(o.foreign for o in optimizers)
    labelled = any(o.label for o in optimizers)
    columns = [Column(_("Optimizer"), "name")]
    columns += [Column(_("Of"), "name", _("what tells its curves from those of the others"))] if labelled else []
    staged = any((o.first_step or 1) > 1 for o in optimizers)
    columns += [
        Column(_("Steps"), "number", _("in brackets those of the run between which it stepped") if staged else "")
    ]
    columns += [Column(_("Parameter groups"), "prose")]
    columns += (
        [Column(_("Not of the model"), "number", _("parameters that the model does not have"))] if foreign else []
    )
    columns.append(Column(_("Settings"), "prose"))
    rows = []
    for optimizer in optimizers:
        groups = ", ".join(count(n) for n in optimizer.group_sizes[:20])
        more = len(optimizer.group_sizes) - 20
        groups += " " + _("and {n} more").format(n=more) if more > 0 else ""
        line = [of_name(optimizer.name)]
        line += [of_name(optimizer.label) if optimizer.label else Cell("–", None)] if labelled else []
        line += [_steps(optimizer, staged=staged), of_text(groups or "–")]
        line += [of_count(optimizer.foreign, "warning" if optimizer.foreign else "")] if foreign else []
        settings = ", ".join(f"{name(k)} = {setting(v)}" for k, v in sorted(telling(optimizer.settings).items()))
        rows.append([*line, of_text(settings or "–")])
    caption = plural("{n} optimizer", "{n} optimizers", len(rows)).format(n=count(len(rows)))
    note = _("Parameter groups are given by their number of elements.")
    return Table(id="optimizers", caption=caption, note=note, columns=columns, rows=rows, total_rows=len(rows))


def _steps(optimizer: OptimizerRun, *, staged: bool) -> Cell:
    """Count the steps, and say where in the run they lie where optimizers followed one another."""
    first, last = optimizer.first_step, optimizer.last_step
    if not staged or first is None or last is None:
        return of_count(optimizer.n_steps)
    return Cell(f"{count(optimizer.n_steps)} ({count(first)}–{count(last)})", optimizer.n_steps)


def telling(settings: Mapping[str, float | str | bool | None]) -> dict[str, float | str | bool | None]:
    """Leave out how an optimizer is carried out, and what it does not do."""
    return {k: v for k, v in settings.items() if k not in _SWITCHES and not (k in _VARIANTS and v in (False, None))}


def setting(value: float | str | bool | None) -> str:
    """Show a setting as it would be written."""
    if isinstance(value, bool) or value is None:
        return str(value)
    return short(value) if isinstance(value, (int, float)) else name(value)


def event_blocks(history: History) -> list[Block]:
    """List what happened, in the order in which it did."""
    events = history.events
    if not events:
        return []
    kept = [e for e in events if _tone(e)][: MAX_EVENTS // 2]
    kept += [e for e in events if not _tone(e)][: MAX_EVENTS - len(kept)]
    shown = [e for e in events if any(e is k for k in kept)]
    columns = [
        Column(_("When"), "text"),
        Column(_("What"), "text"),
        Column(_("Where"), "name"),
        Column(_("Log"), "prose"),
    ]
    rows = [[of_text(_when(e)), of_text(_kind(e), _tone(e)), _where(e), of_text(_said(e) or "–")] for e in shown]
    n = len(events)
    caption = plural("{n} entry in the log", "{n} entries in the log", n).format(n=count(n))
    folded = caption if n > _OPEN and not any(_tone(e) for e in events) else ""
    return [Table(id="log", caption=caption, columns=columns, rows=rows, total_rows=n, folded=folded)]


def _when(event: Event) -> str:
    parts = []
    if event.epoch is not None:
        parts.append(_("epoch {n}").format(n=short(event.epoch)))
    if event.step is not None:
        parts.append(_("step {n}").format(n=count(event.step)))
    return _(", ").join(parts) or "–"


def _kind(event: Event) -> str:
    part = {
        "loss": _("loss not finite"),
        "gradient": _("gradient not finite"),
        "activation": _("output not finite"),
        "weight": _("weight not finite"),
    }
    kinds = {
        "scaler": _("loss scale halved"),
        "gap": _("resumed"),
        "interrupted": _("interrupted"),
        "text": _("text"),
        "note": _("note"),
    }
    return part.get(event.part, _("not finite")) if event.kind == "nonfinite" else kinds[event.kind]


def _tone(event: Event) -> Tone:
    return {"nonfinite": "error", "interrupted": "warning"}.get(event.kind, "")  # type: ignore[return-value]


def _where(event: Event) -> Cell:
    return of_name(event.subject) if event.subject else Cell("–", None)


def _said(event: Event) -> str:
    if event.kind == "gap" and event.value is not None:
        return _("from here, though it had come to {n} before").format(n=count(round(event.value)))
    value = short(event.value) if event.value is not None else ""
    return " ".join(part for part in (value, told(event.detail)) if part)
