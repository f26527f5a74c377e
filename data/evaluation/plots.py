"""Dots with their intervals on one scale, as SVG that needs no script and no font of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from data.evaluation.intervals import Estimate

COLOURS = {
    "base": "#7a808a",
    "few_shot": "#b7791f",
    "previous": "#7b5ea7",
    "tuned": "#1d6fb8",
    "human": "#2f855a",
}
_WIDTH, _LEFT, _RIGHT, _ROW = 920, 230, 100, 28
_MIDDLE = 'text-anchor="middle"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One row of a plot: its label, its figure, and the side that gives it its colour."""

    label: str
    each: Estimate
    side: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What the axis means: its unit, lines at thresholds, and a stretch that is bad to be in."""

    unit: str
    marks: Sequence[tuple[float, str]] = ()
    bad: tuple[float, float] | None = None
    least: tuple[float, float] | None = None  # what the axis shows at least
    digits: int = 2
    most: float | None = None  # where the axis ends, whatever the intervals do


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the axis begins and ends, in its unit, and the rows in pixels from above."""

    low: float
    high: float
    top: int
    bottom: int

    def x(self, value: float) -> float:
        """Return the pixel of a value; what lies outside is put at the end."""
        inside = min(max(value, self.low), self.high)
        return _LEFT + (inside - self.low) / (self.high - self.low) * (_WIDTH - _LEFT - _RIGHT)


def plot(rows: Sequence[Dot], scale: Scale) -> str:
    """Return the plot; intervals that leave the axis end in an arrow."""
    low, high = _ends(rows, scale)
    top = 22 if scale.marks else 8
    frame = _Frame(low, high, top, top + _ROW * len(rows))
    height = frame.bottom + 42
    told = "; ".join(f"{row.label} {row.each.value:.{scale.digits}f}" for row in rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
        f' role="img" aria-label="{escape(scale.unit)}: {escape(told)}"'
        ' font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    if scale.bad is not None and scale.bad[0] < high:
        left, right = frame.x(scale.bad[0]), frame.x(scale.bad[1])
        size = f'width="{right - left:.1f}" height="{frame.bottom - top}"'
        parts.append(f'<rect x="{left:.1f}" y="{top}" {size} fill="#fbe9e7"/>')
    parts += _axis(frame, scale)
    for place, row in enumerate(rows):
        parts += _row(row, top + _ROW * place + _ROW / 2, frame, scale)
    return "".join([*parts, "</svg>"])


def _row(row: Dot, y: float, frame: _Frame, scale: Scale) -> list[str]:
    colour, each = COLOURS.get(row.side, "#444"), row.each
    parts = [_text(_LEFT - 12, y + 4, row.label, 'text-anchor="end" fill="#222"')]
    if each.low is not None and each.high is not None:
        ends = f'x1="{frame.x(each.low):.1f}" x2="{frame.x(each.high):.1f}"'
        look = f'stroke="{colour}" stroke-width="3" stroke-opacity="0.45"'
        parts.append(f'<line {ends} y1="{y:.1f}" y2="{y:.1f}" {look}/>')
        for outside, end, sign in (
            (each.low < frame.low, frame.low, -1),
            (each.high > frame.high, frame.high, 1),
        ):
            if outside:
                arrow = f"M{frame.x(end):.1f} {y - 5:.1f} l{7 * sign} 5 l{-7 * sign} 5 z"
                parts.append(f'<path d="{arrow}" fill="{colour}"/>')
    if frame.low <= each.value <= frame.high:
        parts.append(
            f'<circle cx="{frame.x(each.value):.1f}" cy="{y:.1f}" r="5.5" fill="{colour}"/>'
        )
    shown = f"{each.value:,.{scale.digits}f}"
    look = f'fill="{colour}" font-weight="600"'
    return [*parts, _text(_WIDTH - _RIGHT + 14, y + 4, shown, look)]


def _axis(frame: _Frame, scale: Scale) -> list[str]:
    """Return the axis with its ticks and its unit, and the lines at thresholds."""
    bottom = frame.bottom
    parts = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}" stroke="#999"/>'
    ]
    step = _step(frame.high - frame.low)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(frame.low / step - 1e-9)
    for number in range(first, math.floor(frame.high / step + 1e-9) + 1):
        at, shown = frame.x(number * step), f"{number * step + 0.0:,.{digits}f}"
        ends = f'x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 4}"'
        parts.append(f'<line {ends} stroke="#999"/>')
        parts.append(_text(at, bottom + 17, shown, f'{_MIDDLE} fill="#666" font-size="11"'))
    for value, name in scale.marks:
        if frame.low <= value <= frame.high:
            at = frame.x(value)
            ends = f'x1="{at:.1f}" x2="{at:.1f}" y1="{frame.top - 4}" y2="{bottom}"'
            parts.append(f'<line {ends} stroke="#555" stroke-dasharray="4 3"/>')
            parts.append(_text(at, frame.top - 8, name, f'{_MIDDLE} fill="#555" font-size="12"'))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return [*parts, _text(middle, bottom + 34, scale.unit, f'{_MIDDLE} fill="#444" font-size="12"')]


def _text(x: float, y: float, words: str, look: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(words)}</text>'


def _ends(rows: Sequence[Dot], scale: Scale) -> tuple[float, float]:
    values = [row.each.value for row in rows]
    ends = [end for row in rows for end in (row.each.low, row.each.high) if end is not None]
    least = list(scale.least or ())
    low, high = min([*values, *ends, *least]), max([*values, *ends, *least])
    if scale.most is not None:
        high = min(high, scale.most)
        low = max(low, -scale.most)
    room = (high - low) * 0.05 or 0.5
    return (low if low == 0 else low - room), high + room


def _step(width: float) -> float:
    """Return the distance of ticks: 1, 2 or 5 times a power of ten, about five in all."""
    rough = width / 5
    power = 10 ** math.floor(math.log10(rough))
    return float(next(k * power for k in (1, 2, 5, 10) if k * power >= rough))
