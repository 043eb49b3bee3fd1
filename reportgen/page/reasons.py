"""Templates of the English texts that facts bring along: why something was not measured, what was read, names.

Facts are the same in every language; ``told`` says such a text in the language of the page. A text of no template, such
as the message of an exception of another library, stays as it is.
"""

from __future__ import annotations

import re
from functools import cache

from .language import _, spoken

_DATA = (
    "no data and no input size were given",
    "no data were given",
    "no training data were given",
    "no loss was given",
    "no history was given",
    "the inputs are noise made from an input size, so there is nothing to compare with",
    "a weights file holds no model to run",
    "a weights file holds no model to run; only sizes are known",
    "no parameter takes a gradient",
    "the parameters are on the meta device, which holds shapes and no values",
    "the parameters are on the meta device, which holds shapes and no values; only sizes are known",
    "the forward pass changed attributes that are too large, or of a kind, to be put back",
    "the forward pass changed attributes that are too large, or of a kind, to be put back: {names}",
    "a history was given and no model",
    "earlier checkpoints are compared with a weights file, and a model was given",
    "the targets are handed to the model too, as {name}",
    "no time was given to them",
    "the data hold no targets",
    "a loss was given, and tells more",
    "the data hold no target tensor",
    "the data hold no target tensor: the target is of type {kind}",
    "the data given hold no targets",
    "the inputs are {kind} tensors: neither copies nor padding nor neighbours were looked for",
    "{n} empty batch left out",
    "{n} empty batches left out",
    "the data set yields samples; they were read {n} at a time",
    "part {n} of {m} of the data",
    "the other processes did not come within {n} seconds",
    "scores of the parts of {n} processes, put together",
    "process {n}",
    "the pass over the data failed",
    "interrupted after {n} of {m} tensors",
    "interrupted after {n} tensors",
    "switched off in the settings",
    "weights in whole or packed numbers were not measured: {n}, {names}",
    "sparse weights too large to be laid out in full were not measured: {n}, {names}",
)

_PROBES = (
    "its output was changed in place before it could be measured",
    "its output holds no floating-point tensor",
    "its output holds no dense real numbers",
    "its number of channels changed from {n} to {m}",
    "{n} TorchScript modules take no hooks",
    "TorchScript takes no hooks",
    "added keys are not recomputed",
    "attention was not recomputed, {error}",
    "queries and keys are changed after their projection ({name})",
    "queries and keys are changed, scaled or ordered in a way of its own after their projection",
    "a mask is handed in that their projections do not show",
    "no formula for these layouts",
    "operators could not be watched, so only the order is known",
    "operators could not be watched, so FLOPs and memory are unknown: {error}",
    "the pass has more than {n} steps, of which the first are shown",
    "what these read came from where no operator was seen: {names}",
    "data could not be followed, so only the order is known: {error}",
    "the parameters were made in inference mode, where no gradient is recorded",
    "in eval mode, as training mode failed: {error}",
    "the loss raised {error}",
    "the loss returned {what}, expected a tensor with one real number",
    "the norm behind it changed during the pass",
    "the norm behind it read it in some passes only; the figures are of the others",
    "batch {n}: {error}",
    "the model",
    "the model: {reason}",
    "{names} and {n} more",
)

_EVALUATION = (
    "several yes-or-no targets a sample are not evaluated",
    "outputs of shape {shape} and targets of shape {other} are of no task known here",
    "the model's output is no batch of floating-point rows",
    "the model's output is complex",
    "{n} classes; a confusion matrix is kept up to {m}",
    "{n} classes of a map; overlaps are counted up to {m}",
    "targets were 0 and 1 at first, and then {value}: state the task in Options(task=...)",
    "one part of the data looked like {task}, another like {other}",
    "a later batch holds no {name}",
    "targets go up to {n} while outputs have {m} columns, such as thresholds of grades: state the task in "
    "Options(task=...) if they are classes",
)

_ATTENTION = (
    "{n} positions are no grid of patches, with or without a class token",
    "weights are not finite",
    "attention is by windows",
    "weights of one sample are {n} numbers, too many to be computed anew",
    "one sequence attends to another",
    "there are more than {n} positions",
    "heads cannot be told from samples in attention of shape {shape}",
    "the number of positions changes from layer to layer",
)

_FIT = (
    "several yes-or-no targets for each place of a map are not evaluated",
    "outputs of shape {shape} and targets of shape {other} do not fit the task {task}",
    "{n} output tensor and {m} targets cannot be paired",
    "{n} output tensors and {m} targets cannot be paired",
    "the model's output of {name} is no batch of floating-point rows",
    "the model's output of {name} is complex",
)

_PICTURES = (
    "there are no samples, no maps and no kernels larger than one place",
    "no room was given to them",
    "dimension 0 of the inputs does not count samples",
    "{n} real and {m} generated samples with finite features; {least} of each are needed",
    "no gradient leads from the scores back to the maps",
    "no gradient leads to {layer}",
    "the input of the last layer does not count samples",
    "the number of features changes from batch to batch",
    "not possible",
    "as given",
    "the generated samples are sparse or nested",
    "{name} is no table of features (N, D)",
    "the extractor returns no features, one row for each sample",
    "the real samples hold no tensor",
)

_DEPLOYMENT = (
    "there is no batch to run",
    "larger batches were left out: the time given was up",
    "processes that work together on one model run as many passes each, which a clock does not give",
    "passes take longer than timing may unasked; inference_budget gives it time",
    "the time given was up",
    "outputs have another form",
    "other outputs are not finite",
    "not tried",
    "not installed: {names}",
    "it starts from torch.export, which failed",
    "outputs not compared: onnxruntime is not installed",
    "it does not run: {error}",
)

_TRIALS = (
    "no samples with targets that can be dealt out anew",
    "the gradients are not finite",
    "all gradients are the same",
    "outputs or targets are no single tensor",
    "the output is no batch of floating-point rows",
    "the loss of made-up answers is not finite",
    "the loss of made-up outputs is not finite",
    "fewer than {n} samples of one shape with targets",
    "fewer than {n} samples of one shape with numbers as inputs, and targets",
    "nothing of what was learned is lost on the data given",
    "most inputs occur more than once",
    "no derivative could be told by differences",
    "the outputs have no gradient by the input",
    "the outputs cannot be derived: {error}",
    "the input is no single tensor of numbers",
    "fewer than {n} outputs a sample",
    "outputs and targets are not of one size",
    "outputs are neither class scores nor numbers to be compared with the targets",
    "the loss is not finite, or two passes over one input differ",
    "the model works on the data given, or there is nothing to tell apart",
    "the model is about as good on the training data as on the data given",
    "the targets are no numbers, one row a sample",
    "the targets are not all 0 or 1",
    "the targets are no input beside others",
    "the targets have no row for each sample",
    "the targets name one class each",
    "the targets are not the inputs",
    "the loss of made-up outputs has no finite derivative",
    "the loss of these outputs is zero",
    "the outputs are no floating-point tensors",
    "the targets are no tensor that varies",
    "the targets are whole numbers",
    "the output is no single tensor with a row for each sample",
    "the loss refuses made-up outputs",
    "the targets are not all classes of the output, or all the same",
    "outputs and targets are neither class scores nor numbers of one size",
    "the targets are all the same",
    "the targets are not yes or no",
    "the targets are no classes by place",
    "the shape of the output changes from pass to pass",
    "the loss refuses outputs of eval mode",
    "the loss refuses outputs of training mode",
    "two passes over one input differ, with the same random numbers too",
    "activations are rounded by their range over the batch",
    "the outputs do not vary from sample to sample",
    "the inputs do not vary from sample to sample",
    "the outputs do not vary with the input",
    "the size of an output depends on the number of samples",
    "the sequences do not differ",
    "the target is not the input shifted by one, so nothing says that order runs one way",
    "the output has no row for each position",
    "the output has no row for each sample",
    "the input is no single sequence",
    "the input is a table, not a sequence",
    "the sequences are of one element",
    "the inputs do not count samples along their first dimension",
    "{n} samples, too few",
    "sequences of {n} steps, too short",
    "the model is too large to be copied",
    "the model cannot be copied: copying it gave a {kind}",
    "the model cannot be copied: {error}",
    "the model does not go into double precision",
    "the model does not go into double precision: {error}",
    "the model refuses a batch of {n} in {mode} mode",
    "the model refuses a batch of {n} in {mode} mode: {error}",
    "the output holds no floating-point tensor",
    "the output holds no real floating-point tensor",
    "the outputs are not all finite",
    "every trainable parameter gets a gradient",
    "no trainable matrix is all zero",
    "the targets are no numbers of three values or more",
    "outputs and targets are no rows of shares",
    "the outputs are not finite in double precision either",
    "the outputs have another shape in double precision",
    "the parameters are not in float32 throughout",
    "the loss is no tensor with one real number",
    "the model returns one tensor, and no posterior beside it",
    "no two outputs look like mean and variance of a posterior",
    "the loss is not finite",
    "the loss cannot be differentiated",
    "the loss cannot be differentiated: {error}",
    "the gradients are sparse, which Adam does not take",
    "the optimizer calls the model itself",
    "{kind} refuses to make a step",
    "{kind} refuses to make a step: {error}",
    "no parameter is trainable",
    "the loss is not finite, or no parameter reaches it",
    "outputs and targets cannot be compared here",
    "{kind} cannot be initialised anew",
    "the model beats a constant guess, so the targets hold something to learn",
    "the outputs are no class scores",
    "the outputs are no class scores, one answer a sample",
    "no class is rare",
    "the targets are no classes, one a sample",
    "no tanh or sigmoid is called as a function between layers",
    "nothing is looked up by a code of each sample",
    "the training data are many, or augmented",
    "the model is not far better on its training data than on the data given",
    "the samples of both splits are not of one shape",
    "all targets are the same",
    "too few samples to count rare classes",
    "the targets are no tokens, one for each place",
    "the targets are not the input, as it is or moved",
    "the loss asks for no token at one place of the output",
    "no target is a class",
    "the targets are no tensor",
    "not one optimizer that follows one loss",
    "no batches of two samples or more with targets",
    "no batches of eight samples or more with targets",
    "no training batches of two samples or more with targets were given",
    "neither batch norm nor dropout, so both modes are the same",
    "the model works (score {score})",
    "going on with the training gave no finite loss",
    "the optimizer takes no more",
    "the time given to experiments was used up",
    "not finite: {names}",
    "the batches differ in structure",
    "the inputs are no floating-point numbers, between which nothing lies",
    "fewer than two affine layers, so there is nothing to put between them",
    "no affine layer feeds the last one, so there is nothing to put between them",
    "of inputs between and beyond those given, {reason}",
    "no affine layer ran",
    "what follows the last affine layer is more than an activation",
    "the last affine layer has no part in the first output",
    "the driven outputs are not all finite",
    "no weight matrix with two rows",
    "no parameter reaches the loss",
    "the gradient is zero or not finite at every step",
    "the loss does not depend on the recurrent layer",
    "no layer works step by step",
    "noise on the input",
    "noise inside",
    "random numbers",
)

_RUN = (
    "stopped early, after {n} of {m} epochs",
    "stopped early, after {n} of {m} epochs; best epoch {best}",
    "stopped early, at step {n} of {m}",
    "saved at step {n} of {m}",
    "the last line was cut off and left out",
    "{n} of {m} lines were no JSON objects and were left out",
    "by epoch, {names}: the mean of what was logged in each epoch",
    "only the first {n} scalars were read",
    "the values were not in the order of their {axis}s and were sorted",
    "{n} cells held no number and were left out",
    "{n} lines had fewer or more cells than the header names",
    "not read: {names}",
    "the last {n} bytes of an event file are torn or damaged and were left out",
    "{n} damaged line of {name} left out",
    "{n} damaged lines of {name} left out",
    "no end was written: the process was killed, or is still running",
    "an optimizer that came later ({kind}) is not watched",
    "{name} is no longer written",
    "optimizer {n} ({kind}) is no longer watched",
    "parameters are sharded: norms and steps are those of the part on the first process",
    "{kind} takes its first step",
    "{kind} takes its first step, on parameters of {names}",
    "the parameters at the end are unknown",
    "the forward pass is no longer watched",
)

_FILES = (
    "state dict",
    "state dict (entries that are no tensors left out: {n})",
    "{name} of a training checkpoint",
    "{name} of a training checkpoint (averaged weights)",
    "{name} of a training checkpoint ({names} left aside: averaged weights)",
    "{name} of a training checkpoint, joined under these names",
    "{text} inside {name}",
    "tensors inside tables, under the names of their keys",
    "{n} shards",
    "{text}, prefix {name} taken off all names",
    "{text}, optimizer of {name}",
    "{text}, packed weights decoded: {n} of {name}",
    "{text}, left out of types that torch does not know: {n} of {name}",
    "distributed checkpoint in {n} files, {text}",
    "names as they are",
    "prefix {name} taken off all names",
    "prefix {name} added to all names",
    "{system}, {n} cores, 1 thread",
    "{system}, {n} cores, {m} threads",
    "the model's own loss",
    "{commit}, with changes",
    "{commit}, changes unknown",
)

_PARTS = (
    "architecture",
    "weights",
    "activations",
    "gradients",
    "training",
    "dataset",
    "training dataset",
    "evaluation",
    "training evaluation",
    "trials",
    "trial {name}",
    "rule {name}",
    "flow",
    "splits",
    "total",
    "model",
    "checkpoint",
    "train_data",
    "train data",
    "loss",
    "history",
    "optimizer",
    "SGD with momentum",
    "Adagrad or RMSprop",
    "without moments",
    "depthwise convolution",
    "expert {n} of {m}",
    "state space input",
    "query",
    "key",
    "value",
    "gate",
    "up",
    "cell",
    "state",
    "steering",
    "steps",
    "attention qkv",
    "attention qkv, not cut apart",
    "attention query",
    "attention key",
    "attention value",
    "attention output",
    "mlp gate and up",
    "mlp gate",
    "mlp up",
    "mlp down",
    "forget gate",
    "input gate",
    "new gate",
    "output gate",
    "reset gate",
    "update gate",
    "convolution",
    "linear",
    "layers",
    "vocabulary",
    "width",
    "tied embeddings",
    "bias",
    "norm",
    "embedding",
    "other",
    "pictures",
    "attention",
    "course",
    "deployment",
    "spectra",
    "export",
    "non-finite",
    "latency",
    "data",
    "earlier",
    "noise",
    "first batch",
    "asked for",
    "not asked for",
)

TITLES = ("training run", "Handwritten digits, a small CNN", "Iris, a 4-10-3 net")

TEMPLATES: tuple[str, ...] = (
    *(*_DATA, *_PROBES, *_EVALUATION, *_FIT, *_ATTENTION, *_PICTURES, *_DEPLOYMENT, *_TRIALS),
    *(*_RUN, *_FILES, *_PARTS, *TITLES),
)

_PLACE = re.compile(r"\{(\w+)\}")


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return a pattern for each template with places, the one with the most words of its own first."""
    open_ones = sorted((t for t in TEMPLATES if _PLACE.search(t)), key=lambda t: -len(_PLACE.sub("", t)))
    return [(re.compile(_pattern(t), re.DOTALL), t) for t in open_ones]


def _pattern(template: str) -> str:
    parts = _PLACE.split(template)
    # names of places stand at odd indices
    return "".join(f"(?P<{part}>.+?)" if i % 2 else re.escape(part) for i, part in enumerate(parts))


def told(text: str) -> str:
    """Say in the language of the page what a fact says in English."""
    if not text or spoken() == "en":
        return text
    known = _known(text)
    if known is not None:
        return known
    for sign in ("; ", ": "):
        if sign in text:
            parts = text.split(sign)
            said = [told(part) for part in parts]
            return text if said == parts else _(sign).join(said)
    return text


def _known(text: str) -> str | None:
    """Return what a text of a template is in the language of the page; None where no template has it."""
    if text in TEMPLATES:
        return _(text)
    for pattern, template in _patterns():
        found = pattern.fullmatch(text)
        if found is not None:
            return _(template).format(**{place: told(value) for place, value in found.groupdict().items()})
    return None
