"""Settings of one examination, in one frozen struct that is handed on whole."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from .arguments import WHOLE, are_texts, expect, is_number, is_whole

MAX_SEED = 2**32 - 1
SECTIONS = (
    "diagnoses",
    "evaluation",
    "pictures",
    "training",
    "architecture",
    "weights",
    "activations",
    "attention",
    "gradients",
    "dataset",
    "deployment",
    "trials",
    "overview",
    "by-layer",
    "coverage",
    "provenance",
    "rules",
    "glossary",
)
LANGUAGES = ("en", "zh")
TASKS = ("multiclass", "binary", "multilabel", "regression", "tokens", "segmentation")
TaskName = Literal["multiclass", "binary", "multilabel", "regression", "tokens", "segmentation"]
_PROJECTIONS = ("pca", "tsne", "umap")
_SECTIONS = ", ".join(map(repr, SECTIONS))
_TASK_EXPECTED = f"one of {', '.join(map(repr, TASKS))}, or a dict of head and task"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``examine`` may be told beside the model and the data.

    Raises OptionError for a value that a setting cannot have.
    """

    title: str | None = None
    task: TaskName | dict[str, TaskName] | None = None
    """None: inferred from outputs and targets. A dict for a model of several heads: name of the target -> task."""
    class_names: list[str] | None = None
    tokens: Any = None
    """Names of tokens: a list by number, a dict of number and name or of name and number, a tokenizer, a function of
    one number, or the path of a JSON file or of a text file with a name a line."""
    slices: list[str] = []
    """Entries of a batch that group its samples, such as a site or a length: scores are told by group, and the model is
    not handed them. They stand in a dict batch, or in a dict behind ``(input, target)``."""
    device: str | None = None
    """Where to run the model; None: where its parameters are."""
    input_size: list[int] | None = None
    """Shape of one sample, without the batch; used when no data are given."""
    batch_size: int = 8
    """Of the synthetic batches made from ``input_size``."""
    max_batches: int | None = None
    """Stop reading the data after so many batches; None: all of them."""
    gradient_batches: int = 4
    merge_processes: bool | None = None
    """Put the scores together that several processes of ``torch.distributed`` have, each of its part of the data. None:
    where a distributed sampler deals out the samples; True: whatever the data are; False: never."""
    trial_budget: float = 20.0
    """Seconds that all experiments on copies of the model together may take; 0: none are made."""
    inference_budget: float | None = None
    """Seconds for timing forward passes, by batch size and by group. None: a few sizes, for a tenth of the time that
    measuring took before and two seconds at most, and single samples of the groups that batches carry, for a second at
    most, to name the slowest; 0: nothing is timed."""
    export_budget: float = 0.0
    """Seconds after which no further export is tried; 0: none is. One that was begun is finished."""
    earlier: list[str] = []
    """Earlier checkpoints of the weights file that is examined, the earliest first: what moved from one to the next."""
    spectra: Literal["off", "fast", "exact"] | None = None
    """Singular values of weights: off; fast, estimated by a few steps of Lanczos; exact, all of them where rows or
    columns are at most 4096. None: fast for a weights file, off for a model."""
    pictures: int = 32_000
    """Bytes that the pictures in the report may take, before they are written as text; 0: none are made."""
    sections: list[str] = []
    """Sections of the page that are shown, by their ids; empty: all. Diagnoses and coverage always stay, and everything
    is measured and judged all the same, but for pictures that no section shows."""
    layers: list[str] | str = []
    """A pattern, such as "layer1.*", or several, of the layers whose kernels and maps are shown. Empty: the first
    convolution and deeper ones, evenly spaced; and the last layer of every size of map."""
    projection: Literal["pca", "tsne", "umap"] = "pca"
    """How features before the last layer are laid out in two dimensions; UMAP needs the package umap-learn."""
    input_mean: list[float] | None = None
    """What was subtracted from the channels of images, to be added again for display; None: what a ``Normalize`` in the
    data set's transforms says."""
    input_std: list[float] | None = None
    """What they were divided by after that."""
    progress: bool = False
    """Show a bar on standard error while a weights file is read."""
    allow_globals: list[str] = []
    """Dotted names of pickled classes that a checkpoint may hold: whoever names one vouches for the file."""
    thresholds: dict[str, float] = {}
    """Overrides of ``health.thresholds.Thresholds`` by name."""
    rules: dict[str, Any] = {}
    """What the project sets for single rules: thresholds, severity, off, waivers; see ``health.policy``."""
    language: Literal["en", "zh"] = "en"
    """In which the report is shown, unless ``write`` or a command is told another; the facts are the same in all."""
    seed: int = 0
    """For synthetic inputs and for random layers while gradients are measured; the caller's RNG is left alone."""

    def __post_init__(self) -> None:
        for name, fits, expected in (*self._texts(), *self._numbers()):
            expect(f"Option {name}", getattr(self, name), fits, expected)

    @property
    def patterns(self) -> list[str]:
        """Return ``layers`` as a list."""
        return [self.layers] if isinstance(self.layers, str) else self.layers

    def _texts(self) -> list[tuple[str, bool, str]]:
        """Return name, whether its value fits, and what was expected, of the settings that are texts and tables."""
        # a torch.device too: this module does not import torch to ask
        device: Any = self.device
        placed = device is None or isinstance(device, str) or type(device).__name__ == "device"
        return [
            ("title", self.title is None or isinstance(self.title, str), "a text"),
            ("task", self.task is None or _is_task(self.task), _TASK_EXPECTED),
            ("class_names", self.class_names is None or are_texts(self.class_names), "a list of texts"),
            ("slices", are_texts(self.slices), "a list of entries of a batch"),
            ("device", placed, "a text such as 'cpu' or 'cuda:0'"),
            ("earlier", are_texts(self.earlier), "a list of paths"),
            ("spectra", self.spectra in (None, "off", "fast", "exact"), "one of 'off', 'fast', 'exact'"),
            ("allow_globals", are_texts(self.allow_globals), "a list of dotted names"),
            ("thresholds", isinstance(self.thresholds, dict), "a dict of name and number"),
            ("rules", isinstance(self.rules, dict), "a dict of rule and its settings"),
            ("sections", are_texts(self.sections) and set(self.sections) <= set(SECTIONS), f"some of {_SECTIONS}"),
            ("layers", are_texts(self.patterns), 'a pattern such as "layer1.*", or a list of them'),
            ("projection", self.projection in _PROJECTIONS, "one of 'pca', 'tsne', 'umap'"),
            ("language", self.language in LANGUAGES, "one of 'en', 'zh'"),
        ]

    def _numbers(self) -> list[tuple[str, bool, str]]:
        size: Any = self.input_size
        wait = self.inference_budget
        sized = size is None or (isinstance(size, (list, tuple)) and all(is_whole(n, -MAX_SEED) for n in size))
        return [
            ("input_size", sized, "the shape of one sample, such as [3, 224, 224]"),
            ("batch_size", is_whole(self.batch_size, 1), WHOLE),
            ("max_batches", self.max_batches is None or is_whole(self.max_batches, 1), f"{WHOLE}, or None for all"),
            ("gradient_batches", is_whole(self.gradient_batches, 1), WHOLE),
            ("inference_budget", wait is None or is_number(wait, 0), "seconds, 0 for no timing"),
            ("export_budget", is_number(self.export_budget, 0), "seconds, 0 for no export"),
            ("pictures", is_whole(self.pictures, 0), "bytes, 0 for no pictures"),
            ("input_mean", _are_numbers(self.input_mean), "a number for each channel, such as [0.485, 0.456, 0.406]"),
            ("input_std", self._is_std(), "a number above zero for each channel, as many as input_mean has"),
            ("trial_budget", is_number(self.trial_budget, 0), "seconds, 0 for no experiments"),
            ("seed", is_whole(self.seed, 0, MAX_SEED), "a whole number from 0 to 2**32 - 1"),
        ]

    def _is_std(self) -> bool:
        std = self.input_std
        if std is None or self.input_mean is None:
            return std is None and self.input_mean is None
        return _are_numbers(std) and len(std) == len(self.input_mean) and all(s > 0 for s in std)


def _are_numbers(value: Any) -> bool:
    several = isinstance(value, (list, tuple)) and bool(value)
    return value is None or (several and all(is_number(v, -MAX_SEED) for v in value))


def _is_task(value: Any) -> bool:
    named = list(value.values()) if isinstance(value, dict) else [value]
    return bool(named) and all(isinstance(name, str) and name in TASKS for name in named)
