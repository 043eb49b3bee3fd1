"""All pictures of one examination, in the order in which they may draw on the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from ...document.pictures import NO_CLASS, Display, GenerationFacts, LeftOut, Picture, PictureFacts, SampleView
from ...errors import one_line
from ...options import Options
from ...subject.data import Batch
from ...subject.normalisation import normalisation_of
from ..fingerprints import Hashes
from ..layers import main_tensor
from ..steps import NotMeasuredError
from ..trials.sample import joined
from . import kernels, maps, token_heat
from .chosen import Chosen, Held, numbered, said_of
from .encode import Budget, Bytes, of_classes
from .generated import Extractor, Generated
from .projection import LastFeatures
from .show import TOKENS, channels_first_series, display_of, encoded, flat_maps, lines_of, pixels, plain, values_of

MAPPED, MAPPED_OF_NAMED = 1, 3  # reference samples whose feature maps are shown: by rule, and of layers that were named
HEATED = 3  # reference samples with Grad-CAM; of the worst all

T = TypeVar("T")


class Watching:
    """What is taken from the one pass over the data."""

    def __init__(
        self,
        model: nn.Module,
        hashes: Callable[[], Hashes | None],
        real: Any = None,
        extractor: Extractor | None = None,
        task: str = "",
    ) -> None:
        self._hashes = hashes
        self.chosen, self.features = Chosen(), LastFeatures(model)
        self.generated = Generated(real, extractor, task)
        self.failed: dict[str, str] = {}

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Watch the last layer while the pass goes on."""
        with self.features.attached():
            yield

    def update(self, output: Any, batch: Batch) -> None:
        """Look at one batch; a part that fails is left out from then on."""
        said = said_of(main_tensor(output), batch.target)
        keys = self._hashes()
        keys = (
            keys if keys is not None and len(keys) == batch.n_samples else numbered(self.chosen.seen, batch.n_samples)
        )
        parts: dict[str, Callable[[], None]] = {
            "projection": lambda: self.features.update(said, keys),
            "samples": lambda: self.chosen.update(said, keys, batch),
            "generation": lambda: self.generated.update(output, batch.target),
        }
        for name, part in parts.items():
            if name in self.failed:
                continue
            try:
                part()
            except Exception as error:
                self.failed[name] = str(error) if isinstance(error, NotMeasuredError) else one_line(error)


@dataclass
class _Making:
    """One set of pictures in the making."""

    model: nn.Module
    options: Options
    budget: Budget
    left_out: list[LeftOut]
    bases: dict[int, Bytes] = field(default_factory=dict)
    """Pixels of the samples shown, by their place among them, to lay heat over."""
    kinds: set[int] = field(default_factory=set)
    """Classes in the maps shown."""

    def part(self, name: Any, make: Callable[[], T]) -> T | None:
        """Make one kind of picture; what fails is told."""
        try:
            return make()
        except NotMeasuredError as reason:
            self.left_out.append(LeftOut(part=name, why="not possible", reason=str(reason)))
        except Exception as error:
            self.left_out.append(LeftOut(part=name, why="failed", reason=one_line(error)))
        return None


def of_model(
    model: nn.Module,
    watching: Watching | None,
    options: Options,
    source: Iterable[Any] | None = None,
) -> PictureFacts | None:
    """Draw what was watched, one extra pass over a few samples, and the kernels; None where there is nothing.

    ``source``: the loader, whose transforms may tell how inputs were normalised.
    """
    making = _Making(model, options, Budget(options.pictures), [])
    facts = PictureFacts(budget=options.pictures, used=0, patterns=options.patterns)
    if watching is not None:
        making.left_out += [
            LeftOut(part=name, why="failed", reason=told)  # type: ignore[arg-type]  # the names are those of parts
            for name, told in watching.failed.items()
        ]
        facts = _add_samples(making, facts, watching, source)
    weights = kernels.convolutions(model)
    drawn = making.part("kernels", lambda: kernels.sheets(weights, options.patterns, making.budget)) or []
    facts = replace(facts, kernels=drawn, kernel_layers=len(weights))
    return _finished(facts, making)


def of_file(tensors: Mapping[str, Tensor], options: Options) -> PictureFacts | None:
    """Draw the kernels that a weights file holds."""
    making = _Making(nn.Module(), options, Budget(options.pictures), [])
    weights = kernels.convolutions_of_file(tensors)
    drawn = making.part("kernels", lambda: kernels.sheets(weights, options.patterns, making.budget)) or []
    facts = PictureFacts(budget=options.pictures, used=0, patterns=options.patterns)
    return _finished(replace(facts, kernels=drawn, kernel_layers=len(weights)), making)


def _finished(facts: PictureFacts, making: _Making) -> PictureFacts | None:
    refused = [
        LeftOut(part=part, why="budget", n=n)  # type: ignore[arg-type]  # the names are those of parts
        for part, n in making.budget.refused.items()
    ]
    facts = replace(facts, used=making.budget.used, left_out=[*making.left_out, *refused])
    anything = facts.samples or facts.kernels or facts.maps or facts.projection or facts.generation or facts.left_out
    return facts if anything else None


def _add_samples(
    making: _Making,
    facts: PictureFacts,
    watching: Watching,
    source: Iterable[Any] | None,
) -> PictureFacts:
    chosen, options = watching.chosen, making.options
    references, worst = chosen.references(), chosen.worst()
    facts = replace(facts, task=chosen.task, classes=(options.class_names or [])[: chosen.n_classes], seen=chosen.seen)
    views: list[SampleView] = []
    display: Display | None = None
    if references:
        made = making.part("samples", lambda: _views(making, references, worst, source))
        views, display = made if made is not None else ([], None)
    facts = replace(facts, samples=views, display=display, shown_classes=sorted(making.kinds))
    if views:
        facts = _look_inside(making, facts, references, worst)
    method: Any = options.projection
    laid = making.part("projection", lambda: watching.features.projection(method, chosen.task, options.seed))
    made_up: GenerationFacts | None = making.part(
        "generation", lambda: watching.generated.facts(making.budget, _device(making.model))
    )
    return replace(facts, projection=laid, generation=made_up)


def _device(model: nn.Module) -> torch.device:
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _views(
    making: _Making, references: list[Held], worst: list[Held], source: Iterable[Any] | None
) -> tuple[list[SampleView], Display | None]:
    """Make what is shown of every sample; the span of grey is that of the reference samples."""
    found = [one.batch.first for one in references]
    same = [x for x in found if x is not None and found[0] is not None and x.shape == found[0].shape]
    if not same:
        return [], None
    options = making.options
    known = normalisation_of(source)
    if options.input_mean is not None and options.input_std is not None:
        known = options.input_mean, options.input_std
    display = display_of(torch.cat(same), making.model, known)
    if display is None:
        return [], None
    views: list[SampleView] = []
    for role, several in (("reference", references), ("worst", worst)):
        for held in several:
            if held.batch.first is not None:
                views.append(_view(held, held.batch.first, role, display, making, len(views)))
    return views, display


def _view(held: Held, x: Tensor, role: Any, display: Display, making: _Making, place: int) -> SampleView:
    told: dict[str, Any] = {}
    if display.kind == "series":
        told["lines"] = lines_of(x[0], channels_first_series(making.model))
    elif display.kind == "tokens":
        told["tokens"] = [int(v) for v in x[0].flatten()[:TOKENS].tolist()]
    elif display.kind == "row":
        told["values"] = values_of(x[0])
    elif list(x.shape[1:]) == display.shape or x.dim() == len(display.shape) + 1:
        base = pixels(x, display)[0]
        picture = encoded(base)
        if making.budget.take("samples", picture):
            told["picture"], making.bases[place] = picture, base
            told |= _maps_of(held, making)
    values = plain(x)
    return SampleView(
        place=-held.place,
        key=held.key,
        role=role,
        nonfinite=0 if values is None else int((~torch.isfinite(values)).sum()),
        target=held.target,
        prediction=held.prediction,
        confidence=held.confidence,
        loss=held.loss,
        **told,
    )


def _maps_of(held: Held, making: _Making) -> dict[str, Picture]:
    """Draw the true classes of the places of a sample, and those that were named."""
    if held.truth is None or held.answer is None:
        return {}
    truth, answer = (of_classes(kinds.numpy()) for kinds in (held.truth, held.answer))
    if not making.budget.take("samples", truth, answer):
        return {}
    making.kinds |= {*held.truth.flatten().tolist(), *held.answer.flatten().tolist()} - {NO_CLASS}
    return {"truth": truth, "answer": answer}


def _look_inside(making: _Making, facts: PictureFacts, references: list[Held], worst: list[Held]) -> PictureFacts:
    """Run the model once more over a few of the samples, for feature maps and Grad-CAM."""
    several = _alike([*enumerate(references[:HEATED]), *enumerate(worst, len(references))])
    few = joined([held.batch for _place, held in several[:2]])  # two: a batch norm left in training mode wants more
    layers = making.part("maps", lambda: maps.layers_with_maps(making.model, few)) or []
    shown = maps.chosen(layers, making.options.patterns)
    heat = layers[-1] if layers and facts.task == "classes" else None
    facts = replace(facts, map_layers=len(layers))
    if not layers or (not shown and heat is None):
        return facts
    batch = joined([held.batch for _place, held in several])
    norms = _norms(making, few, heat)
    seen = making.part("maps", lambda: maps.look(making.model, batch, shown, None if norms else heat))
    if seen is None:
        return facts
    if heat is not None and norms:
        heat = _add_token_heat(making, seen, batch, norms, heat)
    n, kind = len(several), facts.display.kind if facts.display is not None else "image"
    flat = {name: made for name, found in seen.maps.items() if (made := flat_maps(found, n, kind)) is not None}
    warm = None if seen.heat is None else flat_maps(seen.heat.unsqueeze(1), n, kind)
    if warm is not None and heat is not None:
        samples = _with_heat(making, facts, warm[:, 0], [place for place, _held in several])
        facts = replace(facts, samples=samples, heat_layer=heat.name)
    elif seen.no_heat:
        making.left_out.append(LeftOut(part="heat", why="not possible", reason=seen.no_heat))
    n_mapped = MAPPED_OF_NAMED if making.options.patterns else MAPPED
    rows = {row: place for row, (place, _held) in enumerate(several[:n_mapped]) if place < len(references)}
    drawn = making.part("maps", lambda: maps.sheets(flat, shown, rows, making.budget))
    return replace(facts, maps=drawn or [])


def _norms(making: _Making, few: Batch, heat: maps.Layer | None) -> list[str]:
    """Return the last norms over the patches that the last maps were cut into, where there are any."""
    if heat is None or len(heat.size) != 2:
        return []
    return making.part("heat", lambda: token_heat.norms_of_tokens(making.model, few, heat.size)) or []


def _add_token_heat(
    making: _Making, seen: maps.Seen, batch: Batch, norms: list[str], cut: maps.Layer
) -> maps.Layer | None:
    """Add the heat over patches, and return the layer that it is of."""
    found = making.part("heat", lambda: token_heat.heat_of_tokens(making.model, batch, norms, cut.size))
    if found is None:
        seen.no_heat = maps.NO_WAY
        return None
    name, seen.heat = found
    return maps.Layer(name, "", cut.size)


def _alike(held: list[tuple[int, Held]]) -> list[tuple[int, Held]]:
    """Return those that can be put together: of the shape of the first."""
    shapes = [one.batch.first.shape if one.batch.first is not None else None for _place, one in held]
    return [pair for pair, shape in zip(held, shapes, strict=True) if shape == shapes[0]]


def _with_heat(making: _Making, facts: PictureFacts, heat: Tensor, looked: list[int]) -> list[SampleView]:
    """Lay the heat (N, h, w) over the samples that were looked at, which stand at these places."""
    samples = list(facts.samples)
    for row, place in enumerate(looked):
        if samples[place].lines and heat.shape[1] == 1:
            samples[place] = replace(samples[place], heat_line=maps.strip(heat[row, 0]))
        base = making.bases.get(place)
        if base is None:
            continue
        picture = encoded(maps.overlaid(base, heat[row]))
        if making.budget.take("heat", picture):
            samples[place] = replace(samples[place], heat=picture)
    return samples
