"""Facts about the inside of weights: channels, quantisation, spectra. ``None`` = not measured."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Quantisation(Struct, frozen=True, kw_only=True):
    """Signal to quantisation noise in decibels, rounding to nearest with symmetric scales; None where it is exact."""

    int8_tensor: float | None = None
    """One scale for the tensor."""
    int8_channel: float | None = None
    """One scale for a channel."""
    int4_group: float | None = None
    """One scale for 128 values of a channel in a row."""


class Filters(Struct, frozen=True, kw_only=True):
    """How the channels of a layer compare with each other.

    Three figures that tutorials name stand beside their sound forms: as they are usually computed they depend on the
    fan-in and on chance (the diversity of random filters is 1/sqrt(fan_in) times their scale, not a constant).
    """

    dead: int
    """Channels whose norm is below 1e-3 of the median norm."""
    zero: int
    """Of these, channels that are zero throughout."""
    folded: bool = False
    """Norms are those behind the batch norm that follows: gain times norm over running deviation."""
    norm_low: float
    norm_median: float
    norm_high: float
    copies: int
    """Channels that repeat an earlier one exactly; over all channels, zero ones left out."""
    compared: int
    """Channels whose directions were compared, evenly spaced."""
    similar: int | None = None
    """Of these, channels nearly parallel to an earlier one: cosine above ``line``."""
    largest_cosine: float | None = None
    line: float | None = None
    """max(0.98, what two of so many random channels exceed once in a thousand layers)."""
    chance: float | None = None
    """That second figure alone: quantile of the largest of all pairs, by the Beta law, for ``dimensions``."""
    dimensions: float | None = None
    """Effective dimension of the channels: participation ratio of their covariance."""
    diversity: float
    """Kernel diversity: std of the channels' means times sqrt(fan_in) over the rms; 1 for random channels."""
    diversity_raw: float
    """Std of the channels' means, as tutorials have it."""
    dead_raw: float
    """Dead kernel ratio as tutorials have it: share of the compared channels with no value above 0.01."""
    correlation_raw: float | None = None
    """Kernel correlation as tutorials have it: mean of the five largest Pearson correlations among those compared."""


class Spectrum(Struct, frozen=True, kw_only=True):
    """Singular values of a matrix (channels, values of a channel)."""

    method: Literal["exact", "fast"]
    """exact: all singular values. fast: a few steps of Lanczos from random vectors, errors beside."""
    norm: float
    """Largest singular value."""
    norm_error: float = 0.0
    """Relative; how much larger the true one may be."""
    stable_rank: float
    """Sum of squares over the largest square."""
    stable_rank_null: float
    """The same of a random matrix of this shape, mn/(sqrt(m)+sqrt(n))²."""
    participation: float
    """(Σσ²)²/Σσ⁴."""
    participation_null: float
    """mn/(m+n)."""
    participation_error: float = 0.0
    """Relative, one standard deviation."""
    effective_rank: float | None = None
    """exp of the entropy of σ/Σσ (Roy and Vetterli 2007); from all singular values."""
    edge: float | None = None
    """Bulk edge (Marchenko and Pastur) of a random matrix with the robust variance of this one, as a singular value."""
    spikes: int | None = None
    """Singular values beyond the 99.9 % line of Tracy and Widom above that edge."""
    spike_energy: float | None = None
    """Their share of the sum of squares."""
    alpha: float | None = None
    """Exponent of a power law fitted to the tail of σ² (Clauset 2009); information, no verdict."""
    alpha_error: float | None = None
    alpha_tail: int | None = None
    """Values in the tail."""
    alpha_distance: float | None = None
    """Kolmogorov distance of the fit."""
    alpha_null: float | None = None
    """Alpha of a random normal matrix of this shape."""
    bars: list[int] = []
    """Singular values counted in even bins from 0 to ``norm``."""


class MatrixFacts(Struct, frozen=True, kw_only=True):
    """One matrix in a weight: the whole, or a part where several are stacked (query, key, value; gates)."""

    part: str = ""
    channels: int
    fan_in: int
    rms: float
    filters: Filters | None = None
    quantisation: Quantisation | None = None
    spectrum: Spectrum | None = None


class GainFacts(Struct, frozen=True, kw_only=True):
    """The gains of a norm layer."""

    median: float
    """Of the magnitude."""
    near_zero: int
    """Gains below 1e-3 of the median."""
    largest: float
    """Largest magnitude over the median."""
    negative: int
    spread: float | None = None
    """log10 of the 99th over the 1st percentile of the magnitude."""
    around_zero: bool = False
    """They scatter around 0: the layer multiplies by 1 + gain."""


class GateFacts(Struct, frozen=True, kw_only=True):
    """One gate of an LSTM or GRU, from weights alone."""

    name: str
    units: int
    bias: float
    """Mean over the units of both biases together."""
    low: float
    high: float
    closed: int
    """Units whose bias holds the gate shut, far beyond what inputs and states of unit size could change."""
    opened: int
    """Units whose bias holds it open."""


class EmbeddingFacts(Struct, frozen=True, kw_only=True):
    """The rows of an embedding."""

    rows: int
    zero: int
    copies: int
    """Rows that repeat an earlier one exactly, zero rows left out."""
    norm_low: float
    norm_median: float
    norm_high: float
    far: int
    """Rows whose norm is more than eight robust deviations from the median."""
    far_examples: list[int] = []


class ShapeFacts(Struct, frozen=True, kw_only=True):
    """The distribution of a tensor beyond its moments, from ``sample`` values."""

    sample: int
    exact: bool
    """The sample is the whole tensor."""
    kurtosis: float | None = None
    """Excess kurtosis: -1.2 uniform, 0 normal."""
    outlier: float | None = None
    """Largest magnitude over what is expected of so many normal values; exact."""
    fp16_overflow: bool = False
    """A value lies beyond the range of float16; exact."""
    fp16_lost: float | None = None
    """Share that float16 would turn to zero, zeros left out."""
    pattern: str | None = None
    """'2:4' when two in every four neighbours are zero."""
