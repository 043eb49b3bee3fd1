"""The whole network by depth in one strip: where it is healthy, where not, and where nothing was measured."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from ...document.facts import Diagnosis, Report, Severity
from ..blocks import Figure
from ..figures import mark
from ..formats import count, name
from ..language import N_, _, plural
from ..palette import MUTED, OK, RULE, TONES
from ..places import place
from ..svg import Element, decimal, drawing, element

COLUMNS = 96
APART = 24  # layers up to which each has a box of its own
_WIDTH, _HEIGHT = 960, 14
_EDGE = 8  # half of a mark
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


def _about(diagnosis: Diagnosis) -> list[tuple[str, Severity]]:
    """Return what a diagnosis is about, how gravely: what findings say of an output is of the layer that they name."""
    told = [(diagnosis.subject, diagnosis.severity)]
    for finding in (*diagnosis.findings, *diagnosis.consequences):
        named = [finding.subject, finding.detail.get("layer", ""), *finding.detail.get("layers", "").split(", ")]
        told += [(about, finding.severity) for about in named]
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


def strip(report: Report) -> Figure | None:
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
    return Figure(id="depth", title=title, caption=_named(names, known), drawing=drawn)


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


def _drawn(parts: list[Stretch], n: int, title: str) -> Element:
    top, x, out = 20 if any(part.state not in ("", "ok") for part in parts) else 4, 0.0, []
    for part in parts:
        width = part.n / n * _WIDTH
        shown = max(width - (1.5 if len(parts) > 1 and width > 4 else 0), 1.0)
        out.append(_box(part, x, top, shown))
        if part.state not in ("", "ok"):
            middle = min(max(x + width / 2, _EDGE), _WIDTH - _EDGE)  # the mark of a narrow one stays within the drawing
            out.append(element("path", d=mark(middle, part.state), fill=TONES[part.state]))
        x += width
    foot = top + _HEIGHT + 15
    out.append(element("text", _("input"), x=0, y=foot, font_size=12, fill=MUTED))
    out.append(element("text", _("output"), x=_WIDTH, y=foot, text_anchor="end", font_size=12, fill=MUTED))
    return drawing(_WIDTH, foot + 5, title, *out, class_="chart")


def _box(part: Stretch, x: float, y: int, width: float) -> Element:
    words = {
        "": _("not measured"),
        "ok": _("nothing found"),
        "info": _("observation"),
        "warning": _("warning"),
        "error": _("error"),
    }
    span = name(part.first) if part.n == 1 else f"{name(part.first)} … {name(part.last)}"
    hover = element("title", f"{span}: {words[part.state]}")
    rim = 0 if part.state in ("error", "warning") else 3  # what is healthy is told quietly
    box = f"M{decimal(x)} {y + rim}h{decimal(width)}v{_HEIGHT - 2 * rim}h{decimal(-width)}z"
    if not part.state:  # hollow: nothing is known
        return element("path", hover, d=box, fill_opacity=0, stroke=RULE)
    return element("path", hover, d=box, fill=OK if part.state in ("ok", "info") else TONES[part.state])
