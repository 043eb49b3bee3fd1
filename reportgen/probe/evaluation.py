"""How good the model is on the data given: one streaming pass, merged by torchmetrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..document.facts import Classification, EvaluationFacts, OutputFacts, Regression
from ..document.stats import TensorStats
from ..subject.data import Batch
from ..subject.vision import prepare
from .layers import main_tensor
from .reduce import tensor_stats

Task = Literal["multiclass", "binary", "regression"]
MAX_CLASSES = 2000
_SAMPLE = 400


def are_class_scores(output: Tensor, target: Tensor) -> bool:
    """Tell from shapes and types whether outputs are (N, K) scores and targets (N,) class indices."""
    if target.is_floating_point() or target.is_complex() or output.dim() != 2 or target.dim() != 1:
        return False
    return output.shape[1] > 1 and len(output) == len(target)


def infer_task(output: Tensor, target: Tensor) -> Task | str:
    """Name the task from shapes and types, or say in words why it cannot be named."""
    if are_class_scores(output, target):
        return "multiclass"
    if output.numel() == target.numel() and len(output) == len(target):
        values = target.detach().reshape(-1)
        if bool(((values == 0) | (values == 1)).all()):
            return "binary" if output[0].numel() == 1 else "several yes-or-no targets a sample are not evaluated"
        if target.is_floating_point():
            return "regression"
    return (
        f"outputs of shape {tuple(output.shape)} and targets of shape {tuple(target.shape)} are of no task known here"
    )


class EvaluationProbe:
    """Outputs against targets, batch by batch; ``trouble`` says why there is nothing to report."""

    def __init__(self, loss: Callable[[Any, Any], Any] | None, task: Task | None, names: list[str] | None) -> None:
        self._loss = loss
        self._task: Task | None = task
        self._names = names
        self._metrics: dict[str, Any] = {}
        self._n_samples = 0
        self._loss_sum = 0.0
        self._loss_n = 0
        self._cross_entropy = 0.0
        self._as_probability = 0.0
        self._same_shape = True
        self._low, self._high = math.inf, -math.inf
        self._row_sum: float | None = None
        self._log_sum: float | None = None
        self._target_stats, self._residual_stats = TensorStats(), TensorStats()
        self._pairs: list[tuple[float, float]] = []
        self._keep_every, self._pair_index = 1, 0
        self.trouble = ""

    def update(self, output: Any, batch: Batch) -> None:
        """Add one batch of outputs."""
        if self.trouble:
            return
        tensor = main_tensor(output)
        if not isinstance(batch.target, Tensor):
            told = "" if batch.target is None else f": the target is of type {type(batch.target).__name__}"
            self.trouble = f"the data hold no target tensor{told}"
            return
        if tensor is None or not tensor.dim() or not len(tensor) or not batch.target.dim():
            self.trouble = "the model's output is no batch of floating-point rows"
            return
        if tensor.is_complex():
            self.trouble = "the model's output is complex"
            return
        tensor, target = tensor.detach(), batch.target
        if self._task is None:
            task = infer_task(tensor, target)
            if task not in ("multiclass", "binary", "regression"):
                self.trouble = task
                return
            self._task = task  # type: ignore[assignment]  # the names were just checked
        if self._loss is not None:
            self._add_loss(output, batch)
        self._same_shape &= tensor.shape == target.shape
        self._add_outputs(tensor.double(), target)
        self._n_samples += len(tensor)
        {"multiclass": self._add_multiclass, "binary": self._add_binary, "regression": self._add_regression}[
            self._task or "regression"
        ](tensor, target)

    def _add_loss(self, output: Any, batch: Batch) -> None:
        assert self._loss is not None
        found = self._loss(output, batch.target)
        value = math.nan if isinstance(found, Tensor) and (found.is_complex() or found.numel() != 1) else float(found)
        if math.isfinite(value):
            self._loss_sum += value * batch.n_samples
            self._loss_n += batch.n_samples

    def _add_outputs(self, output: Tensor, target: Tensor) -> None:
        finite = output[torch.isfinite(output)]
        if finite.numel():
            self._low, self._high = min(self._low, float(finite.min())), max(self._high, float(finite.max()))
        if self._task != "multiclass" or finite.numel() < output.numel():
            return
        self._row_sum = max(self._row_sum or 0.0, float((output.sum(1) - 1).abs().max()))
        self._log_sum = max(self._log_sum or 0.0, float(output.logsumexp(1).abs().max()))
        legal = (target >= 0) & (target < output.shape[1])
        if bool(legal.all()):
            self._cross_entropy += float(F.cross_entropy(output, target.long(), reduction="sum"))

    def _add_multiclass(self, output: Tensor, target: Tensor) -> None:
        n = output.shape[1]
        if n > MAX_CLASSES:
            self.trouble = f"{n} classes; a confusion matrix is kept up to {MAX_CLASSES}"
            return
        legal = (target >= 0) & (target < n)  # -100 and the like are ignored by the loss too
        # NaN compares as the largest: a row of NaN would count as a prediction of its first class
        legal &= ~output.isnan().any(1)
        self._metric("confusion", n).update(output.argmax(1)[legal].cpu(), target.long()[legal].cpu())

    def _add_binary(self, output: Tensor, target: Tensor) -> None:
        values = output.reshape(-1)
        # probabilities lie in [0, 1]; logits of a whole batch practically never do
        threshold = 0.5 if self._low >= 0 and self._high <= 1 else 0.0
        legal = ~values.isnan()
        self._add_binary_loss(values.double()[legal], target.reshape(-1).double()[legal])
        self._metric("confusion", 2).update(
            (values > threshold).long()[legal].cpu(), target.reshape(-1).long()[legal].cpu()
        )

    def _add_binary_loss(self, values: Tensor, target: Tensor) -> None:
        self._cross_entropy += float(F.binary_cross_entropy_with_logits(values, target, reduction="sum"))
        if self._low >= 0 and self._high <= 1:
            self._as_probability += float(F.binary_cross_entropy(values, target, reduction="sum"))

    def _add_regression(self, output: Tensor, target: Tensor) -> None:
        predicted, wanted = output.reshape(-1).double().cpu(), target.reshape(-1).double().cpu()
        legal = torch.isfinite(predicted) & torch.isfinite(wanted)
        predicted, wanted = predicted[legal], wanted[legal]
        if not len(predicted):
            return
        for name in ("r2", "mae", "mse"):
            self._metric(name, 0).update(predicted, wanted)
        for name, values in (("_target_stats", wanted), ("_residual_stats", predicted - wanted)):
            stats = tensor_stats(values, sample=1 << 16)
            if stats is not None:
                setattr(self, name, getattr(self, name).merge(stats))
        self._keep_pairs(wanted, predicted)

    def _keep_pairs(self, wanted: Tensor, predicted: Tensor) -> None:
        """Keep every n-th pair; n doubles whenever the sample is full, so that it stays even over the whole data."""
        for pair in zip(wanted.tolist(), predicted.tolist(), strict=True):
            if self._pair_index % self._keep_every == 0:
                self._pairs.append(pair)
            self._pair_index += 1
            if len(self._pairs) > _SAMPLE:
                self._pairs = self._pairs[::2]
                self._keep_every *= 2

    def _metric(self, name: str, n_classes: int) -> Any:
        """Return a torchmetrics metric, made on first use: the library takes a second to import."""
        if name not in self._metrics:
            prepare()
            from torchmetrics import MeanAbsoluteError, MeanSquaredError, R2Score
            from torchmetrics.classification import MulticlassConfusionMatrix

            # else it would wait for the other processes of a distributed training, which are not examining anything
            alone: dict[str, Any] = {"sync_on_compute": False}
            makers: dict[str, Callable[[], Any]] = {
                "confusion": lambda: MulticlassConfusionMatrix(n_classes, validate_args=False, **alone),
                "r2": lambda: R2Score(**alone),
                "mae": lambda: MeanAbsoluteError(**alone),
                "mse": lambda: MeanSquaredError(**alone),
            }
            metric = makers[name]()
            self._metrics[name] = metric.set_dtype(torch.float64) if name != "confusion" else metric
        return self._metrics[name]

    def facts(self) -> EvaluationFacts | None:
        """Return what was seen; None when nothing could be compared."""
        if self.trouble or self._task is None or not self._n_samples:
            return None
        return EvaluationFacts(
            task=self._task,
            n_samples=self._n_samples,
            loss=self._loss_sum / self._loss_n if self._loss_n else None,
            outputs=self._outputs(),
            classification=self._classification(),
            regression=self._regression(),
        )

    def _outputs(self) -> OutputFacts | None:
        if not math.isfinite(self._low):
            return None
        return OutputFacts(
            min=self._low,
            max=self._high,
            row_sum_error=self._row_sum,
            log_sum_exp_error=self._log_sum,
            cross_entropy=self._mean_cross_entropy(),
            same_shape=self._same_shape,
        )

    def _mean_cross_entropy(self) -> float | None:
        if self._task == "binary":
            probabilities = self._low >= 0 and self._high <= 1
            return (self._as_probability if probabilities else self._cross_entropy) / self._n_samples
        return self._cross_entropy / self._n_samples if self._row_sum is not None else None

    def _classification(self) -> Classification | None:
        if "confusion" not in self._metrics:
            return None
        table = self._metrics["confusion"].compute().tolist()
        names = self._names or []
        classes = [names[i] if i < len(names) else str(i) for i in range(len(table))]
        return Classification(classes=classes, confusion=[[int(n) for n in row] for row in table])

    def _regression(self) -> Regression | None:
        if "mse" not in self._metrics:
            return None
        figures = {name: float(self._metrics[name].compute()) for name in ("r2", "mae", "mse")}
        if not math.isfinite(figures["mse"]):  # errors so large that their squares leave float64
            return None
        varied = self._target_stats.finite >= 2 and self._target_stats.m2 > 0
        return Regression(
            r2=figures["r2"] if varied and math.isfinite(figures["r2"]) else None,
            mae=figures["mae"],
            mse=figures["mse"],
            target=self._target_stats,
            residual=self._residual_stats,
            sample=self._pairs,
        )
