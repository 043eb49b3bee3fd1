"""The words for what a diagnosis does not know: what was not checked, other candidates, the trial that decides."""

from __future__ import annotations

from ..document.facts import Diagnosis
from .language import _

_PARTS: dict[str, str] = {
    "weights": "the weights",
    "activations": "activations on real data",
    "gradients": "gradients (they need data and a loss)",
    "curves": "the curves of the run (give a history)",
    "steps": "the steps of the run, parameter by parameter (train under a Monitor)",
    "loop": "what the loop does between the steps (train under a Monitor)",
    "data": "the data",
    "training data": "the training data (give train_data)",
    "scores": "the score on the data",
    "training scores": "the score on the training data",
    "splits": "the training data against the data given",
    "optimizer": "the optimizer (give it)",
    "loss": "the loss (give it)",
    "experiments": "trials on a copy of the model",
    "one batch": "whether the model can learn one batch by heart",
    "train and eval": "train mode against eval mode",
    "experiments in time": "trials that the time given did not reach (trial_budget)",
}

_TRIALS: dict[str, str] = {
    "anomaly-detection": "Run the first bad step again under torch.autograd.set_detect_anomaly(True), and once with a "
    "tenth of the learning rate: a value that is still born at the same place is no matter of the rate.",
    "fresh-start": "Initialise anew and train one epoch with a tenth of the learning rate, on standardised inputs: "
    "what is there before the first step comes of the initialisation or the inputs, what comes later of the rate.",
    "look-at-samples": "Look at a dozen inputs with their labels from each split; then train on shuffled labels: if "
    "that goes as well, the labels have nothing to do with the inputs.",
    "more-time": "Give the trials more time (trial_budget): those that were not reached can tell these apart.",
    "one-batch": "Train on one batch of 32 samples, without regularisation: if it is not learned, the model, the loss "
    "or the gradients are at fault; if it is, the labels (noise caps any model) or the rate.",
    "one-step": "Make one step with a hundred times the learning rate on a copy: weights that still do not move are "
    "not reached at all.",
    "prepare-both-ways": "Send one raw sample through the preparation of either split and compare the tensors; equal "
    "tensors leave the labels.",
    "renewed-statistics": "Send some hundred training batches through in train mode without steps, and evaluate again: "
    "if the score comes back, the statistics were at fault, if not, the data given differ.",
    "shuffled": "Train one epoch with shuffle=True: if the score rises, it was the order.",
    "split-anew": "Join both splits, shuffle and split anew by the same code: a gap that goes away came of the split. "
    "One that grows when half of the training data are left out came of too little data.",
    "ten-times-the-rate": "Train the first epochs with ten times the learning rate: faster learning says that the rate "
    "was too low, none at all that the gradients do not arrive.",
    "tenth-of-the-decay": "Train with a tenth of the weight decay: a training loss that falls further shows the decay "
    "to be the cause.",
    "tenth-of-the-rate": "Train the first epochs with a tenth of the learning rate: if it goes smoothly, the rate was "
    "too high; if it does not, look at data, labels and initialisation.",
    "train-in-eval-mode": "Evaluate the training data in eval mode, without augmentation: a gap that goes away came of "
    "dropout or augmentation, one that stays of the split.",
    "weighted-loss": "Train with class weights: if the rare classes are found then, imbalance was the cause.",
}


def unchecked(diagnosis: Diagnosis) -> str:
    """Say what was not checked that bears on a diagnosis; a second run never is."""
    parts = [_(_PARTS[part]) if part in _PARTS else part for part in diagnosis.unchecked]
    others = _("other seeds") if "data" in diagnosis.unchecked else _("other seeds, and other data than these")
    return _("; ").join([*parts, others]) + _(".")


def candidates(diagnosis: Diagnosis, titles: list[str]) -> str:
    """Name the causes that are not ruled out, and the trial that would decide; '' where there is none."""
    if not titles:
        return ""
    quoted = [_("“{title}”").format(title=title) for title in titles]
    some, last = _(", ").join(quoted[:-1]), quoted[-1]
    joined = _("{some} or {last}").format(some=some, last=last) if some else last
    told = _("With the same marks: {causes}.").format(causes=joined)
    trial = _TRIALS.get(diagnosis.decided_by, "")
    return _("{told} To decide: {trial}").format(told=told, trial=_(trial)) if trial else told
