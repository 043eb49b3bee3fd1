"""The words for remarks on attention, spread, number formats and single classes."""

from __future__ import annotations

from collections.abc import Callable

from ..document.facts import Finding
from .formats import amount, percent
from .language import _, plural
from .places import place

# rule -> name, sentence, when the rule is wrong
RULES: dict[str, tuple[str, Callable[[Finding], str], str]] = {
    "attention-logits": (
        "Size of attention logits",
        lambda f: _("{subject}: the largest logit is {logit_max}.").format(
            subject=f.subject, logit_max=amount(f.evidence["logit_max"])
        ),
        "A head is hard by design, as one that copies is, and the run was long stable with it.",
    ),
    "attention-uniform": (
        "Attention that only averages",
        lambda f: _("In {layers} of {of} layers every head looks at all keys alike; the first is {subject}.").format(
            layers=amount(f.evidence["layers"]), of=amount(f.evidence["of"]), subject=f.subject
        ),
        "Pooling layers are meant to average.",
    ),
    "batch-drift": (
        "Batches that differ",
        lambda f: _(
            "Means of {batches} batches differ {values} times as much as chance has it, by what {subject} puts out."
        ).format(batches=amount(f.evidence["batches"]), values=amount(f.evidence["f"]), subject=f.subject),
        "Validation data may be sorted on purpose.",
    ),
    "bn-small-batch": (
        "Batches for a batch norm",
        lambda f: plural(
            "Batches had {batch_size} sample: {values} values a channel in {subject}.",
            "Batches had {batch_size} samples: {values} values a channel in {subject}.",
            int(f.evidence["batch_size"]),
        ).format(batch_size=amount(f.evidence["batch_size"]), values=amount(f.evidence["values"]), subject=f.subject),
        "Statistics may have been taken over several ranks.",
    ),
    "channel-redundancy": (
        "Channels that move together",
        lambda f: _(
            "{subject}: its channels span {participation:.1f} directions, {share} of what independent "
            "ones would ({layers} such layers)."
        ).format(
            subject=f.subject,
            participation=f.evidence["participation"],
            share=percent(f.evidence["share"]),
            layers=amount(f.evidence["layers"]),
        ),
        "The task may need no more.",
    ),
    "fp16-gradients": (
        "Gradients in float16",
        lambda f: _("{share} of the gradients that are not zero would be zero in float16.").format(
            share=percent(f.evidence["share"])
        ),
        "It matters only where float16 is meant to be used.",
    ),
    "fp16-range": (
        "Range of float16",
        lambda f: _("{subject} puts out {largest}, {of_float16} of the largest number in float16.").format(
            subject=f.subject, largest=amount(f.evidence["largest"]), of_float16=percent(f.evidence["of_float16"])
        ),
        "It matters only where float16 is meant to be used.",
    ),
    "mixed-dtypes": (
        "Several number formats",
        lambda f: _("Parameters are in {all}; {share} of them in {rarest}.").format(
            all=f.detail.get("all", _("several formats")),
            share=percent(f.evidence["share"]),
            rarest=f.detail.get("rarest", _("the rarest")),
        ),
        "Norms are often kept in float32 on purpose.",
    ),
    "norm-missing": (
        "Depth without norms",
        lambda f: _("{layers} layers with weights, and neither a norm nor a skip connection.").format(
            layers=amount(f.evidence["layers"])
        ),
        "Careful initialisation does as well.",
    ),
    "o-confused-pair": (
        "Classes that are confused",
        lambda f: _("{share} of {subject} are taken for {other}: {taken} of its {errors} errors.").format(
            share=percent(f.evidence["share"]),
            subject=f.subject,
            other=place(f.detail["other"], f.section) if "other" in f.detail else _("another class"),
            taken=amount(f.evidence["taken"]),
            errors=amount(f.evidence["errors"]),
        ),
        "The two may be alike by nature.",
    ),
    "o-per-class": (
        "Class that is left behind",
        lambda f: _(
            "Of {subject} {recall} are found, of classes on average {mean} ({samples} samples; classes so far behind: "
            "{classes})."
        ).format(
            subject=f.subject,
            recall=percent(f.evidence["recall"]),
            mean=percent(f.evidence["mean"]),
            samples=amount(f.evidence["samples"]),
            classes=amount(f.evidence["classes"]),
        ),
        "The class may be hard by nature.",
    ),
    "o-regression-bias": (
        "Predictions off on the whole",
        lambda f: _(
            "Predictions are {bias} too {what} on average, {of_std:.2f} standard deviations of the targets."
        ).format(
            bias=amount(abs(f.evidence["bias"])),
            what=_("high") if f.evidence["bias"] > 0 else _("low"),
            of_std=abs(f.evidence["of_std"]),
        ),
        "A median or a quantile of skewed targets is no mean.",
    ),
}
