"""Charts as inline SVG: numbers in, text out.

Drawn directly and not with matplotlib, which is an extra and 0.3 s a figure: the page needs steps,
bars, boxes and lines only, its text stays text (it can be selected and read aloud), and no
picture blurs on a phone. Charts are 440 units wide, so that 12-unit text is readable at 360 px.

Colours are those of Okabe & Ito (colour-blind safe).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

Values = Sequence[float] | npt.NDArray[np.floating] | npt.NDArray[np.integer]

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#D55E00", "#009E73", "#B00020", "#8a8a8a"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#5a4a00", "#56B4E9", "#000000")
DASHES = ("", "6 3", "2 2", "8 2 2 2", "1 3", "4 4", "")

_WIDTH, _HEIGHT = 440, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 44

# Cividis at equal steps, dark to light.
_CIVIDIS = (
    (0, 34, 78),
    (59, 73, 108),
    (112, 113, 122),
    (165, 156, 116),
    (219, 203, 90),
    (253, 231, 55),
)


def colour_of(fraction: float) -> str:
    """Cividis, 0 to 1."""
    place = min(max(fraction, 0.0), 1.0) * (len(_CIVIDIS) - 1)
    low = min(int(place), len(_CIVIDIS) - 2)
    mixed = (
        round(a + (place - low) * (b - a))
        for a, b in zip(_CIVIDIS[low], _CIVIDIS[low + 1], strict=True)
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)


def nice_ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Round numbers between two ends, about `number` of them."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / number
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A tick's label: no needless digits, thousands as k, millions as M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and value % size == 0):
            return f"{value / size:g}{letter}"
    return f"{value:g}".replace("-", "\u2212")


class Chart:
    """One pair of axes; add marks, then take `svg`."""

    def __init__(
        self,
        title: str,
        x_label: str,
        y_label: str,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        *,
        height: int = _HEIGHT,
        scale: Callable[[float], float] | None = None,
        ticks: tuple[Sequence[float], Sequence[float]] | None = None,
        x_tick_text: Callable[[float], str] | None = None,
    ) -> None:
        """`scale` is applied to both axes; `ticks` are then to be given."""
        self._title, self._x_label, self._y_label = title, x_label, y_label
        self._scale = scale or float
        self._x_range, self._y_range = x_range, y_range
        self._height = height
        self._ticks = ticks or (
            nice_ticks(min(x_range), max(x_range)),
            nice_ticks(min(y_range), max(y_range), 4),
        )
        self._x_tick_text = x_tick_text or tick_text
        self._marks: list[str] = []
        self._legend: list[tuple[str, str, str]] = []

    def x(self, value: float) -> float:
        low, high = (self._scale(end) for end in self._x_range)
        return _LEFT + (self._scale(value) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = (self._scale(end) for end in self._y_range)
        inner = self._height - _TOP - _BOTTOM
        return self._height - _BOTTOM - (self._scale(value) - low) / (high - low) * inner

    def steps(
        self,
        edges: Values,
        values: Values,
        colour: str = BLUE,
        *,
        name: str = "",
        dash: str = "",
        fill: bool = False,
    ) -> None:
        """A histogram's outline, `values` one shorter than `edges`."""
        points = []
        for left, right, value in zip(edges[:-1], edges[1:], values, strict=True):
            points += [f"{self.x(left):.1f},{self.y(value):.1f}"]
            points += [f"{self.x(right):.1f},{self.y(value):.1f}"]
        if fill:
            floor = self.y(min(self._y_range))
            ends = f"{self.x(edges[0]):.1f},{floor:.1f}", f"{self.x(edges[-1]):.1f},{floor:.1f}"
            self._marks.append(
                f'<polygon points="{ends[0]} {" ".join(points)} {ends[1]}" fill="{colour}" '
                'fill-opacity="0.18"/>'
            )
        self._line(points, colour, dash)
        self._name(name, colour, dash)

    def line(
        self, xs: Values, ys: Values, colour: str = BLUE, *, name: str = "", dash: str = ""
    ) -> None:
        """A broken line through points."""
        points = [f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys, strict=True)]
        self._line(points, colour, dash)
        self._name(name, colour, dash)

    def box(
        self,
        x1: float,
        x2: float,
        y1: float,
        y2: float,
        colour: str,
        *,
        opacity: float = 1.0,
        hint: str = "",
        outline: str = "",
        least: float = 0.0,
    ) -> None:
        """A rectangle in axis units, at least `least` units of the page wide and high."""
        left, right = sorted((self.x(x1), self.x(x2)))
        top, bottom = sorted((self.y(y1), self.y(y2)))
        if right - left < least:
            left, right = (left + right - least) / 2, (left + right + least) / 2
        if bottom - top < least:
            top, bottom = (top + bottom - least) / 2, (top + bottom + least) / 2
        title = f"<title>{escape(hint)}</title>" if hint else ""
        edge = f' stroke="{outline}" stroke-width="1.2"' if outline else ""
        alpha = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
        self._marks.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}" fill="{colour}"{alpha}{edge}>{title}</rect>'
        )

    def legend(self, name: str, colour: str) -> None:
        """A word for a colour."""
        self._legend.append((name, colour, "box"))

    def _line(self, points: list[str], colour: str, dash: str) -> None:
        broken = f' stroke-dasharray="{dash}"' if dash else ""
        self._marks.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" '
            f'stroke-width="1.6"{broken}/>'
        )

    def _name(self, name: str, colour: str, dash: str) -> None:
        if name:
            self._legend.append((name, colour, dash))

    def svg(self) -> str:
        """The figure, with its title as caption and the legend below it."""
        floor, right = self._height - _BOTTOM, _WIDTH - _RIGHT
        parts = []
        for value in self._ticks[0]:
            x = self.x(value)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{floor}"/>')
            parts.append(
                f'<text x="{x:.1f}" y="{floor + 15}" text-anchor="middle">'
                f"{self._x_tick_text(value)}</text>"
            )
        for value in self._ticks[1]:
            y = self.y(value)
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            parts.append(
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick_text(value)}</text>'
            )
        middle = (_TOP + floor) / 2
        labels = (
            f'<text x="{(_LEFT + right) / 2:.0f}" y="{self._height - 8}" text-anchor="middle">'
            f"{escape(self._x_label)}</text>"
            f'<text transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(self._y_label)}</text>"
        )
        frame = f'<path class="frame" d="M{_LEFT} {_TOP}V{floor}H{right}"/>'
        legend = "".join(_legend_entry(*entry) for entry in self._legend)
        return (
            f"<figure><figcaption>{escape(self._title)}</figcaption>"
            f'<svg viewBox="0 0 {_WIDTH} {self._height}" role="img" '
            f'aria-label="{escape(self._title)}">{"".join(parts)}'
            f"<g>{''.join(self._marks)}</g>{frame}{labels}</svg>"
            + (f'<p class="legend">{legend}</p>' if legend else "")
            + "</figure>"
        )


def _legend_entry(name: str, colour: str, dash: str) -> str:
    if dash == "box":
        mark = f'<rect x="2" y="1" width="14" height="9" fill="{colour}" stroke="#555"/>'
    else:
        broken = f' stroke-dasharray="{dash}"' if dash else ""
        mark = f'<path d="M0 6H22" stroke="{colour}" stroke-width="2"{broken}/>'
    return (
        f'<span><svg class="key" viewBox="0 0 22 12" aria-hidden="true">{mark}</svg>'
        f"{escape(name)}</span> "
    )


def upper_limit(values: Values) -> float:
    """A little above the largest value; 1 if there is none."""
    largest = max((float(value) for value in values), default=0.0)
    return 1.06 * largest if largest > 0 else 1.0
