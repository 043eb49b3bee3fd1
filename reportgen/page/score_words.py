"""The words for figures of merit: what each is called, and what it means."""

from __future__ import annotations

from ..document.evaluation import EvaluationFacts, Score
from .blocks import Cell, Column, Table
from .cells import missing, of_text
from .formats import number, percent
from .language import _

_SHARES = frozenset(("accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "top_5_accuracy", "exact_match")) | {
    "label_accuracy",
    "pixel_accuracy",
    "mean_iou",
    "mean_dice",
    "acc",
    "top1",
    "top5",
}


def score_name(score: str) -> tuple[str, str]:
    """Return the name of a figure of merit and what it means."""
    table = {
        "accuracy": (_("Accuracy"), _("share of right answers; the baseline names the commonest class always")),
        "balanced_accuracy": (_("Balanced accuracy"), _("mean recall of the classes")),
        "mcc": (_("Matthews correlation"), _("correlation of truth and answer: 1 is perfect, 0 is chance")),
        "macro_f1": (_("Mean F1"), _("mean over classes of the harmonic mean of precision and recall")),
        "micro_f1": (_("F1 over all labels"), _("of all labels of all samples together")),
        "top_5_accuracy": (_("Right among five"), _("share of samples whose class is among the five named first")),
        "roc_auc": (_("ROC AUC"), _("chance that a random yes has a higher score than a random no")),
        "macro_roc_auc": (_("Mean ROC AUC"), _("each class against the rest, averaged")),
        "average_precision": (_("Average precision"), _("area under the precision-recall curve; chance: prevalence")),
        "mean_average_precision": (_("Mean average precision"), _("averaged over labels; chance: mean prevalence")),
        "exact_match": (_("All labels right"), _("share of samples with every label right")),
        "label_accuracy": (_("Labels right"), _("share of right labels, averaged over samples")),
        "r2": (_("R²"), _("share of the variance explained; 0 is what the mean of the targets reaches")),
        "mae": (_("MAE"), _("mean absolute error; the baseline names the median always")),
        "rmse": (_("RMSE"), _("root mean squared error; the baseline names the mean always")),
        "perplexity": (_("Perplexity"), _("exp of the loss by token; the baseline knows the frequencies alone")),
        "nll": (_("Loss by token"), _("mean negative log-likelihood, in nats")),
        "mean_iou": (_("Mean IoU"), _("intersection over union, averaged over classes")),
        "mean_dice": (_("Mean Dice"), _("2 · intersection / (truth + prediction), averaged over classes")),
        "pixel_accuracy": (_("Places right"), _("share of places with the right class")),
    }
    return table.get(score, (score.replace("_", " "), ""))


def shown(name: str, value: float | None) -> str:
    """Show the value of a figure of merit in its unit."""
    return percent(value) if name in _SHARES else number(value)


def score_table(facts: EvaluationFacts, id: str) -> Table:
    """Show every figure of merit with its interval, beside what the best constant answer reaches."""
    columns = [
        Column(_("Measure"), "text"),
        Column(_("Value")),
        Column(_("95 % interval"), "text"),
        Column(_("Trivial answer"), "number", _("what the best constant answer reaches on the same data")),
        Column(_("Meaning"), "prose"),
    ]
    rows = [_row(score) for score in facts.scores]
    caption = _("Scores")
    return Table(id=id, caption=caption, columns=columns, rows=rows, total_rows=len(rows))


def interval(score: Score) -> str:
    """Show the ends of an interval."""
    return _("{low} to {high}").format(low=shown(score.name, score.low), high=shown(score.name, score.high))


def _row(score: Score) -> list[Cell]:
    title, meaning = score_name(score.name)
    ends = of_text(interval(score)) if score.low is not None and score.high is not None else missing()
    baseline = missing() if score.baseline is None else Cell(shown(score.name, score.baseline), score.baseline)
    return [of_text(title), Cell(shown(score.name, score.value), score.value), ends, baseline, of_text(meaning)]
