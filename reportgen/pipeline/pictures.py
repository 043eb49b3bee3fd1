"""The pictures of a report, of a model or of a weights file."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..document.facts import Report
from ..document.pictures import PictureFacts
from ..options import Options
from ..probe.steps import NotMeasuredError, Steps

_NOTHING_TO_SHOW = "there are no samples, no maps and no kernels larger than one place"


def with_pictures(report: Report, steps: Steps, options: Options, draw: Callable[[], PictureFacts | None]) -> Report:
    """Add pictures, where room was given to them and there is anything to show."""
    if not options.pictures:
        steps.skip("pictures", "no room was given to them")
        return report

    def drawn() -> PictureFacts:
        facts = draw()
        if facts is None:
            raise NotMeasuredError(_NOTHING_TO_SHOW)
        return facts

    facts = steps.run("pictures", drawn)
    failed = [left.reason for left in facts.left_out if left.why == "failed"] if facts is not None else []
    if failed:
        steps.partial("pictures", "; ".join(failed[:3]), failed=True)
    return msgspec.structs.replace(report, pictures=facts)
