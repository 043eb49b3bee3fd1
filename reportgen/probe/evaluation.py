"""How good the model is on the data given: one streaming pass, in accumulators that merge over batches and ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import torch
from torch import Tensor

from ..document.evaluation import EvaluationFacts, OutputFacts, Score, Task
from ..errors import one_line
from ..subject.data import Batch
from ..subject.handed import name_of
from ..subject.signature import OwnLoss
from .relabelled import asks_alike
from .scoring.answers import Answers
from .scoring.classes import ClassScores
from .scoring.examples import Examples
from .scoring.numbers import NumberScores
from .scoring.regions import MAX_REGIONS, RegionScores
from .scoring.sequences import SequenceScores
from .scoring.slices import Slices
from .scoring.yesno import YesNoScores
from .sequence import LEFT_OUT
from .tasks import Head, heads_of, infer_task, next_token, prepared
from .tasks import are_class_scores as are_class_scores

Scores = ClassScores | YesNoScores | NumberScores | SequenceScores | RegionScores
Tasks = Task | Mapping[str, Task] | None


class Sights:
    """Samples worth a look, and scores by group."""

    def __init__(self) -> None:
        self.examples, self.slices = Examples(), Slices()

    def update(self, answers: Answers, batch: Batch, places: Tensor) -> None:
        self.examples.update(answers, batch, places)
        self.slices.update(answers, batch)

    def merge(self, other: Sights) -> None:
        self.examples.merge(other.examples)
        self.slices.merge(other.slices)


class HeadProbe:
    """One head: its task, its scores, and the samples worth a look. ``trouble`` says why there is nothing to report."""

    def __init__(self, task: Task | None, names: list[str] | None, loss: Any) -> None:
        self.task, self.stated, self._names = task, task is not None, names
        self._loss_name = "" if loss is None else name_of(loss)
        self._own_loss = isinstance(loss, OwnLoss)
        ignore = getattr(loss, "ignore_index", None)
        self._ignore = ignore if isinstance(ignore, int) else LEFT_OUT
        self.scores: Scores | None = None
        self._seen = Sights()
        self._as_probabilities: Sights | None = Sights()
        self.n_samples = 0
        self.same_shape = True
        self.low, self.high = math.inf, -math.inf
        self.trouble = ""

    def update(self, head: Head, batch: Batch, places: Tensor) -> None:
        """Add one batch; ``places`` (N,) are those of its samples in the data."""
        output, target = head.output, head.target
        if self.task is None:
            task = infer_task(output, target, self._loss_name)
            if task not in ("multiclass", "binary", "multilabel", "regression", "tokens", "segmentation"):
                self.trouble = task
                return
            self.task = task  # type: ignore[assignment]  # the names were just checked
        if self.task == "binary" and output.dim() == 2 and output.shape[1] == 2:
            self.task = "multiclass"  # two scores, one a class
        assert self.task is not None
        form = prepared(self.task, output, target)
        if isinstance(form, str):
            self.trouble = form
            return
        self.same_shape &= output.shape == target.shape
        if self.task not in ("tokens", "segmentation"):
            form = form[0].cpu(), form[1].cpu()
            self._see(form[0])
        if self.scores is None:
            self.scores = self._made(*form, batch)
        if self.trouble or not self._fits(form[1]):
            return
        answers = self._told(*form, places)
        self.n_samples += len(output)
        self._seen.update(answers, batch, places)
        if self._as_probabilities is not None and answers.as_probabilities is not None:
            self._as_probabilities.update(answers.as_probabilities, batch, places)
        else:
            self._as_probabilities = None

    def _made(self, output: Tensor, target: Tensor, batch: Batch) -> Scores:
        width = output.shape[1]
        if self.task == "multiclass":
            return ClassScores(width, self._names, self._ignore)
        if self.task in ("binary", "multilabel"):
            return YesNoScores(width, self._names)
        if self.task == "tokens":
            # the losses of torch hold each output against the target at its own place
            shifted = not self._plain() and next_token(output, target, batch.first, own_loss=self._own_loss)
            return SequenceScores(output.shape[2], self._ignore, shifted=shifted)
        if self.task == "segmentation":
            if width > MAX_REGIONS:
                self.trouble = f"{width} classes of a map; overlaps are counted up to {MAX_REGIONS}"
            return RegionScores(min(width, MAX_REGIONS), self._names, self._ignore)
        return NumberScores(width if output.dim() == 2 else 1)

    def _plain(self) -> bool:
        """Tell whether the loss is one of torch's that take class indices."""
        return any(word in self._loss_name.lower().replace("_", "") for word in ("crossentropy", "nllloss"))

    def _fits(self, target: Tensor) -> bool:
        """Check a task that the first batch alone suggested."""
        if not self.stated and isinstance(self.scores, ClassScores) and self._loss_name and not self._plain():
            one_more = self.scores.n_classes
            if one_more != self._ignore and bool((target == one_more).any()):
                self.trouble = (
                    f"targets go up to {one_more} while outputs have {one_more} columns, so these are no scores of "
                    "classes but thresholds of grades, say, or an embedding: state the task in Options(task=...) if "
                    "they are"
                )
                return False
        if self.stated or not isinstance(self.scores, YesNoScores):
            return True
        legal = (target == 0) | (target == 1) | (target == LEFT_OUT) | (target == -1) | target.isnan()
        if not bool(legal.all()):
            other = float(target[~legal][0])
            self.trouble = f"targets were 0 and 1 at first, and then {other:g}: state the task in Options(task=...)"
        return not self.trouble

    def _told(self, output: Tensor, target: Tensor, places: Tensor) -> Answers:
        if isinstance(self.scores, (NumberScores, RegionScores)):
            return self.scores.update(output, target, places)
        assert self.scores is not None
        return self.scores.update(output, target)

    def _see(self, output: Tensor) -> None:
        finite = output[torch.isfinite(output)]
        if finite.numel():
            low, high = torch.aminmax(finite)
            self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def merge(self, other: HeadProbe) -> None:
        """Add what another process or another part of the data saw."""
        self.trouble = self.trouble or other.trouble
        if other.scores is not None:
            if self.scores is None:
                self.task, self.scores = other.task, other.scores
            elif type(self.scores) is type(other.scores):
                self.scores.merge(other.scores)  # type: ignore[arg-type]  # of one type, as just asked
            else:
                self.trouble = f"one part of the data looked like {self.task}, another like {other.task}"
        self._seen.merge(other._seen)
        if self._as_probabilities is not None and other._as_probabilities is not None:
            self._as_probabilities.merge(other._as_probabilities)
        else:
            self._as_probabilities = None
        self.n_samples += other.n_samples
        self.same_shape &= other.same_shape
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def facts(self) -> EvaluationFacts | None:
        """Return what was seen; None when nothing could be compared."""
        scores = self.scores
        if self.trouble or self.task is None or scores is None or not self.n_samples:
            return None
        seen = self.sights()
        return EvaluationFacts(
            task=self.task,
            n_samples=self.n_samples,
            outputs=self._outputs(),
            classification=scores.classification() if isinstance(scores, (ClassScores, YesNoScores)) else None,
            regression=scores.regression() if isinstance(scores, NumberScores) else None,
            scores=[s for s in scores.scores() if _is_finite(s)],
            labels=scores.labels() if isinstance(scores, YesNoScores) else [],
            curves=scores.curves() if isinstance(scores, (ClassScores, YesNoScores)) else [],
            calibration=None if isinstance(scores, (NumberScores, RegionScores)) else scores.calibration(),
            tokens=scores.tokens_facts() if isinstance(scores, SequenceScores) else None,
            regions=scores.regions() if isinstance(scores, RegionScores) else [],
            examples=seen.examples.facts(),
            slices=seen.slices.facts(),
            slice_score=seen.slices.score,
            ignored=scores.ignored,
        )

    def sights(self) -> Sights:
        """Return the samples and groups under the reading of the outputs that holds."""
        return self._seen if self._as_probabilities is None else self._as_probabilities

    def _outputs(self) -> OutputFacts | None:
        if not math.isfinite(self.low):
            return None
        row_sum = log_sum = entropy = probabilities = None
        scores = self.scores
        if isinstance(scores, ClassScores):
            row_sum, log_sum = scores.row_sum, scores.log_sum
            entropy = scores.mean_cross_entropy()
            probabilities = scores.as_probabilities is not None
        elif isinstance(scores, YesNoScores):
            entropy = scores.nll if scores.n_labels == 1 else None
            probabilities = scores.as_probabilities is not None
        return OutputFacts(
            min=self.low,
            max=self.high,
            row_sum_error=row_sum,
            log_sum_exp_error=log_sum,
            cross_entropy=entropy,
            same_shape=self.same_shape,
            probabilities=probabilities,
        )


def _is_finite(score: Score) -> bool:
    return all(v is None or math.isfinite(v) for v in (score.value, score.low, score.high, score.baseline))


class EvaluationProbe:
    """Outputs against targets, batch by batch, by head; ``trouble`` says why there is nothing to report."""

    def __init__(
        self,
        loss: Callable[[Any, Any], Any] | None,
        task: Tasks = None,
        names: list[str] | None = None,
        start: int = 0,
        step: int = 1,
    ) -> None:
        """``start`` is the place of the first sample in the data, ``step`` how far the next one is from it."""
        self._loss, self._task, self._names = loss, task, names
        self._heads: dict[str, HeadProbe] = {}
        self._start, self._step, self._n_read = start, step, 0
        self._loss_sum = 0.0
        self._loss_n = 0
        self._told_apart: bool | None = None
        """Whether the loss holds classes apart by their columns; None before that is known."""
        self.trouble = ""

    def update(self, output: Any, batch: Batch) -> None:
        """Add one batch of outputs."""
        self.add(output, batch)
        self.add_loss(output, batch)

    def add(self, output: Any, batch: Batch) -> None:
        """Add outputs, without the loss: however they are cut into batches, they come to the same."""
        if self.trouble:
            return
        heads = heads_of(output, batch.target)
        if isinstance(heads, str):
            self.trouble = heads
            return
        if not self._heads:
            self._heads = {name: self._made(name, alone=len(heads) == 1) for name in heads}
        n = len(next(iter(heads.values())).output)
        if len(heads) == 1 and isinstance(output, Tensor) and isinstance(batch.target, Tensor):
            self._doubt_classes(output, batch.target)
        for name, probe in self._heads.items():
            if probe.trouble:
                continue
            if name not in heads:
                probe.trouble = f"a later batch holds no {name!r}"
                continue
            self._update(probe, heads[name], batch)
        self._n_read += n
        if all(probe.trouble for probe in self._heads.values()):
            self.trouble = "; ".join(dict.fromkeys(self._told()))

    def _doubt_classes(self, output: Tensor, target: Tensor) -> None:
        """Ask the loss, once, whether columns of the outputs belong to classes at all."""
        (probe,) = self._heads.values()
        if self._loss is None or self._told_apart is not None or probe.stated or not are_class_scores(output, target):
            return
        alike = asks_alike(self._loss, output, target)
        self._told_apart = None if alike is None else not alike
        if alike:
            probe.trouble = (
                "the loss is the same whatever the classes are called, so outputs are no scores of classes but an "
                "embedding: state the task in Options(task=...) if they are"
            )

    def _update(self, probe: HeadProbe, head: Head, batch: Batch) -> None:
        first = self._start + self._n_read * self._step
        places = first + self._step * torch.arange(len(head.output))
        if len(self._heads) == 1:
            probe.update(head, batch, places)
            return
        try:
            probe.update(head, batch, places)
        except Exception as error:  # one head that fails leaves the others to be seen
            probe.trouble = one_line(error)

    def _made(self, name: str, *, alone: bool) -> HeadProbe:
        if isinstance(self._task, Mapping):
            task = self._task.get(name) if not alone or name in self._task else next(iter(self._task.values()), None)
        else:
            task = self._task
        return HeadProbe(task, self._names if alone else None, self._loss)

    def _told(self) -> list[str]:
        return [f"{name}: {p.trouble}" if name else p.trouble for name, p in self._heads.items() if p.trouble]

    def add_loss(self, output: Any, batch: Batch) -> None:
        """Add the loss of one batch, weighted by its samples, where one was given and heads are known."""
        if self._loss is None or self.trouble or not self._heads:
            return
        found = self._loss(output, batch.target)
        value = math.nan if isinstance(found, Tensor) and (found.is_complex() or found.numel() != 1) else float(found)
        if math.isfinite(value):
            self._loss_sum += value * batch.n_samples
            self._loss_n += batch.n_samples

    def merge(self, other: EvaluationProbe) -> None:
        """Add what another process saw of other samples. Their places should differ: see ``start`` and ``step``."""
        self.trouble = self.trouble or other.trouble
        self._loss_sum += other._loss_sum
        self._loss_n += other._loss_n
        for name, probe in other._heads.items():
            if name in self._heads:
                self._heads[name].merge(probe)
            else:
                self._heads[name] = probe

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process can add: the loss, which may be any function, is not part of it."""
        return vars(self) | {"_loss": None}

    def facts(self) -> EvaluationFacts | None:
        """Return what was seen; None when nothing could be compared."""
        if self.trouble:
            return None
        found = {name: facts for name, probe in self._heads.items() if (facts := probe.facts()) is not None}
        if not found:
            return None
        loss = self._loss_sum / self._loss_n if self._loss_n else None
        if len(self._heads) == 1:
            return msgspec.structs.replace(next(iter(found.values())), loss=loss)
        n = max(facts.n_samples for facts in found.values())
        return EvaluationFacts(task="several", n_samples=n, loss=loss, heads=found, remarks=self._told())
