"""Arrays -> small image files: palette PNG, or WebP where that is smaller. The same array gives the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...document.pictures import CLASS_COLOURS, MAX_SIDE, NO_CLASS, Picture, colour_of

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

GREYS = 14  # with the gap and the frame sixteen colours, four bits a pixel
GAP, FRAME = GREYS, GREYS + 1
MIDDLE = GREYS // 2
_GAP_COLOUR, _FRAME_COLOUR = (190, 198, 207), (214, 84, 18)  # the frame is told from grey by its lightness too
_COLOURS = 48
_PHOTO = 24  # pixels of a side from which WebP may be smaller
_QUALITY = 55
_TINY = 12  # pixels of a side up to which sixteen colours do


def grey_levels(values: Floats, low: float, high: float) -> Bytes:
    """Return the place of each value between two ends in the scale of greys; what is not finite becomes the frame's."""
    reach = high - low
    if not math.isfinite(reach) or reach <= 0:
        levels = np.full(values.shape, MIDDLE, np.uint8)
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            levels = np.nan_to_num((values - low) / reach * (GREYS - 1), posinf=GREYS - 1.0, neginf=0.0)
        levels = np.clip(np.rint(levels), 0, GREYS - 1).astype(np.uint8)
    levels[~np.isfinite(values)] = FRAME
    return levels


def sheet(tiles: Sequence[Bytes], columns: int, framed: Sequence[bool] = (), *, gap: int = GAP) -> Bytes:
    """Lay tiles of one size (h, w) or (h, w, 3) side by side, one pixel apart; a framed one has the frame's colour."""
    height, width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    size = (rows * (height + 1) + 1, columns * (width + 1) + 1, *tiles[0].shape[2:])
    colour = tiles[0].ndim == 3
    out = np.full(size, 0, np.uint8)
    out[...] = _GAP_COLOUR if colour else gap
    for place, tile in enumerate(tiles):
        top, left = (place // columns) * (height + 1), (place % columns) * (width + 1)
        if place < len(framed) and framed[place]:
            out[top : top + height + 2, left : left + width + 2] = _FRAME_COLOUR if colour else FRAME
        out[top + 1 : top + 1 + height, left + 1 : left + 1 + width] = tile
    return out


def of_levels(levels: Bytes) -> Picture:
    """Encode levels of grey, gap and frame (h, w)."""
    from PIL import Image

    _check(levels)
    image = Image.fromarray(levels)
    image.putpalette(_palette())  # which makes an image of places in a palette of it
    return _png(image, bits=4)


def of_classes(kinds: Bytes) -> Picture:
    """Encode class numbers (h, w) in the colours of the classes; ``NO_CLASS`` is grey."""
    from PIL import Image

    _check(kinds)
    places = np.array([colour_of(kind) for kind in range(256)], np.uint8)
    places[NO_CLASS] = len(CLASS_COLOURS)
    image = Image.fromarray(places[kinds])
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in CLASS_COLOURS]
    image.putpalette([part for colour in (*colours, _GAP_COLOUR) for part in colour])
    return _png(image, bits=4)


def of_colours(pixels: Bytes, *, exact: bool = False) -> Picture:
    """Encode red, green and blue (h, w, 3) in a few dozen colours, or as WebP where that is smaller.

    ``exact``: never WebP, which blurs what is a few pixels wide.
    """
    from PIL import Image

    _check(pixels)
    image = Image.fromarray(pixels)
    tiny = max(pixels.shape[:2]) <= _TINY
    few = image.quantize(16 if tiny else _COLOURS, dither=Image.Dither.NONE)
    best = _png(few, bits=4) if tiny else _png(few)
    if exact or max(pixels.shape[:2]) < _PHOTO:
        return best
    out = io.BytesIO()
    try:
        image.save(out, "WEBP", quality=_QUALITY, method=6)
    except (OSError, KeyError):  # a build of Pillow without WebP
        return best
    data = out.getvalue()
    height, width = pixels.shape[:2]
    return best if len(data) >= len(best.data) else Picture(width=width, height=height, format="webp", data=data)


def _png(image: Any, **settings: int) -> Picture:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True, **settings)
    return Picture(width=image.width, height=image.height, format="png", data=out.getvalue())


def _palette() -> list[int]:
    greys = [round(i * 255 / (GREYS - 1)) for i in range(GREYS)]
    return [part for colour in (*((g, g, g) for g in greys), _GAP_COLOUR, _FRAME_COLOUR) for part in colour]


def _check(pixels: Bytes) -> None:
    if not pixels.size or max(pixels.shape[:2]) > MAX_SIDE:
        raise ValueError(f"a picture of {pixels.shape[1]} by {pixels.shape[0]} pixels cannot be made")


class Budget:
    """Bytes that pictures may take together. What no longer fits is counted, by part."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self.refused: dict[str, int] = {}

    def take(self, part: str, picture: Picture, *more: Picture) -> bool:
        """Take the bytes of pictures that belong together, or refuse them all."""
        size = sum(len(p.data) for p in (picture, *more))
        if self.used + size > self.total:
            self.refused[part] = self.refused.get(part, 0) + 1 + len(more)
            return False
        self.used += size
        return True
