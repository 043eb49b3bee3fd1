"""The words for remarks on attention, spread, number formats and single classes."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent

# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "attention-logits": (
        "Size of attention logits",
        lambda f: f"{f.subject}: the largest logit is {amount(f.evidence['logit_max'])}.",
        "",
    ),
    "attention-uniform": (
        "Attention that only averages",
        lambda f: (
            f"In {amount(f.evidence['layers'])} of {amount(f.evidence['of'])} layers every head looks at all keys "
            f"alike; the first is {f.subject}."
        ),
        "Pooling layers are meant to average.",
    ),
    "batch-drift": (
        "Batches that differ",
        lambda f: (
            f"Means of {amount(f.evidence['batches'])} batches differ {amount(f.evidence['f'])} times as much as "
            f"chance has it, by what {f.subject} puts out."
        ),
        "Validation data may be sorted on purpose.",
    ),
    "bn-small-batch": (
        "Batches for a batch norm",
        lambda f: (
            f"Batches had {amount(f.evidence['batch_size'])} samples: {amount(f.evidence['values'])} values a channel "
            f"in {f.subject}."
        ),
        "Statistics may have been taken over several ranks.",
    ),
    "channel-redundancy": (
        "Channels that move together",
        lambda f: (
            f"{f.subject}: its channels span {f.evidence['participation']:.1f} directions, "
            f"{percent(f.evidence['share'])} of what independent ones would ({amount(f.evidence['layers'])} such "
            f"layers)."
        ),
        "The task may need no more.",
    ),
    "fp16-gradients": (
        "Gradients in float16",
        lambda f: f"{percent(f.evidence['share'])} of the gradients that are not zero would be zero in float16.",
        "It matters only where float16 is meant to be used.",
    ),
    "fp16-range": (
        "Range of float16",
        lambda f: (
            f"{f.subject} puts out {amount(f.evidence['largest'])}, {percent(f.evidence['of_float16'])} of the largest "
            f"number in float16."
        ),
        "It matters only where float16 is meant to be used.",
    ),
    "mixed-dtypes": (
        "Several number formats",
        lambda f: (
            f"Parameters are in {f.detail.get('all', 'several formats')}; {percent(f.evidence['share'])} of them in "
            f"{f.detail.get('rarest', 'the rarest')}."
        ),
        "Norms are often kept in float32 on purpose.",
    ),
    "norm-missing": (
        "Depth without norms",
        lambda f: f"{amount(f.evidence['layers'])} layers with weights, and neither a norm nor a skip connection.",
        "Careful initialisation does as well.",
    ),
    "o-confused-pair": (
        "Classes that are confused",
        lambda f: (
            f"{percent(f.evidence['share'])} of {f.subject} are taken for {f.detail.get('other', 'another class')}: "
            f"{amount(f.evidence['taken'])} of its {amount(f.evidence['errors'])} errors."
        ),
        "The two may be alike by nature.",
    ),
    "o-per-class": (
        "Class that is left behind",
        lambda f: (
            f"Of {f.subject} {percent(f.evidence['recall'])} are found, of classes on average "
            f"{percent(f.evidence['mean'])} ({amount(f.evidence['samples'])} samples; "
            f"{amount(f.evidence['classes'])} such classes)."
        ),
        "The class may be hard by nature.",
    ),
    "o-regression-bias": (
        "Predictions off on the whole",
        lambda f: (
            f"Predictions are {amount(abs(f.evidence['bias']))} too {'high' if f.evidence['bias'] > 0 else 'low'} on "
            f"average, {abs(f.evidence['of_std']):.2f} standard deviations of the targets."
        ),
        "A median or a quantile of skewed targets is no mean.",
    ),
}
