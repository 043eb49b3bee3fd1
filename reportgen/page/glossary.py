"""The glossary: the words that headings and labels of a page use, what they mean, their formula, their source.

A word is found by the label it stands behind, so that sections need to know nothing of it; only words that a page
uses are listed, and each heading that uses one leads there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from .blocks import Block, Group, KeyValues, Section, Table, Term, Terms
from .language import N_, _


class Word(Struct, frozen=True):
    """One entry: the labels behind which it stands, untranslated, the first of them its title."""

    labels: tuple[str, ...]
    text: str
    formula: str = ""
    source: str = ""


WORDS = {
    "rms": Word(
        (N_("rms"), N_("Weight rms")),
        N_("Root mean square: the typical size of a value, whatever its sign."),
        "√(Σx² / n)",
    ),
    "std": Word(
        (N_("std"), N_("Output std")),
        N_("Standard deviation of the population: how far values lie from their mean."),
        "√(Σ(x − x̄)² / n)",
    ),
    "gradient-rms": Word(
        (N_("Gradient rms"),),
        N_("Root mean square of the derivative of the loss by each weight, over all elements and batches."),
        "√(Σ(∂L/∂w)² / n)",
    ),
    "update-ratio": Word(
        (N_("Step"), N_("step")),
        N_("Length of one step of the optimizer beside the length of the weights it moves; about 0.001 is usual."),
        "‖Δw‖ / ‖w‖",
        "Karpathy, A recipe for training neural networks, 2019",
    ),
    "silent": Word(
        (N_("Silent"),),
        N_("Channels or units that were above zero on no sample at no place: behind a ReLU they pass nothing on."),
        "",
        "Maas, Hannun and Ng, 2013",
    ),
    "flops": Word(
        (N_("FLOPs"), N_("Forward pass"), N_("FLOPs of the pass"), N_("FLOPs per sample")),
        N_("Floating-point operations of one forward pass; a multiplication and an addition count as two."),
        "2 · MACs",
    ),
    "mult-adds": Word(
        (N_("Mult-adds of the pass"),),
        N_(
            "Multiplications with their addition, as torchinfo counts them: of the layers that it knows, and of no "
            "function; those of FLOPs are all."
        ),
    ),
    "directions": Word(
        (N_("Directions"), N_("Participation")),
        N_("Participation ratio: how many directions share the variance; independent channels show all of theirs."),
        "(Σλ)² / Σλ²",
        "Gao et al., 2017",
    ),
    "correlation": Word(
        (N_("Correlation"),),
        N_("How alike channels are: 0 for independent ones, 1 where one tells the other."),
    ),
    "stable-rank": Word(
        (N_("Stable rank"),),
        N_("How many directions a matrix acts in, weighted by their strength."),
        "‖W‖²_F / σ²_max",
        "Rudelson and Vershynin, 2007",
    ),
    "effective-rank": Word(
        (N_("Effective rank"),),
        N_("How many directions a matrix uses, by the entropy of its singular values."),
        "exp(−Σ p ln p), p = σ / Σσ",
        "Roy and Vetterli, 2007",
    ),
    "alpha": Word(
        (N_("Alpha"),),
        N_("Exponent of a power law through the largest squared singular values, where one fits."),
        "ρ(λ) ∝ λ^−α",
        "Martin, Peng and Mahoney, 2021",
    ),
    "spikes": Word(
        (N_("Spikes"),),
        N_("Singular values beyond the edge that a random matrix of the same shape and variance has."),
        "σ(√n + √m)",
        "Marchenko and Pastur, 1967",
    ),
    "kurtosis": Word(
        (N_("Kurtosis"),),
        N_("How heavy the tails of a distribution are, beside a normal one, which has 0."),
        "Σ(x − x̄)⁴ / (n s⁴) − 3",
    ),
    "wilson": Word(
        (N_("95 % interval"),),
        N_(
            "Where the true value lies with 95 % confidence, given so many samples: by Wilson's formula for a share, "
            "by DeLong's for an area under a curve, by how far the samples spread (delta method, jackknife, bootstrap) "
            "for other scores."
        ),
        "(p̂ + z²/2n ± z √(p̂(1−p̂)/n + z²/4n²)) / (1 + z²/n), z = 1.96",
        "Wilson, 1927",
    ),
    "precision": Word(
        (N_("Precision"),), N_("Of the samples that were given this class, the share that has it."), "TP / (TP + FP)"
    ),
    "recall": Word((N_("Recall"),), N_("Of the samples of this class, the share that was given it."), "TP / (TP + FN)"),
    "f1": Word((N_("F1"), N_("Mean F1")), N_("Harmonic mean of precision and recall."), "2 P R / (P + R)"),
    "balanced-accuracy": Word(
        (N_("Balanced accuracy"),),
        N_("Mean recall of the classes: what the accuracy would be if all were equally frequent."),
        "Σ recall / K",
    ),
    "r2": Word(
        (N_("R²"),),
        N_("Share of the variance of the targets that the predictions explain; 0 is what their mean would reach."),
        "1 − Σ(y − ŷ)² / Σ(y − ȳ)²",
    ),
    "mae": Word((N_("MAE"),), N_("Mean absolute error, in the unit of the target."), "Σ|y − ŷ| / n"),
    "rmse": Word((N_("RMSE"),), N_("Root mean squared error, in the unit of the target."), "√(Σ(y − ŷ)² / n)"),
    "ece": Word(
        (N_("Expected calibration error"), N_("Calibration error"), N_("Calibration error beyond chance"), N_("ECE")),
        N_("How far confidence and accuracy lie apart, over bins of confidence, weighted by their samples."),
        "Σ n_b / n · |acc_b − conf_b|",
        "Naeini, Cooper and Hauskrecht, 2015; Guo et al., 2017",
    ),
    "mean-gap": Word(
        (N_("Mean gap"),),
        N_("How far a batch norm's running mean lies from the mean of the data that passed it."),
        "|x̄ − μ| / √(σ² + ε)",
    ),
    "variance-gap": Word(
        (N_("Variance gap"),),
        N_("How far a batch norm's running variance lies from the variance of the data that passed it."),
        "|ln((s² + ε) / (σ² + ε))|",
    ),
    "entropy": Word(
        (N_("Entropy by head"),),
        N_("How evenly a head of attention looks at its keys: 0 at one of them, 1 at all alike."),
        "−Σ a ln a / ln n",
    ),
    "diversity": Word(
        (N_("Diversity"),),
        N_("Spread of the means of a layer's channels beside that of random channels, which is 1."),
    ),
    "peak": Word(
        (N_("Peak of the forward pass"),),
        N_("Most bytes that tensors made in the pass took at one time, counted operator by operator."),
    ),
}


def with_glossary(sections: Sequence[Section]) -> list[Section]:
    """Return the sections with their headings linked, and the glossary of the words they use before the last one."""
    places = {_(label): id for id, word in WORDS.items() for label in word.labels}
    used: set[str] = set()

    def place(text: str) -> str:
        if text not in places:
            return ""
        used.add(places[text])
        return f"term-{places[text]}"

    linked = [replace(s, blocks=[_linked(b, place) for b in s.blocks]) for s in sections]
    if not used:
        return linked
    terms = [_term(id, WORDS[id]) for id in WORDS if id in used]
    terms.sort(key=lambda t: t.title.casefold())
    intro = _("The measures that headings of this page name, with their formulas and where they come from.")
    section = Section(id="glossary", title=_("Glossary"), intro=intro, blocks=[Terms(terms=terms)])
    return [*linked[:-1], section, linked[-1]]


def _term(id: str, word: Word) -> Term:
    return Term(id=f"term-{id}", title=_(word.labels[0]), text=_(word.text), formula=word.formula, source=word.source)


def _linked(block: Block, place: Callable[[str], str]) -> Block:
    """Return a block whose headings and labels lead to ``place(text)``."""
    if isinstance(block, Group):
        return replace(block, blocks=[_linked(b, place) for b in block.blocks])
    if isinstance(block, Table):
        return replace(block, columns=[replace(c, term=place(c.title)) for c in block.columns])
    if isinstance(block, KeyValues):
        return replace(block, pairs=[replace(p, term=place(p.label)) for p in block.pairs])
    return block


def unlinked(section: Section) -> Section:
    """Return a section whose headings lead nowhere, for a page without its glossary."""
    return replace(section, blocks=[_linked(b, lambda text: "") for b in section.blocks])
