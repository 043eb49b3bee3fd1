"""Pictures: samples, what the model looks at, its kernels and maps, features in two dimensions, generated samples."""

from __future__ import annotations

from ...document.facts import Report
from ...document.pictures import GenerationFacts, KernelSheet, MapSheet, PictureFacts, Projection
from ..blocks import Block, Figure, Gallery, KeyValues, Pair, Prose, Section, Tile
from ..clouds import cloud
from ..formats import count, listing, name, number, percent, shape
from ..language import _, plural
from ..places import place
from ..words_pictures import display_words, left_out_words
from . import samples
from .samples import bitmap, label_of

_SHEET = 600  # CSS pixels that a sheet may be wide


def section(report: Report) -> Section | None:
    """Show all pictures that a report holds."""
    facts = report.pictures
    if facts is None:
        return None
    blocks: list[Block] = samples.blocks(report, facts)
    if facts.projection is not None:
        blocks.append(_projection(report, facts.projection))
    if facts.generation is not None:
        blocks += _generation(facts.generation)
    if facts.kernels:
        blocks.append(_kernels(facts))
    if facts.maps:
        blocks.append(_maps(report, facts))
    told = left_out_words(facts)
    if told:
        blocks.append(Prose(paragraphs=told))
    if not blocks:
        return None
    intro = _("What the model was shown, and what it makes of it, to be looked at with your own eyes.")
    if facts.display is not None:
        intro += " " + display_words(facts.display)
    return Section(id="pictures", title=_("Pictures"), intro=intro, blocks=blocks)


def _projection(report: Report, facts: Projection) -> Figure:
    title = _("Features before the last layer, in two dimensions")
    method = {"pca": _("principal components"), "tsne": "t-SNE", "umap": "UMAP"}[facts.method]
    told = [
        _("What {layer} reads, {n} features, of {points} of {seen} samples, those with the lowest hash; by {method}."),
    ]
    if len(facts.explained) == 2:
        told.append(_("Both axes hold {a} and {b} of the variance."))
    if facts.numbers:
        told.append(_("Healthy: the fifths of the target follow one another instead of lying on each other."))
    else:
        told.append(
            _(
                "Healthy: every class is a cloud of its own, and what was said wrongly lies between clouds; a framed "
                "point in the midst of another class is worth a look at its label."
            )
        )
    shares = [percent(v) for v in facts.explained] + ["", ""]
    caption = " ".join(told).format(
        layer=place(facts.layer, "weights"),
        n=count(facts.n_features),
        points=count(len(facts.x)),
        seen=count(facts.seen),
        method=method,
        a=shares[0],
        b=shares[1],
    )
    if facts.numbers:
        fifths = [_("lowest fifth"), _("second fifth"), _("third fifth"), _("fourth fifth"), _("highest fifth")]
        labels, wrong = dict(enumerate(fifths)), []
    else:
        labels = {kind: label_of(report, kind) for kind in set(facts.targets)}
        wrong = [a != b for a, b in zip(facts.targets, facts.predictions, strict=False)]
    drawing = cloud(title, facts.x, facts.y, facts.targets, labels, wrong)
    return Figure(id="projection", title=title, caption=caption, drawing=drawing)


def _kernels(facts: PictureFacts) -> Gallery:
    tiles = [Tile(images=[bitmap(k.picture, _kernel_alt(k), _SHEET, 8)], lines=_kernel_lines(k)) for k in facts.kernels]
    told = [
        _(
            "Each kernel is scaled by its own largest weight; middle grey is zero. Healthy first kernels show edges, "
            "blobs and, in colour, opponent colours; noise without form says that little was learned there, and many "
            "alike that the layer is wider than it needs to be."
        )
    ]
    if any(k.dead for k in facts.kernels):
        told.append(_("In a frame: kernels whose norm is below a thousandth of the median, which do nothing."))
    n = facts.kernel_layers - len(facts.kernels)
    note = ""
    if n > 0 and not facts.patterns:
        note = plural(
            "Shown are the first of {m} convolutions and deeper ones, evenly spaced; {n} is not shown.",
            "Shown are the first of {m} convolutions and deeper ones, evenly spaced; {n} are not shown.",
            n,
        ).format(m=count(facts.kernel_layers), n=count(n))
    title = _("Kernels of convolutions")
    return Gallery(id="kernel-pictures", title=title, caption=" ".join(told), note=note, tiles=tiles)


def _kernel_lines(facts: KernelSheet) -> list[str]:
    lines = [f"{name(facts.layer)}: {shape(facts.shape)}"]
    if len(facts.filters) < facts.shape[0]:
        text = _("{n} of {m} filters, evenly spaced")
        lines.append(text.format(n=count(len(facts.filters)), m=count(facts.shape[0])))
    if not facts.colour and len(facts.shape) > 3 and facts.shape[1] > 1:
        lines.append(_("of each the input channel with the largest norm"))
    if facts.dead:
        text = plural("{n} of {m} is dead", "{n} of {m} are dead", facts.dead)
        lines.append(text.format(n=count(facts.dead), m=count(facts.shape[0])))
    return lines


def _kernel_alt(facts: KernelSheet) -> str:
    text = _("Kernels of {layer}: {n} filters, {dead} of the layer's dead")
    return text.format(layer=name(facts.layer), n=count(len(facts.filters)), dead=count(facts.dead))


def _maps(report: Report, facts: PictureFacts) -> Gallery:
    tiles: list[Tile] = []
    before = None
    for sheet in facts.maps:
        sample = facts.samples[sheet.sample] if sheet.sample < len(facts.samples) else None
        images = [bitmap(sheet.picture, _map_alt(sheet), _SHEET - 100, 3 if len(sheet.size) == 1 else 6)]
        charts = samples.curves(sample) if sample is not None and sheet.sample != before else []
        if sample is not None and sample.picture is not None and sheet.sample != before:
            text = _("Sample {place}").format(place=count(sample.place))
            images.insert(0, bitmap(sample.picture, text, 72))
        before = sheet.sample
        tiles.append(Tile(images=images, charts=charts, lines=_map_lines(sheet)))
    told = [
        _(
            "A sample, and in layer after layer the channels that vary most over it, the first one most. Healthy: "
            "early maps follow edges of the sample, later ones fire at few places, and no two channels are the same."
        )
    ]
    if any(m.signed for m in facts.maps):
        told.append(_("Where a layer has values below zero, middle grey is zero; elsewhere black is."))
    else:
        told.append(_("Black is zero, white each channel's largest value."))
    if any(m.flat_shown for m in facts.maps):
        told.append(_("In a frame: channels of one and the same value on every sample looked at."))
    note = ""
    if not facts.patterns and facts.map_layers > len({m.layer for m in facts.maps}):
        note = _(
            "Of {n} layers with maps the first is shown and the last of every size of map, at most three of them."
        ).format(n=count(facts.map_layers))
    return Gallery(id="maps", title=_("Feature maps"), caption=" ".join(told), note=note, tiles=tiles)


def _map_lines(facts: MapSheet) -> list[str]:
    text = _("{layer}: {n} of {m} channels, maps of {size}")
    where, shown, size = name(facts.layer), count(len(facts.channels)), shape(facts.size)
    lines = [text.format(layer=where, n=shown, m=count(facts.n_channels), size=size)]
    if facts.flat:
        text = plural("{n} channel is flat on all {m} samples", "{n} channels are flat on all {m} samples", facts.flat)
        lines.append(text.format(n=count(facts.flat), m=count(facts.n_samples)))
    return lines


def _map_alt(facts: MapSheet) -> str:
    text = _("Maps of {layer}: channels {channels}")
    return text.format(layer=name(facts.layer), channels=listing([str(c) for c in facts.channels], 4))


def _generation(facts: GenerationFacts) -> list[Block]:
    sampled = _("{real} real and {fake} generated samples, {n} features").format(
        real=count(facts.n_real), fake=count(facts.n_fake), n=count(facts.n_features)
    )
    made_by = _("of pixels averaged over a coarse grid") if not facts.features else name(facts.features)
    floor = "" if facts.floor is None else _("between two halves of the real samples {n}").format(n=number(facts.floor))
    expected = ""
    if facts.coverage_expected is not None:
        expected = _("of one half of the real samples by the other {n}").format(n=percent(facts.coverage_expected))
    among = ""
    if facts.inside_expected is not None:
        among = _("of one half of the real samples in the other {n}").format(n=percent(facts.inside_expected))
    pairs = [
        Pair(label=_("Features"), value=made_by, note=sampled),
        Pair(label=_("Fréchet distance"), value=number(facts.distance), note=floor),
        Pair(
            label=_("Spread, generated to real"),
            value=number(facts.spread),
            note=_("1: as spread as the real ones, 0: all alike"),
        ),
        Pair(label=_("Real samples covered"), value=percent(facts.coverage), note=expected),
        Pair(label=_("Generated among the real"), value=percent(facts.inside), note=among),
        Pair(
            label=_("Distance to the next one, generated to real"),
            value=number(facts.apart),
            note=_("1: as far apart as the real ones, 0: all alike"),
        ),
        Pair(label=_("Doubles among the generated"), value=count(facts.copies)),
    ]
    told = _(
        "Healthy: the distance is near that between two halves of the real samples, both ratios near 1, as many real "
        "samples are covered as halves cover each other, and there are no doubles. Generated samples that are near "
        "each other, or lie among the real ones and yet cover few of them, are mode collapse. Distances compare only "
        "within one kind of features."
    )
    blocks: list[Block] = [KeyValues(title=_("Generated against real samples"), pairs=pairs), Prose(paragraphs=[told])]
    if facts.real is not None and facts.fake is not None:
        tiles = [
            Tile(images=[bitmap(picture, words, 320, 4)], lines=[words])
            for picture, words in ((facts.real, _("Real samples")), (facts.fake, _("Generated samples")))
        ]
        order = _("Both in the same order: each generated sample belongs to the real one at its place.")
        title = _("Real and generated samples")
        blocks.append(Gallery(id="generated", title=title, caption=order if facts.paired else "", tiles=tiles))
    return blocks
