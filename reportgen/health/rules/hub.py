"""Rules on the configuration that lies beside weights."""

from __future__ import annotations

from collections.abc import Iterator

from ...document.facts import Finding, Report, Severity
from ..context import Context
from ..thresholds import Thresholds

SECTION = "weights"


def config_disagrees(report: Report, context: Context, limits: Thresholds) -> Iterator[Finding]:
    """The config.json beside weights speaks of another model than the file holds. Informs only.

    Counted: layers that it names and the file lacks; an embedding with fewer rows than the vocabulary, or wider than
    the model; a head of its own where the embedding is said to be the head too: whoever loads the two together gets
    random layers, an index out of range, or a head that is thrown away. More layers or rows than said are usual.
    """
    config = report.weights.config if report.weights is not None else None
    if config is not None and config.differences:
        first = config.differences[0]
        yield Finding(
            rule="config-disagrees",
            severity=Severity.INFO,
            subject="config.json",
            section=SECTION,
            evidence={"differences": len(config.differences), "config": first.config, "file": first.file},
            detail={"what": first.what},
        )


RULES = (config_disagrees,)
