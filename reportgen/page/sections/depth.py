"""The whole network by depth in one strip: where it is healthy, where not, and where nothing was measured."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from ...document.facts import Diagnosis, Finding, Report, Severity
from ..blocks import Sign, Strip
from ..figures import mark
from ..formats import count, name
from ..language import N_, _, plural
from ..palette import MUTED, OK, RULE, TONES
from ..places import place
from ..svg import Element, decimal, element, gathered, ornament

COLUMNS = 96
APART = 24  # layers up to which each has a box of its own
_HEIGHT, _GAP = 14, 0.0025  # of a part, in pixels; between two, as a share of the width
_EDGE, _PHONE = 8, 320  # half of a mark; the least width of a strip
_NAMED = 4  # layers of a severity
_RANK = {"": 0, "ok": 1, "info": 2, "warning": 3, "error": 4}


def rank(state: str) -> int:
    """Order the states of a layer, the worst highest."""
    return _RANK[state]


class Stretch(Struct, frozen=True):
    """Neighbouring layers of the same state: '' is not measured, 'ok' is measured with nothing found."""

    first: str
    last: str
    n: int
    state: str


def layers(report: Report) -> list[str]:
    """Name the layers by order of execution, or of the model; of a bare file, the owners of its tensors."""
    names: dict[str, None] = {}
    if report.activations is not None:
        names |= {r.name: None for r in sorted(report.activations.rows, key=lambda r: r.order) if not r.functional}
    elif report.architecture is not None and report.architecture.rows:
        names |= {r.name: None for r in report.architecture.rows if r.is_leaf}
    elif report.weights is not None:
        names |= {r.name.rpartition(".")[0]: None for r in report.weights.rows}
    return [n for n in names if n]


def marks(report: Report, names: list[str]) -> list[str]:
    """Return the worst severity of what was found about each layer; '' for none."""
    worst: dict[str, Severity] = {}
    told = [about for d in report.diagnoses for about in _about(d)]
    for subject, severity in told:
        for owner in (subject, subject.rpartition(".")[0]):  # a parameter's finding shows at its layer
            if owner not in worst or severity.rank > worst[owner].rank:
                worst[owner] = severity
    return [worst[n].value if n in worst and n != "model" else "" for n in names]


def named_by(finding: Finding) -> list[str]:
    """Return what a finding is about: its subject, and the layers that it names beside it."""
    named = [finding.subject, finding.detail.get("layer", ""), *finding.detail.get("layers", "").split(", ")]
    return [about for about in named if about]


def _about(diagnosis: Diagnosis) -> list[tuple[str, Severity]]:
    """Return what a diagnosis is about, how gravely: what findings say of an output is of the layer that they name."""
    told = [(diagnosis.subject, diagnosis.severity)]
    for finding in (*diagnosis.findings, *diagnosis.consequences):
        told += [(about, finding.severity) for about in named_by(finding)]
    return told


def _of_no_layer(report: Report, names: list[str]) -> int:
    """Count the errors and warnings that no layer has a mark of."""
    known = set(names)
    grave = [d for d in report.diagnoses if d.severity.rank > Severity.INFO.rank]
    places = [
        {p for about, told in _about(d) if told.rank > Severity.INFO.rank for p in (about, about.rpartition(".")[0])}
        for d in grave
    ]
    return sum(not known & found for found in places)


def states(report: Report, names: list[str]) -> list[str]:
    """Return what is known of each layer: the mark, 'ok' where it was measured, '' where it was not."""
    seen: set[str] = set()
    if report.activations is not None:
        seen |= {r.name for r in report.activations.rows}
    if report.weights is not None:
        seen |= {r.name.rpartition(".")[0] for r in report.weights.rows if r.stats is not None}
    if report.gradients is not None:
        seen |= {r.name.rpartition(".")[0] for r in report.gradients.rows if r.stats is not None}
    found = marks(report, names)
    return [m or ("ok" if n in seen else "") for n, m in zip(names, found, strict=True)]


def stretches(names: list[str], known: list[str], limit: int = COLUMNS) -> list[Stretch]:
    """Gather layers into at most ``limit`` columns, the worst state of each, and join columns that are alike."""
    each = -(-len(names) // limit) or 1
    out: list[Stretch] = []
    for i in range(0, len(names), each):
        group = names[i : i + each]
        state = max(known[i : i + each], key=rank)
        # few layers, and those with a finding, stand for themselves; else neighbours that are alike are one
        if out and out[-1].state == state and (state in ("", "ok") or each > 1) and len(names) > APART:
            out[-1] = Stretch(out[-1].first, group[-1], out[-1].n + len(group), state)
        else:
            out.append(Stretch(group[0], group[-1], len(group), state))
    return out


def strip(report: Report) -> Strip | None:
    """Draw the network from input to output in one line; None where there are no layers to show."""
    names = layers(report)
    if len(names) < 2:
        return None
    known = states(report, names)
    n, bad, unseen = len(names), sum(rank(s) > 2 for s in known), known.count("")
    causes = [replace(d, consequences=[]) for d in report.diagnoses]
    follow = bad - sum(rank(s) > 2 for s in states(replace(report, diagnoses=causes), names))
    parts = [plural("{n} layer", "{n} layers", n).format(n=count(n))]
    whole = _of_no_layer(report, names)
    if bad or not whole:
        parts.append(_("{n} with an error or a warning").format(n=count(bad)) if bad else _("no error or warning"))
    # else a single error above, and marks on many layers, would be a riddle
    parts += [_("{n} of them as a consequence").format(n=count(follow))] if follow else []
    parts += [_("{n} not measured").format(n=count(unseen))] if unseen else []
    if whole:
        text = plural(
            "{n} diagnosis of the model or the data as a whole",
            "{n} diagnoses of the model or the data as a whole",
            whole,
        )
        parts.append(text.format(n=count(whole)))
    told = _(", ").join(parts)
    title = _("The network by depth: {told}").format(told=told)
    drawn = _drawn(stretches(names, known), len(names), title)
    return Strip(id="depth", title=title, caption=_named(names, known), drawing=drawn, key=_key(known))


def _named(names: list[str], known: list[str]) -> str:
    """Name the layers that are marked, which a drawing tells to a pointer alone."""
    words = {"error": N_("Error: {names}"), "warning": N_("Warning: {names}")}
    said = []
    for state, text in words.items():
        marked = [place(n, "weights") for n, s in zip(names, known, strict=True) if s == state]
        shown = _(", ").join(marked[:_NAMED])
        if len(marked) > _NAMED:
            shown = _("{names} and {n} more").format(names=shown, n=count(len(marked) - _NAMED))
        if marked:
            said.append(_(text).format(names=shown))
    return " · ".join(said)


def _key(known: list[str]) -> list[Sign]:
    """Say what the signs and colours of a strip mean that it has, the worst first."""
    words = _words()
    return [Sign(_sample(state, words[state]), words[state]) for state in sorted(set(known), key=rank, reverse=True)]


def _words() -> dict[str, str]:
    return {
        "": _("not measured"),
        "ok": _("nothing found"),
        "info": _("observation"),
        "warning": _("warning"),
        "error": _("error"),
    }


def _sample(state: str, word: str) -> Element:
    drawn = mark(9, state) if _marked(state) else "M1 5h16v8h-16z"
    return ornament(18, 18, word, element("path", d=drawn, **_paint(state)), class_="icon")


def _marked(state: str) -> bool:
    return state not in ("", "ok")


def _paint(state: str) -> dict[str, str]:
    if not state:  # hollow: nothing is known
        return {"fill": "none", "stroke": RULE}
    return {"fill": OK if state == "ok" else TONES[state]}


def _drawn(parts: list[Stretch], n: int, title: str) -> Element:
    """Draw the parts as wide as there is room, in shares of it, and the signs above them as large on every screen."""
    signs = sorted({part.state for part in parts if _marked(part.state)}, key=rank)
    top, at, boxes, marks = 20 if signs else 4, 0.0, [], []
    for part in parts:
        share = part.n / n
        boxes.append(_box(part, at, top, max(share - (_GAP if len(parts) > 1 and share > 2 * _GAP else 0), 0.001)))
        if _marked(part.state):
            middle = at + share / 2
            # that of a narrow part at an end stays within the drawing, on a phone too
            inwards = _EDGE - _PHONE * middle if middle < 0.5 else _PHONE * (1 - middle) - _EDGE
            moved = f"translate({decimal(inwards)})" if (inwards > 0) == (middle < 0.5) else None
            sign: dict[str, str | None] = {"href": f"#depth-{part.state}", "x": _percent(middle), "transform": moved}
            marks.append(element("use", **sign, **_paint(part.state)))
        at += share
    drawn = [element("path", id=f"depth-{state}", d=mark(0, state)) for state in signs]
    foot = top + _HEIGHT + 15
    words = [
        element("text", _("input"), x=0, y=foot, font_size=12, fill=MUTED),
        element("text", _("output"), x="100%", y=foot, text_anchor="end", font_size=12, fill=MUTED),
    ]
    inner = gathered([*([element("defs", *drawn)] if drawn else []), *boxes, *marks, *words])
    told = element("title", title)
    return element("svg", told, *inner, class_="strip", width="100%", height=foot + 5, role="img")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def _box(part: Stretch, at: float, y: int, width: float) -> Element:
    span = name(part.first) if part.n == 1 else f"{name(part.first)} … {name(part.last)}"
    hover = element("title", f"{span}: {_words()[part.state]}")
    rim = 0 if part.state in ("error", "warning") else 3  # what is healthy is told quietly
    paint = _paint("ok" if part.state == "info" else part.state)
    x, wide = _percent(at), _percent(width)
    return element("rect", hover, x=x, y=y + rim, width=wide, height=_HEIGHT - 2 * rim, **paint)
