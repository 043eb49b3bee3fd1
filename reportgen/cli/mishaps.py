"""What went wrong with a report, in the language that the command asks for: reading it, writing it, its look.

The errors themselves speak English, as all that a program catches. What a person meets who only reads or passes on a
report is said in that person's language; messages about models, data and code are for those who wrote them.
"""

from __future__ import annotations

import re
from functools import cache

from ..errors import ReportgenError
from ..page.language import N_, _, speaking, term

MESSAGES = (
    N_("{where} is not JSON ({error})."),
    N_("{where} is JSON, but no report: its format_version is {version}, expected 1 to {last}."),
    N_("{where} has format version {version}; this reportgen reads up to {last}."),
    N_("{where} is a damaged report: {error}."),
    N_("Cannot read {path}: {reason}."),
    N_("{path} is a PDF."),
    N_("{path} carries no data of a report."),
    N_("The data in {path} are damaged ({error})."),
    N_("The data in {path} unpack to more than {n} MiB."),
    N_("The templates of reportgen are missing from this installation."),
    N_("PDF needs system libraries that are missing here ({error})."),
    N_("Cannot write {path}."),
    N_("Cannot write {path}: {reason}."),
    N_("Cannot write {path}: {place} is no regular file."),
    N_("The suffix {suffix} of {path} names no format."),
    N_("{suffix} names no format."),
    N_("{font} has no Chinese characters."),
    N_("{path} cannot be read as a font: {error}."),
    N_("There is no folder of templates {folder}."),
    N_("The folder {folder} holds no templates."),
    N_("{path} cannot be read: {error}."),
)
HINTS = (
    N_("Expected a report.json written by reportgen."),
    N_("Install a newer reportgen."),
    N_("Write it again."),
    N_("Its data are attached as report.json: any PDF viewer, or pdfdetach, saves them."),
    N_("Expected an .html file written by reportgen; of a very large report the page says that data were left out."),
    N_("Write the report again."),
    N_("No report is that large."),
    N_("Install it again."),
    N_(
        "Install Pango: libpango-1.0-0 and libpangoft2-1.0-0 on Debian and Ubuntu, pango on macOS and Fedora; or write "
        ".html."
    ),
    N_("The folder {folder} does not exist: create it first."),
    N_("The path is a folder: name a file."),
    N_("Choose a folder that you may write to."),
    N_("Choose one of {known}."),
    N_("Expected a font such as NotoSansSC.otf."),
    N_("Expected {file}, {other}, or both."),
)
# what the system says, in the words of C
REASONS = (
    N_("No such file or directory"),
    N_("Is a directory"),
    N_("Permission denied"),
    N_("No space left on device"),
)
_PLACE = re.compile(r"\{(\w+)\}")


def told(error: ReportgenError, language: str) -> str:
    """Return message and hint in this language; as they are where there are no words for them."""
    message = str(error.args[0]) if error.args else ""
    with speaking(language):
        parts = [_put(message, MESSAGES), _put(error.hint, HINTS)]
    return ("" if language == "zh" and parts[0].endswith("。") else " ").join(part for part in parts if part)


def _put(text: str, templates: tuple[str, ...]) -> str:
    for template in templates:
        found = _pattern(template).fullmatch(text)
        if found is not None:
            return _(template).format(**{key: term(value) for key, value in found.groupdict().items()})
    return text


@cache
def _pattern(template: str) -> re.Pattern[str]:
    # names of places stand at odd indices
    parts = _PLACE.split(template)
    return re.compile("".join(f"(?P<{p}>.+)" if i % 2 else re.escape(p) for i, p in enumerate(parts)), re.S)
