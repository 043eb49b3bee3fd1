"""Rules on the logits of attention, beyond heads that are stuck."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds

SECTION = "activations"


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
    """All heads of a layer of a trained model look at all keys alike: attention that only averages. Informs only.

    Normalised entropy H / ln(visible keys) above 0.99 in every head, on at least 8 keys. Early and pooling layers may
    be so by nature; in every layer it makes tokens alike (Dong, Cordonnier and Loukas 2021).
    """
    if report.activations is None or not context.real_data or context.state != "trained":
        return
    rows = [row for row in report.activations.attention if row.entropy and row.n_queries >= 8]
    flat = [row for row in rows if min(row.entropy) > limits.attention_flat]
    if flat:
        yield Finding(
            rule="attention-uniform",
            severity=Severity.INFO,
            subject=flat[0].name,
            section=SECTION,
            evidence={"entropy": min(flat[0].entropy), "layers": len(flat), "of": len(rows)},
            threshold={"entropy": limits.attention_flat},
        )


RULES = (attention_logits, attention_uniform)
