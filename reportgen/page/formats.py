"""Numbers and names as a reader should see them. What was not measured is a dash, never a zero."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime

from .language import _

DASH = "—"
NBSP = "\u00a0"
MINUS = "\u2212"

_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
# C0 and C1 controls, soft hyphen, zero-width and bidi controls, line separators, surrogates, specials: characters
# that change how text around them looks without being seen, or that XML and UTF-8 cannot carry.
_INVISIBLE = (
    "\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e0fff"
)
_HIDDEN = re.compile(f"[{_INVISIBLE}]")
_HIDDEN_IN_A_LINE = re.compile(f"[{_INVISIBLE}\t\n\r\u0085]")
_HYPHEN = re.compile(r"(?<![\w.-])-(?=\d+\.\d)")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(match: re.Match[str]) -> str:
    sign = match.group()
    code = ord(sign)
    return _NAMED.get(sign) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def visible(text: str) -> str:
    """Replace characters that hide or reorder text by escapes; tabs and line ends stay."""
    return _HIDDEN.sub(_escape, text)


def name(text: str) -> str:
    """Show a name on one line, every character of it seen; an empty name is the model itself."""
    return _HIDDEN_IN_A_LINE.sub(_escape, text) if text else _("(model)")


def number(value: float | None, digits: int = 3) -> str:
    """Show a measured number with so many significant digits; whole numbers in full up to a million."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else f"{MINUS}∞"
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e6 and size == int(size):
        text = f"{value:,.0f}"
    elif 1e-4 <= size < 1e6:
        text = f"{value:,.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"
    else:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", MINUS)


def beside(value: float | None, around: Sequence[float | None], digits: int = 3) -> str:
    """Show a number that stands beside others: "~0" where it is less than a millionth of the largest, as rounding is.

    So much is what is left of a mean that a layer makes zero, and of a share that a sigmoid lets not quite be zero.
    """
    known = [abs(v) for v in around if v is not None and math.isfinite(v)]
    return "~0" if value and abs(value) < 1e-6 * max(known, default=0.0) else number(value, digits)


def signed(text: str) -> str:
    """Put a minus sign in a sentence where the format of a number with decimals has left a hyphen."""
    return _HYPHEN.sub(MINUS, text)


def amount(value: float | None) -> str:
    """Show a number of evidence: counts in full, measures with sensible digits."""
    whole = value is not None and math.isfinite(value) and float(value).is_integer() and abs(value) < 1e15
    return count(int(value)) if whole and value is not None else number(value)


def short(value: float | None) -> str:
    """Show a number without the zeros at its end, as a threshold is written."""
    return _without_zeros(number(value, 4))


def brief(value: float | None) -> str:
    """Show a number in three digits, as tables do, without the zeros at its end."""
    return _without_zeros(number(value))


def _without_zeros(text: str) -> str:
    head, sign, tail = text.partition("e")
    return (head.rstrip("0").rstrip(".") if "." in head else head) + sign + tail


def along(value: float) -> str:
    """Show a place along a run, a step or an epoch: a whole one in full, however far it is."""
    return _without_zeros(amount(value))


def at_place(axis: str, value: float) -> str:
    """Name a place along a run by the word for what is counted there: step 48,750."""
    return _("{axis} {n}").format(axis=axis, n=along(value))


def count(value: int | None) -> str:
    """Show a count in full."""
    return DASH if value is None else f"{value:,}".replace("-", MINUS)


def si(value: float | None, unit: str = "") -> str:
    """Show a large count in three digits: 11.7 M."""
    if value is None:
        return DASH
    for factor, prefix in _SI:
        # 999,500 rounds to 1,000 k, which is 1.00 M
        if abs(value) >= factor * 0.9995:
            return f"{_three(value / factor)}{NBSP}{prefix}{unit}"
    return f"{_three(value)}{NBSP}{unit}" if unit else _three(value)


def size(value: int | None) -> str:
    """Show bytes in binary units."""
    if value is None:
        return DASH
    for factor, prefix in _BINARY:
        if abs(value) >= factor:
            return f"{_three(value / factor)}{NBSP}{prefix}"
    return f"{value}{NBSP}B"


def _three(value: float) -> str:
    if value == int(value) and abs(value) < 1000:
        return f"{value:.0f}".replace("-", MINUS)
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f}".replace("-", MINUS)


def percent(share: float | None, digits: int = 1) -> str:
    """Show a share; 0 % and 100 % only when it is exactly so."""
    if share is None or not math.isfinite(share):
        return DASH
    if share in (0, 1):
        return f"{share * 100:.0f}{NBSP}%"
    step = 10.0**-digits
    percentage = share * 100
    if 0 < percentage < step / 2:
        return f"<{NBSP}{step:.{digits}f}{NBSP}%"
    if 100 - step / 2 <= percentage < 100:
        return f">{NBSP}{100 - step:.{digits}f}{NBSP}%"
    return f"{percentage:.{digits}f}{NBSP}%".replace("-", MINUS)


def shape(dimensions: Sequence[int]) -> str:
    """Show the shape of a tensor."""
    return " × ".join(str(d) for d in dimensions) if dimensions else _("scalar")


def whole(text: str) -> str:
    """Keep a short text, such as a shape, on one line."""
    return text.replace(" ", NBSP) if len(text) <= 18 else text


def seconds(value: float | None) -> str:
    """Show a span of time."""
    if value is None:
        return DASH
    # the limits are those at which rounding would show 1000 ms and 120.0 s
    if value < 0.9995:
        return f"{value * 1000:.0f}{NBSP}ms" if value >= 0.001 or value == 0 else f"<{NBSP}1{NBSP}ms"
    if value < 119.95:
        return f"{value:.1f}{NBSP}s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NBSP}h {minutes:02d}{NBSP}min" if hours else f"{minutes}{NBSP}min {rest:02d}{NBSP}s"


def moment(text: str) -> str:
    """Show a point in time to the minute, as ISO 8601 has it but for the letter between day and hour."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return name(text)
    zone = "" if at.tzinfo is None else " UTC" if not at.utcoffset() else f" UTC{at:%z}"
    return f"{at:%Y-%m-%d %H:%M}{zone}"


def words(key: str) -> str:
    """Show the key of a number as words."""
    return name(key).replace("_", " ")


_PARTS = re.compile(r"(?<=[._/:-])(?=\w)|(?<=[a-z0-9])(?=[A-Z])")  # where a name may be broken in two
_PIECE, _LAST_RESORT = 16, 24  # characters


def pieces(text: str) -> list[str]:
    """Cut a text where lines may break that have no room for a long name: at dots, underscores and capitals.

    No piece is shorter than it has to be, and none longer than 24 characters, wherever that cuts a name. A shape stays
    on one line.
    """
    if "×" in text:
        return [", ".join(whole(shape) for shape in text.split(", "))]
    out = [""]
    for word in re.split(r"(?<= )", text):
        for part in _PARTS.split(word) if len(word) > _PIECE else [word]:
            for start in range(0, len(part), _LAST_RESORT):
                piece = part[start : start + _LAST_RESORT]
                joins = start == 0 and (part is word or len(out[-1].rpartition(" ")[2]) + len(piece) <= _PIECE)
                if joins or out[-1].endswith(" ") or not out[-1]:
                    out[-1] += piece
                else:
                    out.append(piece)
    return out


def listing(items: Sequence[str], limit: int = 8) -> str:
    """Show the first names of a list and say how many more there are."""
    shown = _(", ").join(name(i) for i in items[:limit])
    rest = len(items) - limit
    return shown if rest <= 0 else _("{names} and {n} more").format(names=shown, n=rest)
