"""The commands that work on what is written: reports, rules, the schema. None of them imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import OptionError
from .app import app
from .output import Font, Lang, Out, SidecarCss, Templates, checked, presentation, say, written

if TYPE_CHECKING:
    from ..document.facts import Report

Level = Literal["info", "warning", "error"]


Rejudge = Annotated[
    bool, typer.Option("--rejudge", help="Judge its facts anew, by the rules of this version and the settings of now.")
]


@app.command()
def render(
    report: Annotated[Path, typer.Argument(help="a report.json")],
    output: Out = None,
    rejudge: Rejudge = False,
    templates: Templates = None,
    sidecar_css: SidecarCss = None,
    lang: Lang = None,
    font: Font = None,
) -> None:
    """Write a report.json in other formats, report.html unless told otherwise. Needs no torch."""
    look, language = presentation(templates=templates, sidecar_css=sidecar_css, lang=lang, font=font)
    paths = checked(output or [report.with_suffix(".html")], look)
    written(_read(report, rejudge=rejudge), paths, look, language)


def _read(path: Path, *, rejudge: bool) -> Report:
    """Read a report, and judge it anew by [rules] and [thresholds] of the settings if that is wanted."""
    from .. import settings
    from ..document.codec import read
    from ..health.judge import judge
    from ..health.policy import policy_of
    from ..health.thresholds import Thresholds

    report = read(path)
    if not rejudge:
        return report
    options = settings.load(None, {}).options
    return judge(report, Thresholds().replace(options.thresholds), policy_of(options.rules))


@app.command()
def check(
    report: Annotated[Path, typer.Argument(help="a report.json")],
    fail_on: Annotated[Level | None, typer.Option(help="Exit with 1 when a diagnosis is at least so severe.")] = None,
    rejudge: Rejudge = False,
    lang: Lang = None,
) -> int:
    """Gate a build: exit with 1 when the report holds a diagnosis of at least that severity. Needs no torch.

    That is a warning, unless --fail-on or [check] in the settings says otherwise.
    """
    from .. import settings
    from ..document.facts import Severity
    from ..health.gate import offending
    from ..page.formats import name
    from ..page.language import _, speaking, term
    from ..page.wording import summary

    given = settings.load(None, {"check": {"fail_on": fail_on}, "language": lang})
    level = given.check.fail_on
    document = _read(report, rejudge=rejudge)
    hits = offending(document, Severity(level))
    with speaking(given.options.language):
        for diagnosis in hits:
            # a layer's name comes from outside and must not steer the terminal
            where = name(diagnosis.subject)
            say(f"{diagnosis.severity:8} {diagnosis.cause:24} {where:24} {summary(diagnosis)}")
        told = _("{n} of severity {level} or above, {others} below, in {report}")
        others = len(document.diagnoses) - len(hits)
        say(told.format(n=len(hits), level=term(level), others=others, report=report))
    return 1 if hits else 0


@app.command()
def rules(
    rule: Annotated[str | None, typer.Argument(help="The id of a rule; all of them if left out.")] = None,
    lang: Lang = None,
) -> None:
    """List what is tested, or say of one rule what it measures, its thresholds, its record, and when it is wrong."""
    import difflib

    from ..health.rules import RULES
    from ..health.scorecard import scorecard
    from ..page.explain import account, explain
    from ..page.language import speaking

    language = presentation(lang=lang)[1] or "en"
    if rule is None:
        with speaking(language):
            for name in RULES:
                say(f"{name:26} {account(name).splitlines()[0]}")
    elif rule in RULES:
        with speaking(language):
            say(explain(rule, scorecard()))
    else:
        near = difflib.get_close_matches(rule, RULES) or list(RULES)
        raise OptionError(f"There is no rule named {rule!r}.", hint=f"Did you mean {', '.join(near)}?")


@app.command()
def extract(
    report: Annotated[Path, typer.Argument(help="a report.html")],
    output: Out = None,
    lang: Lang = None,
    font: Font = None,
) -> None:
    """Write the data that an HTML report carries, as JSON or in any other format. Needs no torch."""
    from ..render.carrier import extract as carried

    look, language = presentation(lang=lang, font=font)
    paths = checked(output or [report.with_suffix(".json")], look)
    written(carried(report), paths, look, language)


@app.command()
def schema() -> None:
    """Print the JSON Schema of report.json."""
    from ..document.codec import schema as text

    say(text().decode().rstrip())
