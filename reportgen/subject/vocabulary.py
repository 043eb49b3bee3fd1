"""Names of tokens: whatever a user has at hand -> a table of number and name, of the tokens that a report shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ..document.evaluation import EvaluationFacts
from ..document.facts import Report
from ..errors import OptionError

_LONGEST = 40
_EXPECTED = (
    "a list of names by number, a dict of number and name or of name and number, a tokenizer, a function of one number "
    "that returns its name, or the path of a JSON file or of a text file with a name a line"
)

Names = Callable[[int], Any]


def names_of(source: Any) -> Names | None:
    """Return what names a token by its number, or None; raises OptionError for what names none."""
    if source is None:
        return None
    if isinstance(source, (str, Path)):
        source = _read(Path(source))
    if isinstance(source, Mapping):
        return _by_number(source).get
    if isinstance(source, (list, tuple)):
        return lambda n: source[n] if 0 <= n < len(source) else None
    for method in ("convert_ids_to_tokens", "id_to_token", "lookup_token", "id_to_piece"):
        if callable(found := getattr(source, method, None)):
            return found  # type: ignore[no-any-return]  # tokenizers of transformers, tokenizers, torchtext, ...
    if callable(decode := getattr(source, "decode", None)):
        return lambda n: decode([n])
    if callable(source):
        return source  # type: ignore[no-any-return]
    raise OptionError(f"Option tokens is a {type(source).__name__}.", hint=f"Expected {_EXPECTED}.")


def _by_number(table: Mapping[Any, Any]) -> dict[int, str]:
    if all(isinstance(value, int) for value in table.values()):
        return {value: str(key) for key, value in table.items()}
    try:
        return {int(key): str(value) for key, value in table.items()}
    except (TypeError, ValueError):
        hint = f"Expected {_EXPECTED}."
        raise OptionError("Option tokens is a dict without numbers of tokens.", hint=hint) from None


def _read(path: Path) -> Any:
    try:
        text = path.read_text("utf-8")
        found = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise OptionError(
            f"The names of tokens in {path} cannot be read: {error}", hint=f"Expected {_EXPECTED}."
        ) from None
    inner = found.get("model", {}) if isinstance(found, dict) else {}  # as the tokenizers library writes it
    return inner.get("vocab", found) if isinstance(inner, dict) else found


def with_names(report: Report, names: Names | None) -> Report:
    """Add the names of the tokens that the report shows; one that cannot be named keeps its number."""
    if names is None:
        return report
    told: dict[str, str] = {}
    for token in sorted(set(_shown(report))):
        try:
            name = names(token)
        except Exception:  # of a user's function, for a number that it does not know
            continue
        if name is not None:
            text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
            told[str(token)] = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return replace(report, tokens=told)


def _shown(report: Report) -> Iterator[int]:
    if report.attention is not None:
        yield from report.attention.tokens
    for view in report.pictures.samples if report.pictures is not None else []:
        yield from view.tokens
    for data in (report.dataset, report.train_dataset):
        if data is not None and data.tokens is not None:
            yield from (token for token, _times in data.tokens.commonest)
        if data is not None and data.padding is not None:
            yield data.padding.token
    for scores in (report.evaluation, report.train_evaluation):
        yield from _of_scores(scores) if scores is not None else ()


def _of_scores(scores: EvaluationFacts) -> Iterator[int]:
    for example in scores.examples:
        yield from example.tokens
        if scores.task == "tokens":
            yield from (int(n) for text in (example.target, example.prediction) for n in text.split() if n.isdigit())
    for head in scores.heads.values():
        yield from _of_scores(head)
