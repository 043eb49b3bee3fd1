"""Making the experiments one after the other inside a fixed time, the cheap and decisive ones first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import nn
from torch.optim import Optimizer

from ...document.trials import Trial, TrialFacts
from ...errors import one_line
from ...subject.data import Batch, call
from . import (
    ahead,
    anew,
    answers,
    axes,
    chance,
    claims,
    classes,
    confidence,
    coupling,
    derivative,
    drowned,
    ends,
    favoured,
    fewer,
    given,
    idle,
    latent,
    later,
    learning,
    longer,
    lookups,
    misfits,
    modes,
    noise,
    pairing,
    passage,
    preparation,
    repairs,
    rounding,
    shape,
    sharp,
    sides,
    signs,
    smoothed,
    stillness,
    tags,
    through_time,
)
from .lab import (
    ROWS,
    Clock,
    Lab,
    Loss,
    NotApplicableError,
    Outfit,
    OutOfTimeError,
    Result,
    answer,
    copied,
    optimizers_own,
)
from .sample import first_samples

Experiment = Callable[[Lab], Result]

# name, experiment, forward passes that it costs at least
EXPERIMENTS: tuple[tuple[str, Experiment, int], ...] = (
    ("eval-twice", chance.eval_twice, 3),
    ("one-step", learning.one_step, 4),
    ("outputs-alone", idle.outputs_alone, 1),
    ("without-gradient", idle.without_gradient, 6),
    ("zero-start", stillness.zero_start, 10),
    ("loss-of-answers", answers.loss_of_answers, 1),
    ("loss-shifted", answers.loss_shifted, 1),
    ("far-targets", claims.far_targets, 1),
    ("shares", claims.shares, 1),
    ("zero-as-label", signs.zero_as_label, 1),
    ("inputs-as-weights", signs.inputs_as_weights, 1),
    ("loss-of-pairs", pairing.loss_of_pairs, 1),
    ("loss-domain", pairing.loss_domain, 1),
    ("loss-without-target", pairing.loss_without_target, 1),
    ("loss-penalty", pairing.loss_penalty, 1),
    ("neighbours", coupling.neighbours, 6),
    ("later-tokens", later.later_tokens, 3),
    ("both-ways", later.both_ways, 4),
    ("targets-ahead", ahead.targets_ahead, 1),
    ("targets-given", given.targets_given, 5),
    ("tags-slipped", tags.tags_slipped, 4),
    ("equal-units", shape.equal_units, 0),
    ("affinity", shape.affinity, 10),
    ("numbers-passed", passage.numbers_passed, 5),
    ("places-smoothed", smoothed.places_smoothed, 10),
    ("head-range", shape.head_range, 2),
    ("two-sides", sides.two_sides, 6),
    ("sums-to-one", axes.sums_to_one, 1),
    ("inputs-permuted", coupling.inputs_permuted, 2),
    ("in-double", rounding.in_double, 6),
    ("train-and-eval", modes.train_and_eval, 8),
    ("tokens-reordered", coupling.tokens_reordered, 3),
    ("as-it-is", confidence.as_it_is, 4),
    ("rare-favoured", favoured.rare_favoured, 16),
    ("score-scale", sharp.score_scale, 4),
    ("function-ends", ends.function_ends, 8),
    ("lookups", lookups.lookups, 2),
    ("prepared-otherwise", preparation.prepared_otherwise, 20),
    ("misfits", misfits.misfits, 32),
    ("gradient-check", derivative.gradient_check, 30),
    ("latent-units", latent.latent_units, 1),
    ("gradient-by-time", through_time.gradient_by_time, 4),
    ("fresh-start", learning.fresh_start, 2),
    # what can name another cause comes before what says that something is wrong: first what has no other witness
    ("unseen-half", anew.unseen_half, 300),
    ("learned-anew", anew.learned_anew, 600),
    ("as-classes", classes.as_classes, 600),
    ("head-drowned", drowned.head_drowned, 300),
    ("other-ways", repairs.other_ways, 600),
    ("one-batch", learning.one_batch, 60),
    ("trained-on", longer.trained_on, 300),
    ("half-as-many", fewer.half_as_many, 4),
    ("shuffled-labels", learning.shuffled_labels, 200),
    ("gradient-noise", noise.gradient_noise, 60),
)
TIME_UP = "the time given to trials was used up"


def run(
    model: nn.Module,
    loss: Loss | None,
    optimizers: tuple[Optimizer, ...],
    given: list[Batch],
    training: list[Batch],
    budget: float,
    seed: int,
    wide: tuple[list[Batch], list[Batch]] = ([], []),
    *,
    augmented: bool = False,
    peak: float = 0.0,
    held: frozenset[str] = frozenset(),
) -> tuple[TrialFacts, dict[str, float]]:
    """Make every experiment on copies; return what came out, and the seconds that each took.

    ``given`` and ``training``: some batches of either split; the second may be empty. ``wide``: more of
    both, for what learns from them; ``augmented``: training samples are made anew at each reading; ``peak``: highest
    learning rate of the run, as far as it was recorded; ``held``: layers that it kept in eval mode in training. The
    caller holds the guard of the original: nothing here writes to it, but copying and a shared loss call its code.
    Raises NotApplicableError when the model cannot be copied.
    """
    lab = laboratory(
        model,
        loss,
        optimizers,
        given,
        training,
        Clock(budget),
        seed,
        wide,
        augmented=augmented,
        peak=peak,
        held=held,
    )
    trials: list[Trial] = []
    seconds: dict[str, float] = {}
    for name, experiment, passes in EXPERIMENTS:
        began = time.perf_counter()
        trials.append(_made(lab, name, experiment, passes))
        lab.model.eval()
        took = time.perf_counter() - began
        if trials[-1].status == "done":
            seconds[f"trial {name}"] = round(took, 4)
            if not lab.clock.forward:
                lab.clock.forward = took / max(passes, 1)
    return TrialFacts(trials=trials, budget=budget, out_of_time=any(t.late for t in trials)), seconds


def laboratory(
    model: nn.Module,
    loss: Loss | None,
    optimizers: tuple[Optimizer, ...],
    given: list[Batch],
    training: list[Batch],
    clock: Clock,
    seed: int,
    wide: tuple[list[Batch], list[Batch]] = ([], []),
    *,
    augmented: bool = False,
    peak: float = 0.0,
    held: frozenset[str] = frozenset(),
) -> Lab:
    """Copy the model with its optimizers and its loss, and lay the batches beside it."""
    model.eval()
    given, training = _fitting(model, given), _fitting(model, training)
    return Lab(
        outfit=_copy(Outfit(model, optimizers, loss), given or training),
        owned=optimizers_own(optimizers) | frozenset(id(p) for p in model.parameters()),
        given=given or training,
        training=training or given,
        clock=clock,
        seed=seed,
        wide_given=wide[0],
        wide_training=wide[1],
        augmented=augmented,
        peak=peak,
        held=held,
    )


def _fitting(model: nn.Module, batches: list[Batch]) -> list[Batch]:
    """Return the batches; the first alone where the model takes no batch that is made of the samples of several."""
    made = first_samples(batches, ROWS)
    if made is None or made.first is None or len(batches) < 2:
        return batches
    with torch.no_grad():
        try:
            call(model, made)
        except Exception:  # the caller's code
            return batches[:1]
    return batches


def _copy(outfit: Outfit, given: list[Batch]) -> Outfit:
    """Copy everything, after a pass without a graph: a weight that is computed anew in each pass can be copied then."""
    if given:
        with suppress(NotApplicableError):
            answer(outfit.model, given[0])
    try:
        return copied(outfit)
    except NotApplicableError:
        raise
    except Exception as error:
        raise NotApplicableError(f"the model cannot be copied: {one_line(error)}") from error


def _made(lab: Lab, name: str, experiment: Experiment, passes: int) -> Trial:
    try:
        lab.clock.need(passes)
        result = experiment(lab)
    except OutOfTimeError:
        return Trial(name=name, status="skipped", reason=TIME_UP, late=True)
    except NotApplicableError as reason:
        return Trial(name=name, status="skipped", reason=str(reason))
    except Exception as error:
        return Trial(name=name, status="skipped", reason=one_line(error), failed=True)
    bad = [key for key, value in result.numbers.items() if not math.isfinite(value)]
    if bad:
        return Trial(name=name, status="skipped", reason=f"not finite: {', '.join(bad)}", failed=True)
    return Trial(name=name, status="done", numbers=result.numbers, detail={k: v for k, v in result.detail.items() if v})
