"""Rules on the logits of attention, beyond heads that are stuck."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds
from .capacity import too_narrow
from .relearned import learns_nothing

SECTION = "activations"
_BEYOND_COSINES = 2.0  # a product of vectors of length 1 is no larger than 1
_FINE = 2.0  # deviation of logits that are scaled well


def attention_logits(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Attention logits beyond 10 000: softmax over them is a hard choice, and such runs tend to diverge.

    Largest |logit| over a few queries of one sample a batch. Wortsman et al. 2023 saw training diverge from about 1e4
    on; normalised queries and keys keep logits small (Dehghani et al. 2023). A warning unless the model works.
    """
    rows = report.activations.attention if report.activations is not None and context.real_data else []
    high = [row for row in rows if row.logit_max > limits.attention_logit]
    if high:
        worst = max(high, key=lambda row: row.logit_max)
        yield Finding(
            rule="attention-logits",
            severity=Severity.INFO if context.outcome_ok else Severity.WARNING,
            subject=worst.name,
            section=SECTION,
            evidence={"logit_max": worst.logit_max, "layers": len(high)},
            threshold={"logit": limits.attention_logit},
        )


def attention_uniform(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """All heads of a layer of a trained model look at all keys alike: attention that only averages.

    Normalised entropy H / ln(visible keys) above 0.99 in every head, on at least 8 keys. Early and pooling layers may
    be so by nature, so it informs; in layer upon layer, with nothing to carry tokens past it, it makes tokens alike
    (Dong, Cordonnier and Loukas 2021). A warning where it is half of the layers, three at least, and the model cannot
    even learn 32 samples by heart (``one-batch``), or fresh copies learn nothing of either split
    (``learned-anew``).
    """
    if report.activations is None or not context.real_data or context.state != "trained":
        return
    rows = [row for row in report.activations.attention if row.entropy and row.n_queries >= 8]
    flat = [row for row in rows if min(row.entropy) > limits.attention_flat]
    if flat:
        by_heart = report.tried("one-batch")
        lost = (by_heart is not None and not by_heart.numbers["solved"]) or learns_nothing(report, context)
        stuck = lost and len(flat) >= max(3, len(rows) / 2)
        yield Finding(
            rule="attention-uniform",
            severity=Severity.WARNING if stuck else Severity.INFO,
            subject=flat[0].name,
            section=SECTION,
            evidence={"entropy": min(flat[0].entropy), "layers": len(flat), "of": len(rows)},
            threshold={"entropy": limits.attention_flat},
        )


def attention_scale(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """Scores of attention are multiplied where they should be divided: softmax is a hard choice before any learning.

    Products of queries and keys of width d are followed to their softmax, and so are those of one query alone, a
    parameter or the weight of a layer with one output. What they are multiplied with makes sqrt(d) or more, where
    Vaswani et al. 2017 divide by it; with weights drawn anew the logits of a row deviate by more than 4, and divided
    they would not by more than 2; and products beyond 2 tell them from cosines, which rightly bear a large factor (a
    query that is a parameter has any length). A hard choice passes next to no gradient, so that where to look is hardly
    learned. A warning where the number is sqrt(d) itself, where the model does not work, where it fits poorly and
    cannot even learn a batch by heart (``too-narrow``), or where more than half of its rows still give one key more
    than 0.99; else it informs. Wrong where attention is to pick one key on purpose.
    """
    trial = report.tried("score-scale")
    if trial is None or not context.real_data:
        return
    n = trial.numbers
    root = math.sqrt(n["width"])
    if n["factor"] < 0.999 * root or n["spread"] <= limits.attention_sharp:
        return
    if n["product"] <= _BEYOND_COSINES and not n.get("learned"):
        return
    if n["spread"] > _FINE * n["factor"] * root:
        return  # wide apart for another reason
    slip = abs(n["factor"] / root - 1) < 1e-3
    held = not context.outcome_ok or any(True for _ in too_narrow(report, context, limits))
    yield Finding(
        rule="attention-scale",
        severity=Severity.WARNING if slip or held or n["own_hard"] > 0.5 else Severity.INFO,
        subject="attention",
        section=SECTION,
        evidence={key: n[key] for key in ("factor", "width", "spread", "own_hard")},
        threshold={"spread": limits.attention_sharp},
    )


RULES = (attention_scale, attention_logits, attention_uniform)
