"""Chinese characters where there may be no font for them: a subset of a font found here travels with the page.

Only the characters of the page are taken, and only where there are any. A font is given (``--font``), or found by
fontconfig or in the folders where systems keep theirs.
"""

from __future__ import annotations

import base64
import io
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ..errors import OptionError, one_line

FAMILY = "Report CJK"
# radicals, kana, ideographs, full-width forms, Hangul, and the ideographs beyond the basic plane
_CHINESE = re.compile("[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffee\U00020000-\U0003ffff]")
# the same for a style sheet: no other sign, which a font may lack, makes a browser fetch this one
_RANGE = "U+2E80-9FFF,U+AC00-D7A3,U+F900-FAFF,U+FE30-FE4F,U+FF00-FFEE,U+20000-3FFFF"
# such fonts of readers, by their full names
_OWN = (
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
)
_PREFERRED = (  # regular sans-serif faces of simplified Chinese before all others
    "notosanscjk",
    "notosanssc",
    "sourcehansans",
    "pingfang",
    "msyh",
    "hiraginosansgb",
    "wqy-microhei",
    "wqy-zenhei",
    "stheiti",
    "simhei",
    "simsun",
)
_OTHER_WEIGHTS = ("bold", "black", "light", "thin", "medium", "heavy", "mono", "serif")
_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "/Library/Fonts", "C:/Windows/Fonts")
_GRIDS = {"woff2": 90, None: 256}  # places to the em on a screen and on paper
_SPACES = " \u00a0"  # on paper a space is set in the font of what stands before it
_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")

NOTICE = (
    "No font with Chinese characters was found to put into this page; readers without one see empty boxes. "
    "未找到可嵌入本页的中文字体；没有中文字体的读者会看到空白方框。"
)


def chinese(text: str) -> str:
    """Return the characters of a text that Latin fonts lack, each once."""
    return "".join(sorted(set(_CHINESE.findall(text))))


@cache
def found(given: str | None = None) -> Path | None:
    """Return the font to take characters from: the one given, or the best one of this system; None where there is none.

    Raises OptionError where the one given is no font, or has no Chinese characters.
    """
    if given is not None:
        path = Path(given)
        if not _covers(path):
            raise OptionError(f"{given} has no Chinese characters.", hint="Expected a font such as NotoSansSC.otf.")
        return path
    candidates = sorted({*_by_fontconfig(), *_in_folders()}, key=_rank)
    return next((path for path in candidates if _named(path) < len(_PREFERRED) or _can_be_read(path)), None)


def _named(path: Path) -> int:
    name = path.name.lower().replace(" ", "")
    return next((i for i, known in enumerate(_PREFERRED) if name.startswith(known)), len(_PREFERRED))


def _rank(path: Path) -> tuple[int, int, str]:
    name = path.name.lower()
    return _named(path), sum(word in name for word in _OTHER_WEIGHTS), str(path)


def _by_fontconfig() -> Iterator[Path]:
    try:
        told = subprocess.run(
            ["fc-list", "--format", "%{file}\n", ":lang=zh-cn"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return
    yield from (Path(line) for line in told.splitlines() if line.lower().endswith(_SUFFIXES))


def _in_folders() -> Iterator[Path]:
    """Find fonts by their usual names where fontconfig is not there to ask."""
    for folder in _FOLDERS:
        for path in Path(folder).rglob("*") if Path(folder).is_dir() else ():
            if path.suffix.lower() in _SUFFIXES and _named(path) < len(_PREFERRED):
                yield path


def _can_be_read(path: Path) -> bool:
    try:
        return _covers(path)
    except OptionError:
        return False


def _covers(path: Path) -> bool:
    with _opened(path) as font:
        return 0x7684 in (font.getBestCmap() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a font; of a collection the face of simplified Chinese, or the first. It is read where it is looked into."""
    from fontTools.ttLib import TTCollection, TTFont, TTLibError

    try:
        with path.open("rb") as file:
            if path.suffix.lower() not in (".ttc", ".otc"):
                yield TTFont(file, lazy=True)
                return
            faces = TTCollection(file, lazy=True).fonts
            simplified = (face for face in faces if str(face["name"].getDebugName(1)).endswith((" SC", " CN")))
            yield next(simplified, faces[0])
    except (OSError, TTLibError) as error:
        raise OptionError(f"{path} cannot be read as a font: {one_line(error)}.") from None


@lru_cache(maxsize=8)
def subset(path: Path, characters: str, flavour: str | None) -> tuple[bytes, str]:
    """Return a font with these characters only, and those that it lacks. ``flavour``: 'woff2', or None for a plain one.

    The same font and characters give the same bytes.
    """
    from fontTools.subset import Options, Subsetter, save_font

    options = Options()
    options.flavor = flavour
    options.hinting = options.glyph_names = options.recalc_timestamp = False
    options.layout_features = []
    options.name_IDs = [1, 2]
    options.drop_tables += ["BASE", "DSIG", "vhea", "vmtx", "VORG", "GSUB", "GPOS", "GDEF", "kern", "FFTM"]
    shrink = Subsetter(options=options)
    shrink.populate(text=characters if flavour else characters + _SPACES)
    out = io.BytesIO()
    with _opened(path) as font:
        font.recalcTimestamp = False
        lacking = "".join(c for c in characters if ord(c) not in (font.getBestCmap() or {}))
        shrink.subset(font)
        _coarsen(font, _GRIDS[flavour])
        save_font(font, out, options)
    return out.getvalue(), lacking


def bold(path: Path, characters: str) -> bytes | None:
    """Return the bold face for paper: the font's own where it lies beside it, else one struck twice; None without.

    Browsers thicken a face by themselves, printing does not.
    """
    beside = path.with_name(path.name.replace("Regular", "Bold"))
    if beside != path and beside.is_file():
        return subset(beside, characters, None)[0]
    return _struck_twice(subset(path, characters, None)[0])


def _struck_twice(data: bytes) -> bytes | None:
    """Return a font whose outlines stand twice, the second time a thirtieth of an em to the right: their union is bold.

    None for outlines that are not of TrueType.
    """
    from fontTools.ttLib import TTFont
    from fontTools.ttLib.tables._g_l_y_f import GlyphCoordinates

    font = TTFont(io.BytesIO(data), recalcTimestamp=False)
    if "glyf" not in font:
        return None
    glyphs, shift = font["glyf"], round(font["head"].unitsPerEm / 30)
    for name in font.getGlyphOrder():
        glyph = glyphs[name]
        if glyph.numberOfContours <= 0:
            continue
        points, ends, flags = glyph.getCoordinates(glyphs)
        glyph.coordinates = GlyphCoordinates([*points, *((x + shift, y) for x, y in points)])
        glyph.endPtsOfContours = [*ends, *(end + len(points) for end in ends)]
        glyph.flags = flags + flags
        glyph.numberOfContours *= 2
        glyph.recalcBounds(glyphs)
    font["OS/2"].usWeightClass, font["head"].macStyle = 700, font["head"].macStyle | 1
    out = io.BytesIO()
    font.save(out)
    return out.getvalue()


def _coarsen(font: Any, grid: int) -> None:
    """Put the points of outlines on a grid of so many to the em.

    On a screen, where a face of the reader's own goes first, it is half a pixel in the largest heading; on paper a
    twenty-fifth of a millimetre, a dot of a printer. For outlines of TrueType: those of CFF stay as they are.
    """
    from fontTools.ttLib.scaleUpem import scale_upem

    if "glyf" in font and font["head"].unitsPerEm > grid:
        scale_upem(font, grid)


def face(path: Path, characters: str) -> str:
    """Return the rule that brings these characters into an HTML page."""
    data = base64.b64encode(subset(path, characters, "woff2")[0]).decode("ascii")
    return face_at(f"data:font/woff2;base64,{data}")


def face_at(address: str) -> str:
    """Return the rule for a font at an address; a font of the reader's own goes first, finer and there at once."""
    own = ",".join(f'local("{name}")' for name in _OWN)
    source = f'src:{own},url({address}) format("woff2")'
    return f'@font-face{{font-family:"{FAMILY}";{source};unicode-range:{_RANGE}}}'
