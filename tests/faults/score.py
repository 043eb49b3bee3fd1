"""Score the diagnoses on the bench: ``python -m tests.faults.score``.

Every case is trained as a user would do it, with ``reportgen.Monitor`` in the loop, and examined by
``monitor.report``. A hit: a diagnosis of severity warning or error names a cause of the case. A false alarm: a warning
or an error that is neither a cause of the case nor a true consequence; on healthy runs and repaired twins every one.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import msgspec
import torch

from .case import CASES
from .catalogue import chosen, seeds_of, split_of
from .loop import run
from .verdict import Verdict, judged, scorecard, summary

Job = tuple[str, str, int]
"""Name of the case, kind of the run, seed."""


KINDS = ("sick", "twin", "healthy")


def jobs(split: str, seeds: int, only: str = "", *, short: bool = False, kinds: Iterable[str] = KINDS) -> list[Job]:
    """Return the runs that were asked for; seeds are those of the split that each case belongs to."""
    return [
        (case.name, kind, seed)
        for case in chosen(split, only, short=short)
        for seed in seeds_of(split_of(case), seeds)
        for kind in (("healthy",) if case.healthy else ("sick", "twin"))
        if kind in kinds
    ]


def judge_one(job: Job) -> Verdict:
    """Train, examine and judge one run; a crash is a verdict too."""
    torch.set_num_threads(1)
    name, kind, seed = job
    case = CASES[name]
    split = split_of(case)
    try:
        outcome = run(case, seed, kind == "twin", monitored=True)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return Verdict(name, case.family, split, seed, kind, sorted(case.causes), crash=text)
    return judged(case, kind, seed, split, outcome)


def judge_all(todo: list[Job], workers: int = 1) -> Iterator[Verdict]:
    """Judge all runs, in processes of their own when there are several workers; in the order they end."""
    if workers <= 1:
        yield from map(judge_one, todo)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in as_completed([pool.submit(judge_one, job) for job in todo]):
            yield future.result()


def line(verdict: Verdict) -> str:
    """One run in one line."""
    text = f"{verdict.mark:11} {verdict.kind:8}{verdict.case:52} seed {verdict.seed:<4}"
    if verdict.crash:
        return text + verdict.crash
    said = ", ".join(f"{c}!" if c in verdict.false else c for c in verdict.named) or "-"
    wanted = f"   expected {', '.join(verdict.expected)}" if verdict.sick else ""
    return f"{text}{verdict.seconds:5.1f} s  said {said}{wanted}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit 1 when something crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.score", description=__doc__)
    parser.add_argument("--split", choices=("tune", "report", "all", "fresh", "fresh2", "fresh3"), default="tune")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds of the split, at most 10")
    parser.add_argument("--only", default="", help="part of the name of a case")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--short", action="store_true", help="the dozen cases of the quick check")
    parser.add_argument("--quiet", action="store_true", help="no line for each run, only the sums")
    parser.add_argument("--json", type=Path, help="write every run here")
    parser.add_argument(
        "--scorecard",
        type=Path,
        help="write what each rule did here; reports show what is in reportgen/health/scorecard.json",
    )
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processes")
    a = parser.parse_args(arguments)
    todo = jobs(a.split, a.seeds, a.only, short=a.short, kinds=a.kinds.split(","))
    verdicts = []
    for verdict in judge_all(todo, a.jobs):
        verdicts.append(verdict)
        if not a.quiet or verdict.crash:
            print(line(verdict), flush=True)
    print("\n".join(summary(verdicts)))
    if a.json:
        a.json.write_text(json.dumps([asdict(v) for v in verdicts], indent=1), encoding="utf-8")
    if a.scorecard:
        card = scorecard(verdicts, datetime.date.today().isoformat(), a.split)
        a.scorecard.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")
    return int(any(v.crash for v in verdicts))


if __name__ == "__main__":
    sys.exit(main())
