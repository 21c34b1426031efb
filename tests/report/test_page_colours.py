"""The colours of the page: told apart by colour-blind eyes, and readable, in the light and in the dark."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

import slimagent.report.page
from slimagent.model.report import Fate

CSS = (Path(slimagent.report.page.__file__).parent / "page.css").read_text()
THEMES = ("light", "dark")
# Machado, Oliveira and Fernandes (2009), table 1, severity 1: what linear RGB looks like.
EYES = {
    "usual": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}
Colour = tuple[float, float, float]
APART = 0.09  # in OKLab; 0.02 is what people just notice side by side


def colour(name: str, theme: str) -> Colour:
    """A colour of the page in linear RGB (IEC 61966-2-1)."""
    found = re.findall(rf"--{name}: #([0-9a-f]{{6}})", CSS)
    assert len(found) == len(THEMES), name
    text = found[THEMES.index(theme)]
    parts = [int(text[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return red, green, blue


def seen(eyes: str, linear: Colour) -> Colour:
    red, green, blue = (
        min(1.0, max(0.0, sum(weight * part for weight, part in zip(row, linear, strict=True)))) for row in EYES[eyes]
    )
    return red, green, blue


def oklab(linear: Colour) -> Colour:
    """Björn Ottosson, "A perceptual color space for image processing" (2020)."""
    red, green, blue = linear
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("eyes", EYES)
def test_fates_are_told_apart(eyes: str, theme: str) -> None:
    """Any two of the five, by whoever looks; and each from the page behind it."""
    names = [*(each.value for each in Fate), "back"]
    places = {name: oklab(seen(eyes, colour(name, theme))) for name in names}
    for one, other in itertools.combinations(names, 2):
        apart = sum((a - b) ** 2 for a, b in zip(places[one], places[other], strict=True)) ** 0.5
        assert apart >= APART, (one, other, round(apart, 3))


@pytest.mark.parametrize("theme", THEMES)
def test_text_is_readable(theme: str) -> None:
    """At least 4.5 to 1 (WCAG 2.2, 1.4.3), on each of the grounds that it stands on."""
    for text, ground in itertools.product(("ink", "soft", "focus", "good", "bad"), ("back", "surface")):
        assert contrast(colour(text, theme), colour(ground, theme)) >= 4.5, (text, ground)
    assert contrast(colour("ink", theme), colour("strip", theme)) >= 4.5


def contrast(one: Colour, other: Colour) -> float:
    """Contrast ratio of WCAG 2.2."""
    light, dark = sorted((0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
