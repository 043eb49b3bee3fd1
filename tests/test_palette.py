"""The colours of drawings, as people see them who lack a kind of cone."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from reportgen.document.pictures import CLASS_COLOURS
from reportgen.page.palette import HEAT, SERIES
from reportgen.render.assets import sheet

# linear RGB as a protanope, a deuteranope, a tritanope sees it: Machado, Oliveira and Fernandes 2009, severity 1
SEEN = {
    "all cones": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(colour: str, seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a colour in CIE L*a*b*, of which a distance of about 2 is just noticed and 10 is seen at a glance."""
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    t = _XYZ @ np.clip(seen @ linear, 0, 1) / _WHITE
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def at_night(colour: str) -> str:
    """Return the counterpart of a colour on a dark page."""
    found = re.search(rf'\[stroke="{colour}"\]{{stroke:(#\w+)', sheet("report.css").replace(" ", ""))
    assert found is not None, colour
    return found[1]


@pytest.mark.parametrize("kind", SEEN)
@pytest.mark.parametrize("night", [False, True])
def test_curves_are_told_apart_by_every_eye(kind: str, night: bool) -> None:
    colours = [at_night(c) for c in SERIES] if night else list(SERIES)
    places = [lab(c, SEEN[kind]) for c in colours]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(places, 2)) > 10


@pytest.mark.parametrize("kind", SEEN)
def test_classes_of_a_map_are_told_apart_by_every_eye(kind: str) -> None:
    """All twelve of them: they lie beside each other in a map, and nothing but colour tells them apart there."""
    places = [lab(c, SEEN[kind]) for c in CLASS_COLOURS]
    assert len(places) == 12
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(places, 2)) > 15


def test_the_measure_sees_what_a_deuteranope_does_not() -> None:
    red, green = "#d62728", "#6b7a00"
    distances = [float(np.linalg.norm(lab(red, m) - lab(green, m))) for m in SEEN.values()]
    assert distances[0] > 80
    assert min(distances) < 0.4 * distances[0]


def test_heat_is_a_matter_of_lightness() -> None:
    """So it needs no colour at all, and survives a grey printer."""
    for seen in SEEN.values():
        steps = np.diff([lab(c, seen)[0] for c in HEAT])
        assert steps.max() < -4
