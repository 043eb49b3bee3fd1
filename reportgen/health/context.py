"""What must be known before a single rule may speak: is the model trained, does it work, how good was the probe."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from ..document.facts import EvaluationFacts, Report, WeightFacts
from ..document.scores import accuracy, beats_constant, explained
from .thresholds import Thresholds


class Context(Struct, frozen=True, kw_only=True):
    """Gates that rules share."""

    state: Literal["untrained", "trained", "unknown"]
    outcome_ok: bool
    """The metric on the data given is clearly better than the trivial baseline."""
    outcome_known: bool
    real_data: bool
    n_samples: int
    chance: float | None
    """Cross-entropy of the best constant prediction on the data given; None for other tasks, and for a loss that is the
    same whatever the targets."""


def context_of(report: Report, limits: Thresholds) -> Context:
    """Derive the gates from the facts."""
    evaluation = report.evaluation
    return Context(
        state=state_of(report),
        outcome_ok=evaluation is not None and _outcome_ok(evaluation, limits),
        outcome_known=evaluation is not None
        and _is_measured(evaluation)
        and not _small_is_right(report)
        and not needs_no_targets(report)
        and not _columns_apart(report)
        and same_units(report),
        real_data=report.subject.inputs == "real",
        n_samples=report.subject.n_samples,
        chance=_chance(report),
    )


def _small_is_right(report: Report) -> bool:
    """Tell whether outputs are distances: the loss wants small ones where the answer is yes.

    Accuracy takes the sign of an output for the answer, so of such a model it says nothing.
    """
    answers = report.tried("loss-of-answers")
    if answers is None or answers.detail.get("answers") == "numbers":
        return False
    right, wrong = answers.numbers["right"], answers.numbers["wrong"]
    return 0 <= wrong < right


_DRAWN = 0.01  # of the loss, by which two values for the same outputs differ


def draws(report: Report) -> bool:
    """Tell whether the loss draws answers from the outputs: its derivative is meant then, and its level says little."""
    trial = report.tried("loss-of-answers")
    return trial is not None and trial.numbers.get("drawn", 0.0) > _DRAWN


def is_affine(report: Report, limits: Thresholds) -> bool:
    """Tell whether the whole network is affine, though it has layers in a row that were to be more than one."""
    trial = report.tried("affinity")
    return (
        trial is not None and trial.numbers["collapsible"] > 0 and trial.numbers["departure"] < limits.affine_departure
    )


def needs_no_targets(report: Report) -> bool:
    """Tell whether the loss is the same whatever the targets: outputs are no answers then."""
    trial = report.tried("loss-without-target")
    return trial is not None and bool(trial.numbers["ignored"])


def _columns_apart(report: Report) -> bool:
    """Tell whether no loss says that outputs are scores of classes, and there are more or fewer columns than labels go.

    Outputs of a model that was trained without labels are an embedding of any width, and thresholds between grades are
    one fewer than these. A model that names the labels better than chance is neither; nor is one whose columns all have
    their class.
    """
    facts = report.evaluation
    if report.subject.loss is not None or facts is None or facts.task != "multiclass" or facts.classification is None:
        return False
    score = accuracy(facts.classification.confusion)
    top = max(
        (d.label_max for d in (report.dataset, report.train_dataset) if d and d.label_max is not None), default=-1
    )
    apart = top >= 0 and top != len(facts.classification.confusion) - 1
    return apart and score is not None and score.value <= score.majority


def state_of(report: Report) -> Literal["untrained", "trained", "unknown"]:
    """Tell whether training has touched the model: by its history, its batch norms, its weights, its optimizer."""
    if report.training is not None and (report.training.steps > 0 or report.training.epochs > 0):
        return "trained"
    norms = report.activations.norms if report.activations else []
    if any(not norm.at_default for norm in norms):
        return "trained"
    if norms:
        # a model that clearly works was trained, and then its norms never saw a batch
        return "trained" if _works(report) else "untrained"
    if report.activations is None and report.weights is not None and _bears_training(report.weights):
        return "trained"
    tested = (
        [row.at_default_init for row in report.weights.rows if row.at_default_init is not None]
        if report.weights
        else []
    )
    if tested and sum(tested) >= 0.5 * len(tested):
        return "untrained"
    return "unknown"


def _bears_training(weights: WeightFacts) -> bool:
    """Tell whether a file shows what no initialisation leaves: running statistics that moved, gains that differ, steps
    of an optimizer."""
    gains = [row.stats for row in weights.rows if row.role == "norm" and row.name.endswith("weight") and row.stats]
    return (
        any(norm not in norms_at_start(weights) for norm in _norms(weights))
        or any(stats.finite and stats.min != stats.max for stats in gains)
        or any(state.step for state in weights.optimizers)
    )


def norms_at_start(weights: WeightFacts) -> list[str]:
    """Return the batch norms whose running mean is 0 and whose variance is 1 throughout, as they start."""
    ends = {row.name: (row.stats.min, row.stats.max) for row in weights.buffers if row.stats is not None}
    return [
        norm
        for norm in _norms(weights)
        if ends.get(f"{norm}.running_mean") == (0, 0) and ends.get(f"{norm}.running_var") == (1, 1)
    ]


def _norms(weights: WeightFacts) -> list[str]:
    return [row.name.removesuffix(".running_var") for row in weights.buffers if row.name.endswith(".running_var")]


def _works(report: Report) -> bool:
    """Tell whether the accuracy is far above the commonest class, further than an untrained model gets by luck."""
    table = report.evaluation.classification if report.evaluation is not None else None
    score = accuracy(table.confusion) if table is not None else None
    return score is not None and score.low > score.majority + 0.15


_BEYOND_LUCK = (
    0.1  # of the way to a balanced accuracy of 1; untrained nets come to 0.05 on ten classes (99 %), 0.3 on three
)
_CLEARLY = 0.95  # of the entropy of the answers, below which probabilities are worth something
_LOSSES_IN_UNITS = ("mse", "l1", "huber", "mae", "squared", "quantile")


def same_units(report: Report) -> bool:
    """Tell whether outputs are predictions in the units of the targets, so that R² says how good they are.

    Margins, log-rates, logits of soft labels and parameters of a distribution are not. Known losses are told by their
    name; others by their value: the mean squared error, half of it, its root, or the mean absolute error; or by being a
    distance: nothing where outputs are the targets, as much where they lie a standard deviation above as below, more
    where they are twice as large or those of other samples. Where no loss was given, outputs that may be logits or
    log-rates are doubted, unless the run logged such a value.
    """
    evaluation = report.evaluation
    if evaluation is None or evaluation.regression is None:
        return True
    mse = evaluation.regression.mse
    sizes = (mse, mse / 2, math.sqrt(mse), evaluation.regression.mae)
    if report.subject.loss is None:
        return not _may_be_linked(evaluation) or any(
            abs(value - size) <= 0.05 * size for value in _last_losses(report) for size in sizes
        )
    name, value = report.subject.loss.lower(), evaluation.loss
    if any(word in name for word in _LOSSES_IN_UNITS):
        return True
    # of the same data and outputs; but a root is taken batch by batch, and a last batch may weigh too much
    answers = report.tried("loss-of-answers")
    distance = answers is not None and abs(answers.numbers["right"]) <= 1e-3 * abs(answers.numbers["wrong"])
    if distance and answers is not None and answers.detail.get("answers") == "numbers" and _is_even(answers.numbers):
        return True
    # where not even that is known, four sizes are met by chance too often
    near = 0.02 if distance and not _may_be_linked(evaluation) else 0.002
    return value is not None and any(abs(value - size) <= near * size for size in sizes)


def _is_even(n: dict[str, float]) -> bool:
    """Tell whether a loss grows alike to either side of the targets, with their scale, and by those of other samples.

    What stays small where samples get each other's targets compares distributions, as an energy distance does.
    """
    if "over" not in n or min(n["over"], n["under"], n["doubled"]) <= 0.05 * abs(n["wrong"]):
        return False
    if abs(n["wrong"]) <= 0.05 * n["over"]:
        return False
    return abs(n["over"] - n["under"]) <= 0.02 * max(n["over"], n["under"])


def _may_be_linked(evaluation: EvaluationFacts) -> bool:
    """Tell whether outputs may be logits or logarithms of what they answer: below 0 where no target is, and far off.

    An R² above 0 shows them to be in the units of the targets anyway.
    """
    table, outputs = evaluation.regression, evaluation.outputs
    if table is None or outputs is None or table.target.min is None:
        return False
    r2 = explained(table)
    return r2 is not None and r2 <= 0 and table.target.min >= 0 > outputs.min


def _last_losses(report: Report) -> list[float]:
    """Return what the run logged last of its losses."""
    series = report.training.series if report.training is not None else []
    named = [s for s in series if s.name in ("val_loss", "train_loss")]
    return [last for s in named if (last := next((y for y in reversed(s.y) if y is not None), None)) is not None]


def _is_measured(evaluation: EvaluationFacts) -> bool:
    """Tell whether there is anything that says how good the answers are, for every head."""
    if evaluation.heads:
        return all(_is_measured(head) for head in evaluation.heads.values())
    parts = (evaluation.classification, evaluation.regression, evaluation.tokens, evaluation.calibration)
    return any(part is not None for part in parts)


def _outcome_ok(evaluation: EvaluationFacts, limits: Thresholds) -> bool:
    if evaluation.heads:
        return all(_outcome_ok(head, limits) for head in evaluation.heads.values())
    if evaluation.classification is not None:
        gain = _BEYOND_LUCK if _worse_than_prior(evaluation) else 0.0
        return beats_constant(evaluation.classification.confusion, gain) or _better_than_prior(evaluation)
    if evaluation.regression is not None:
        r2 = explained(evaluation.regression)
        return r2 is not None and r2 > limits.outcome_r2
    # several answers a sample: below what naming their frequencies every time reaches
    if evaluation.tokens is not None:
        return evaluation.tokens.nll < _CLEARLY * evaluation.tokens.entropy
    if evaluation.calibration is not None:
        return evaluation.calibration.nll < _CLEARLY * evaluation.calibration.baseline_nll
    return False


def _better_than_prior(evaluation: EvaluationFacts) -> bool:
    """Tell whether the cross-entropy is clearly below the entropy of the labels.

    For rare events naming the common class always may be the best decision, and yet the probabilities are worth much.
    """
    share = _of_prior(evaluation)
    return share is not None and share < _CLEARLY


def _worse_than_prior(evaluation: EvaluationFacts) -> bool:
    """Tell whether the cross-entropy is above the entropy of the labels, which a constant answer would reach."""
    share = _of_prior(evaluation)
    return share is not None and share > 1


def _of_prior(evaluation: EvaluationFacts) -> float | None:
    table, outputs = evaluation.classification, evaluation.outputs
    if table is None or outputs is None or outputs.cross_entropy is None:
        return None
    prior = entropy_of([sum(row) for row in table.confusion])
    return outputs.cross_entropy / prior if prior else None


def entropy_of(counts: list[int]) -> float:
    """Return the entropy of labels that occur so often, in nats."""
    n = sum(counts)
    return -sum(c / n * math.log(c / n) for c in counts if c) if n else 0.0


def _chance(report: Report) -> float | None:
    """Return the entropy of the labels: the cross-entropy that a constant prediction can reach at best."""
    evaluation = report.evaluation
    if evaluation is None or evaluation.task != "multiclass" or evaluation.classification is None:
        return None
    if needs_no_targets(report) or _columns_apart(report):
        return None
    counts = [sum(row) for row in evaluation.classification.confusion]
    return entropy_of(counts) if sum(counts) else None
