"""A rule on models that see what they are asked for: the future of a sequence, or the targets themselves."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds

SECTION = "trials"
_BEYOND = 0.3
_PLACES = 200  # of sequences at which the loss was seen to ask for a token
_NEARLY_ALL = 0.99
_OTHERS = 0.9  # tokens that come again and again, as padding does, are their own and the next


def causal_leak(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """A model that predicts the next element sees it: changing later elements moves earlier outputs.

    The later half of each sequence is replaced; largest movement of an output before it, over the spread of all
    outputs, above 1e-3. Judged only where the target is the input shifted by one (up to four elements, all channels or
    one, or shifted by a loss that leaves out the last answer), so that the future is the answer, and only where outputs
    do not already depend on the other samples of the batch. Or a decoder is handed its targets as they stand, not moved
    on by one: one input is the targets, beside another sequence; answers depend on it at their own place and before
    alone, and follow it wherever it leads: mixed up over the samples, it is named in more than half of the changed
    places, 0.3 more than the targets are (of numbers: answers explain so much of its variance). Or, of sequences of
    tokens, what the loss asks for is seen in the gradient of the scores, or by asking it: at 99 % of 200 places or more
    the next token, from a model in which earlier answers move with later tokens; or at as many the token that stands
    there in the input itself, and the next one at fewer than nine tenths, from a model that reads one way (later
    answers move with earlier tokens, and not the other way round): all that it learns is to copy. What reads in both
    directions may rebuild its input on purpose.
    """
    yield from _given(report, limits)
    yield from _asked(report, limits)
    trial, coupled = report.tried("later-tokens"), report.tried("neighbours")
    if trial is None or trial.numbers["change"] <= limits.coupling:
        return
    if coupled is not None and coupled.numbers["change"] > limits.coupling:
        return
    yield Finding(
        rule="causal-leak",
        severity=Severity.ERROR,
        subject="output",
        section=SECTION,
        evidence=trial.numbers,
        threshold={"change": limits.coupling},
    )


def _given(report: Report, limits: Thresholds) -> Iterator[Finding]:
    trial = report.tried("targets-given")
    n = trial.numbers if trial is not None else {}
    if not n or n["ahead"] > limits.coupling or n["behind"] <= limits.coupling:
        return  # read in both directions, or place by place, as what rebuilds its input may
    if n["followed"] > limits.given_followed and n["followed"] > n["kept"] + _BEYOND:
        yield Finding(
            rule="causal-leak",
            severity=Severity.ERROR,
            subject="targets",
            section=SECTION,
            evidence={key: n[key] for key in ("followed", "kept", "length")},
            threshold={"followed": limits.given_followed},
            detail={"kind": "given"},
        )


def _asked(report: Report, limits: Thresholds) -> Iterator[Finding]:
    """Hold what the loss asks for against the direction that the model reads in."""
    trial, coupled = report.tried("both-ways"), report.tried("neighbours")
    if trial is None or report.tried("later-tokens") is not None:
        return
    if coupled is not None and coupled.numbers["change"] > limits.coupling:
        return
    ahead, behind = trial.numbers["ahead"], trial.numbers["behind"]
    loop, known = (report.training.loop if report.training is not None else None), report.tried("targets-ahead")
    own, next_, places = 0.0, 0.0, 0
    if loop is not None and min(loop.n_asked, loop.n_asked_before) >= _PLACES:
        own, next_, places = loop.n_asked_own / loop.n_asked, loop.n_asked_next / loop.n_asked_before, loop.n_asked
    elif known is not None and known.numbers["data"] == known.numbers["loss"] == 0:
        own = 1.0
    if next_ >= _NEARLY_ALL and ahead > limits.coupling:
        kind, evidence = "next", {"change": ahead, "next": next_}
    elif own >= _NEARLY_ALL and next_ < _OTHERS and ahead <= limits.coupling < behind:
        kind, evidence = "own", {"own": own, "change": ahead}
    else:
        return
    yield Finding(
        rule="causal-leak",
        severity=Severity.ERROR,
        subject="targets" if kind == "own" else "output",
        section=SECTION,
        evidence=evidence | ({"places": places} if places else {}),
        threshold={"change": limits.coupling},
        detail={"kind": kind},
    )


RULES = (causal_leak,)
