"""One examination by several processes: their scores are put together, whatever becomes of one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ..document.facts import Report
from ..errors import one_line
from ..probe.distributed import WAIT, gathered, meet, own, share_of
from ..probe.evaluation import EvaluationProbe
from ..subject.data import Batch
from .subject import Subject


class Together:
    """The processes that read one split together; none but this one where its data are nobody else's part.

    From here on each process calls ``merged`` or ``miss`` once, as the others wait for it.
    """

    def __init__(self, subject: Subject, data: Any) -> None:
        self._subject, self._remarks = subject, []
        self.share = None if data is None else share_of(data, subject.model, subject.options.merge_processes)
        self._all_here = self.share is not None and meet(self.share, WAIT)
        if self.share is not None and not self._all_here:
            self._remarks = [
                f"part {self.share.rank + 1} of {self.share.size} of the data: "
                f"the other processes did not come within {WAIT:g} seconds"
            ]

    def told_in(self, report: Report) -> Report:
        """Enter in the report which of how many processes makes it."""
        if self.share is None or not self._all_here:
            return report
        meta = msgspec.structs.replace(report.meta, process=self.share.rank, processes=self.share.size)
        return msgspec.structs.replace(report, meta=meta)

    def own(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of this process without the samples that repeat others."""
        return own(batches, self.share)

    def probe(self) -> EvaluationProbe:
        """Return a probe that knows at which places of the data the samples of this process stand."""
        place = {} if self.share is None else {"start": self.share.rank, "step": self.share.size}
        options = self._subject.options
        return EvaluationProbe(self._subject.loss, options.task, options.class_names, **place)

    def merged(self, probe: EvaluationProbe, failed: str) -> tuple[EvaluationProbe, str]:
        """Return what all processes saw, and why there is nothing to report; '' where there is."""
        reason = failed or probe.trouble
        if self.share is None or not self._all_here:
            return probe, reason
        try:
            parts = gathered(failed or probe, self.share.size)
        except Exception as error:  # one of the others has died, or what it has cannot be sent
            self._remarks = [f"part {self.share.rank + 1} of {self.share.size} of the data: {one_line(error)}"]
            return probe, reason
        broken = [f"process {rank}: {one}" for rank, one in enumerate(parts) if isinstance(one, str)]
        if broken:
            return probe, "; ".join(broken)
        whole, *others = parts
        for other in others:
            whole.merge(other)
        self._remarks = [f"scores of the parts of {self.share.size} processes, put together"]
        return whole, whole.trouble

    def miss(self, reason: str) -> None:
        """Tell the others that nothing will come from this process."""
        if self.share is not None and self._all_here:
            gathered(reason, self.share.size)

    def told(self) -> list[str]:
        """Say of which data the scores are."""
        return self._remarks
