"""The structs of what is shown as pictures: samples, kernels, feature maps, features in two dimensions, generated ones.

Pictures are small encoded files, so whatever shows them needs neither the model nor the data. ``None`` means *not
made*, and ``left_out`` says what was not made and why.
"""

from __future__ import annotations

import struct
from typing import Literal

from msgspec import Struct

MAX_SIDE = 4096
_PNG = b"\x89PNG\r\n\x1a\n"


CLASS_COLOURS = (
    "#000000",
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#6c2400",
    "#d8fff0",
    "#9024ff",
    "#241890",
)
"""Of classes in maps, in their order and then from the second on again.

The first eight are those of Okabe and Ito 2008; the others are as far from them, and from each other, as four colours
can be for an eye that lacks a kind of cone.
"""
NO_CLASS = 255
"""The place of a map belongs to no class."""


def colour_of(kind: int) -> int:
    """Return the place of a class among the colours: only the first class is black."""
    return kind if kind < len(CLASS_COLOURS) else 1 + (kind - 1) % (len(CLASS_COLOURS) - 1)


class Picture(Struct, frozen=True, kw_only=True):
    """A small image as a file, base64 in JSON."""

    width: int
    """Pixels."""
    height: int
    format: Literal["png", "webp"]
    data: bytes

    def __post_init__(self) -> None:
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE):
            raise ValueError(f"a picture is at most {MAX_SIDE} pixels wide and high")
        if self.format == "png" and (
            self.data[:8] != _PNG or self.data[16:24] != struct.pack(">II", self.width, self.height)
        ):
            raise ValueError("the picture is no PNG file of its width and height")
        if self.format == "webp" and (self.data[:4] != b"RIFF" or self.data[8:12] != b"WEBP"):
            raise ValueError("the picture is no WebP file")


class Display(Struct, frozen=True, kw_only=True):
    """How inputs are turned into what is shown."""

    kind: Literal["image", "volume", "frames", "series", "tokens", "row"]
    shape: list[int]
    """Of one sample."""
    scale: Literal["as given", "normalisation", "span"]
    """As given: bytes, or numbers from 0 to 1. Normalisation: undone with ``mean`` and ``std``. Span: black is ``low``,
    white ``high``, the extremes over the reference samples."""
    mean: list[float] = []
    std: list[float] = []
    low: float | None = None
    high: float | None = None
    channels: list[int] = []
    """The channels shown as red, green and blue, where there are neither one nor three."""
    magnitude: bool = False
    """The inputs are complex, and their absolute value is shown."""


class SampleView(Struct, frozen=True, kw_only=True):
    """One sample: what the model was given, what it said, what was wanted."""

    place: int
    """In the order of reading, from 0."""
    key: str
    """Hash of the input: the same sample has the same key in every report."""
    role: Literal["reference", "worst"]
    picture: Picture | None = None
    heat: Picture | None = None
    """Grad-CAM laid over the picture."""
    truth: Picture | None = None
    """Of a sample with a class for each place: the true ones."""
    answer: Picture | None = None
    """Those that the model named."""
    heat_line: list[float] = []
    """Grad-CAM of a series over its time, as shares of the most."""
    lines: list[list[float | None]] = []
    """Of a series: a few features over time, thinned; None where a value is not finite."""
    values: list[float | None] = []
    """Of a table: the first columns."""
    tokens: list[int] = []
    """Of a sequence of tokens: the first ones."""
    nonfinite: int = 0
    target: float | None = None
    """Class index or number."""
    prediction: float | None = None
    confidence: float | None = None
    """Probability of the predicted class, by softmax or sigmoid of the outputs."""
    loss: float | None = None
    """Cross-entropy or squared error of this sample alone; of a map the mean over a grid of its places."""


class KernelSheet(Struct, frozen=True, kw_only=True):
    """Kernels of one convolution, side by side, each scaled by its own largest weight; zero is the middle."""

    layer: str
    shape: list[int]
    """Of the weight."""
    filters: list[int]
    """The filters shown, in reading order."""
    columns: int
    colour: bool
    """All three input channels as red, green and blue; else one input channel in grey: the only one, or that with the
    largest norm."""
    dead: int
    """Filters of the layer whose norm is below a thousandth of the median."""
    dead_shown: list[int] = []
    """Those of them that are shown, in a frame."""
    picture: Picture


class MapSheet(Struct, frozen=True, kw_only=True):
    """What some channels of a layer made of one sample, the most active first."""

    layer: str
    kind: str
    sample: int
    """Place in ``PictureFacts.samples``."""
    n_channels: int
    size: list[int]
    """Of the map in the model: height and width, steps of time, or depth, height and width; the picture may be smaller,
    and shows of a volume its middle slices."""
    channels: list[int]
    columns: int
    signed: bool
    """There are values below zero: zero is the middle grey. Else black is zero."""
    flat: int
    """Channels of one value on all samples looked at."""
    flat_shown: list[int] = []
    n_samples: int
    picture: Picture


class Projection(Struct, frozen=True, kw_only=True):
    """Features before the last layer in two dimensions. Coordinates are whole numbers from 0 to 999."""

    method: Literal["pca", "tsne", "umap"]
    layer: str
    """The last layer, whose input is shown."""
    n_features: int
    seen: int
    """Samples that the points were taken from: those whose hash is lowest."""
    explained: list[float] = []
    """Of PCA: shares of the variance of both axes."""
    x: list[int]
    y: list[int]
    targets: list[int]
    """Class of each point; of numbers the fifth of their range in order, 0 to 4."""
    predictions: list[int] = []
    numbers: bool = False

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.targets) or len(self.predictions) not in (0, len(self.x)):
            raise ValueError("a projection has a target for every point")


class GenerationFacts(Struct, frozen=True, kw_only=True):
    """Samples that the model makes against real ones, in a space of features."""

    features: str
    """What made the features: the name of an extractor, or '' for pixels averaged over a coarse grid."""
    n_features: int
    n_real: int
    n_fake: int
    distance: float
    """Frechet distance between Gaussians of the means and covariances of both (Heusel et al. 2017)."""
    floor: float | None
    """The same between two halves of the real samples: what sampling alone gives."""
    spread: float
    """Trace of the covariance of the generated features over that of the real ones."""
    coverage: float | None
    """Share of real samples with a generated one no further than their fifth real neighbour (Naeem et al. 2020)."""
    coverage_expected: float | None
    """The same of one half of the real samples by the other."""
    inside: float | None = None
    """Share of generated samples no further from a real one than that one's fifth real neighbour (Kynkaanniemi et al.
    2019): near the expected one where what is made looks real, however little of it there is."""
    inside_expected: float | None = None
    """The same of one half of the real samples in the other."""
    apart: float | None = None
    """Median distance of a generated sample to the next one, over that of as many real ones: 1 is alike."""
    copies: int
    """Generated samples that are the double of another, to a thousandth of the deviation of the real ones."""
    paired: bool
    """Output and target belong together, sample by sample."""
    real: Picture | None = None
    fake: Picture | None = None
    columns: int = 0


class LeftOut(Struct, frozen=True, kw_only=True):
    """Pictures that were not made."""

    part: Literal["samples", "heat", "kernels", "maps", "projection", "generation"]
    why: Literal["budget", "failed", "not possible"]
    n: int = 0
    reason: str = ""


class PictureFacts(Struct, frozen=True, kw_only=True):
    """All pictures of a report."""

    budget: int
    """Bytes that the pictures may take, before base64."""
    used: int
    display: Display | None = None
    task: Literal["classes", "numbers", "places", ""] = ""
    """Places: a class for each place of a map."""
    classes: list[str] = []
    shown_classes: list[int] = []
    """Those that occur in the maps shown."""
    seen: int = 0
    """Samples that the shown ones were chosen from."""
    samples: list[SampleView] = []
    heat_layer: str | None = None
    """The layer that Grad-CAM looks at."""
    kernels: list[KernelSheet] = []
    kernel_layers: int = 0
    """Convolutions with kernels larger than one place."""
    maps: list[MapSheet] = []
    map_layers: int = 0
    """Layers whose outputs are maps."""
    patterns: list[str] = []
    """By which layers were chosen, when they were named."""
    projection: Projection | None = None
    generation: GenerationFacts | None = None
    left_out: list[LeftOut] = []
