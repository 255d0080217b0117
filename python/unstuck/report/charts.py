"""The charts of a report: loss and gradient over the steps, the spectrum's ends, a way along a direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from ..number_text import apart, number, tidy
from ..plain_text import plain
from .svg import ROLES, Chart, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Event = tuple[float, str]
HIGHEST = 1e100  # of a drawn loss
_POINTS = 800
# told apart without colour
_STROKES: tuple[Any, ...] = (
    "-",
    (0, (6, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1.5)),
    (0, (1, 3)),
    (0, (9, 2)),
)
_MARKERS = "osD^vPX"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def loss_curve(
    steps: ArrayLike,
    loss: ArrayLike,
    events: Sequence[Event] = (),
    *,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    caption: str = "",
    title: str = "Loss over the steps",
) -> Chart:
    """Training loss against the step, with vertical marks at `events` [(step, label)].

    Args:
        steps: (k,) step numbers.
        loss: (k,) loss of each step; drawn faint with its running median when it is noisy.
        events: moments to mark, e.g. [(1200, "escape")].
        validation: (steps, loss) of a second curve.
        caption: sentence below the figure.
        title: heading.

    Raises:
        ArgumentError: lengths differ or nothing is finite.
    """

    def paint(axes: Axes) -> None:
        _series(axes, steps, loss, "training loss", ROLES["accent"])
        if validation is not None:
            _series(axes, *validation, "validation loss", ROLES["second"], (0, (6, 2)))
            axes.legend(loc="upper right")
        _value_axis(axes, loss)
        axes.set_ylabel("loss")
        _events(axes, events)

    return Chart(title, caption, draw(paint))


@dataclass(frozen=True)
class Curve:
    """One curve of `copies`: what was changed, updates (k,), losses (k,), whether it helped, and that in a word."""

    label: str
    steps: ArrayLike
    loss: ArrayLike
    helped: bool
    word: str = ""


def copies(
    control: tuple[ArrayLike, ArrayLike],
    curves: Sequence[Curve],
    caption: str = "",
    title: str = "What copies of the run reached",
) -> Chart:
    """The losses of treated copies against that of a copy in which nothing was changed.

    Every curve has its own stroke and marker, so that it reads without colour. What rises far above the control
    leaves the figure at its upper edge.

    Args:
        control: (updates, losses) of the untreated copy; where none is finite, its name says so.
        curves: at most seven.
        caption: sentence below the figure.
        title: heading.

    Raises:
        ArgumentError: more than seven curves, or lengths differ, or nothing is finite.
    """
    if len(curves) > len(_STROKES):
        raise ArgumentError(f"`curves` must be at most {len(_STROKES)}, got {len(curves)}")
    untreated = np.asarray(control[0], dtype=np.float64), np.asarray(control[1], dtype=np.float64)
    broke = not np.isfinite(untreated[1]).any()
    if not (broke and curves):
        untreated = _pair(*control)
    treated = [_pair(curve.steps, curve.loss) for curve in curves]

    def paint(axes: Axes) -> None:
        name = "nothing changed: not finite" if broke else "nothing changed"
        axes.plot(*untreated, color=ROLES["muted"], lw=3.4, alpha=0.75, label=name)
        for i, (curve, (x, y)) in enumerate(zip(curves, treated, strict=True)):
            colour = ROLES["good" if curve.helped else "second"]
            word = curve.word or ("helps" if curve.helped else "no better")
            label = tidy(f"{plain(curve.label, 80)}: {plain(word, 20)}")
            style = {"ls": _STROKES[i], "marker": _MARKERS[i], "markevery": (2 + i % 4, 5), "ms": 5.5}
            axes.plot(x, y, color=colour, lw=2.2 if curve.helped else 1.3, label=label, **style)
        several = [y for _, y in treated] if broke else [untreated[1]]
        shown = [*several, *(y for curve, (_, y) in zip(curves, treated, strict=True) if curve.helped)]
        every = np.concatenate([y for _, y in (untreated, *treated)])
        _limits(axes, np.concatenate(shown), float(np.nanmin(np.where(np.isfinite(every), every, np.nan))))
        axes.set_xlabel("updates from where the run stands")
        axes.set_ylabel("loss")
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", fontsize=9.5, handlelength=4.5)

    words = "Each curve is a copy of the run on the same batches; only what its name says was changed."
    return Chart(title, caption or words, draw(paint, (7.2, 3.4 + 0.2 * (1 + len(curves)))))


def _limits(axes: Axes, values: Array, lowest: float) -> None:
    """A vertical axis from the lowest value of all to a little above the highest of `values`; logarithmic if wide."""
    highest = min(float(values[np.isfinite(values)].max()), HIGHEST)
    lowest = max(lowest, 1.0 / HIGHEST) if lowest > 0 else lowest
    if lowest > 0 and highest > 20 * lowest:
        _value_axis(axes, [lowest, highest])
        room = (highest / lowest) ** 0.06
        axes.set_ylim(lowest / room, highest * room)
        return
    room = max(highest - lowest, 1e-3 * abs(highest), 1e-300)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_ylim(lowest - 0.06 * room, highest + 0.12 * room)


def gradient_norm(steps: ArrayLike, norm: ArrayLike, events: Sequence[Event] = (), caption: str = "") -> Chart:
    """Gradient norm against the step; arguments as in `loss_curve`."""

    def paint(axes: Axes) -> None:
        _series(axes, steps, norm, "gradient norm", ROLES["accent"])
        _value_axis(axes, norm)
        axes.set_ylabel("gradient norm")
        _events(axes, events)

    return Chart("Size of the gradient", caption, draw(paint, (7.2, 2.8)))


def spectrum_ends(
    lambda_min: tuple[float, float],
    lambda_max: tuple[float, float],
    tolerance: float,
    caption: str = "",
) -> Chart:
    """The two ends of the Hessian's spectrum as brackets [lower, upper], with the band ±tolerance.

    The axis is linear within ±tolerance and logarithmic beyond. An outer end that is not known may be infinite;
    its bar then runs to the edge.

    Raises:
        ArgumentError: a bracket is upside down or holds NaN, or the tolerance is negative.
    """
    ends = {"lowest eigenvalue": lambda_min, "highest eigenvalue": lambda_max}
    for name, (lower, upper) in ends.items():
        if not lower <= upper:
            raise ArgumentError(f"the bracket of the {name} must be ordered numbers, got [{lower}, {upper}]")
    if not (np.isfinite(tolerance) and tolerance >= 0):
        raise ArgumentError(f"`tolerance` must be finite and not negative, got {tolerance}")
    numbers = np.array([*lambda_min, *lambda_max])
    numbers = numbers[np.isfinite(numbers)]
    reach = float(np.abs(numbers).max(initial=0.0)) or 1.0
    threshold = max(float(tolerance), reach * 1e-6)
    lowest = float(numbers.min(initial=0.0))
    edges = (min(-4 * threshold, 3 * lowest) if lowest < 0 else -8 * threshold, 6 * reach)

    def paint(axes: Axes) -> None:
        axes.set_xscale("symlog", linthresh=threshold, linscale=0.6)
        axes.axvspan(-threshold, threshold, color=ROLES["grid"], lw=0)
        axes.axvline(0, color=ROLES["muted"], lw=1)
        for row, (name, bracket) in enumerate(ends.items()):
            _bracket_bar(axes, -row, name, bracket, threshold, edges)
        axes.set_xlim(*edges)
        axes.set_ylim(-1.5, 0.8)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
        _sparse_symlog(axes, threshold, reach)
        axes.set_xlabel("eigenvalue of the Hessian (shaded: within the tolerance, counts as flat)")

    return Chart("The two ends of the spectrum", caption, draw(paint, (7.2, 2.2)))


def _bracket_bar(
    axes: Axes, height: float, name: str, bracket: tuple[float, float], band: float, edges: tuple[float, float]
) -> None:
    """One bracket: red where surely negative, green where surely positive, with its numbers above."""
    lower, upper = (float(np.clip(end, *edges)) for end in bracket)
    side = "bad" if upper < -band else "good" if lower > band else "muted"
    axes.plot([lower, upper], [height, height], color=ROLES[side], lw=7, solid_capstyle="butt", alpha=0.45)
    known = [end for end in bracket if np.isfinite(end)]
    axes.plot(known, [height] * len(known), "|", color=ROLES[side], ms=16, mew=2.4)
    axes.annotate(
        f"{name}  {_bracket(*bracket)}",
        ((lower + upper) / 2, height),
        xytext=(0, 13),
        textcoords="offset points",
        ha={"bad": "left", "good": "right", "muted": "center"}[side],
    )


def along_direction(
    t: ArrayLike,
    loss: ArrayLike,
    model: ArrayLike,
    chosen: float | None = None,
    *,
    caption: str = "",
    title: str = "The loss along the escape direction",
) -> Chart:
    """True loss at θ + t·v against the quadratic model L + t·gᵀv + ½t²·vᵀHv.

    Args:
        t: (k,) distances along the unit direction.
        loss: (k,) true loss.
        model: (k,) model.
        chosen: the step that was taken, marked with a dot.
        caption: sentence below the figure.
        title: heading.
    """
    x, true = _pair(t, loss)
    _, quadratic = _pair(t, model)

    def paint(axes: Axes) -> None:
        axes.plot(x, quadratic, "--", color=ROLES["second"], lw=1.8, label="quadratic model")
        axes.plot(x, true, color=ROLES["accent"], lw=2.2, label="true loss")
        if chosen is not None:
            at = float(np.interp(chosen, x, true))
            axes.plot([chosen], [at], "o", color=ROLES["good"], ms=8, label="step taken")
        axes.axvline(0, color=ROLES["muted"], lw=0.8)
        finite = true[np.isfinite(true)]
        spread = float(finite.max() - finite.min()) or 1.0
        axes.set_ylim(float(finite.min()) - 0.6 * spread, float(finite.max()) + 0.15 * spread)
        axes.set_xlabel("distance along the direction")
        axes.set_ylabel("loss")
        axes.legend(loc="best")

    return Chart(title, caption, draw(paint))


def _series(axes: Axes, steps: ArrayLike, values: ArrayLike, label: str, colour: str, stroke: Any = "-") -> None:
    x, y = _pair(steps, values)
    middle_x, middle_y, wobble = _medians(x, y)
    # noise that is seen: beside the values, or beside what they change by
    noisy = len(x) > 60 and (wobble > 0.01 or wobble * abs(float(np.median(middle_y))) > 0.1 * np.ptp(middle_y) > 0)
    if noisy:
        axes.plot(*_thin(x, y), color=colour, lw=0.7, alpha=0.3)
        x, y = middle_x, middle_y
    axes.plot(*_thin(x, y), color=colour, lw=2, ls=stroke, label=label)
    axes.set_xlabel("step")


def _value_axis(axes: Axes, values: ArrayLike) -> None:
    y = np.asarray(values, dtype=np.float64)
    y = y[np.isfinite(y)]
    if not len(y):
        return
    if y.max() > HIGHEST:  # room above it would leave float64
        axes.set_ylim(top=HIGHEST)
        y = np.minimum(y, HIGHEST)
    y = np.where(y > 0.0, np.maximum(y, 1.0 / HIGHEST), y)
    least = max(float(y.min()), 0.1 * float(np.quantile(y, 0.02)))  # one lucky batch does not stretch the axis
    if least > 0 and y.max() > 20 * least:
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7 * least)
        axes.yaxis.set_major_formatter(lambda value, _: power_of_ten(value))
        axes.yaxis.set_minor_formatter(lambda value, _: "")


def _events(axes: Axes, events: Sequence[Event]) -> None:
    """Vertical marks whose labels stay inside the axes."""
    low, high = axes.get_xlim()
    for step, label in events:
        right = step < (low + high) / 2
        axes.axvline(step, color=ROLES["good"], lw=1.4, ls=(0, (4, 3)))
        mark = axes.annotate(
            plain(label, 40),
            (step, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(6 if right else -6, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="top",
            color=ROLES["good"],
            weight="bold",
        )
        mark.set_in_layout(False)


def _sparse_symlog(axes: Axes, threshold: float, reach: float) -> None:
    """At most three powers of ten on either side, and 0."""
    low, high = int(np.ceil(np.log10(threshold))), int(np.ceil(np.log10(reach)))
    powers = [10.0**k for k in range(low, high + 1, max(1, (high - low) // 2 or 1))]
    left = axes.get_xlim()[0]
    ticks = [-p for p in reversed(powers) if -p >= left] + [0.0] + [p for p in powers if p <= 3 * reach]
    axes.set_xticks(ticks, [power_of_ten(tick) for tick in ticks])
    axes.minorticks_off()


def power_of_ten(value: float) -> str:
    """A power of ten as people write it, "−10⁻³"; other numbers in short."""
    if value == 0 or not np.isfinite(value):
        return "0" if value == 0 else "−∞" if value < 0 else "∞"
    exponent = round(float(np.log10(abs(value))))
    if not np.isclose(abs(value), 10.0**exponent, rtol=1e-9):
        return number(value, 3)
    if -2 <= exponent <= 3:
        return number(value, 10)
    return ("−" if value < 0 else "") + "10" + str(exponent).translate(_SUPERSCRIPTS)


def _bracket(lower: float, upper: float) -> str:
    tight = np.isfinite([lower, upper]).all() and upper - lower <= 1e-4 * max(abs(lower), abs(upper))
    return number(upper) if tight else " … ".join(apart(lower, upper, digits=3))


def _pair(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or not np.isfinite(second).any():
        raise ArgumentError(
            f"a curve needs two equally long vectors with finite values, got {first.shape} and {second.shape}"
        )
    return first, second


def _medians(x: Array, y: Array) -> tuple[Array, Array, float]:
    """Medians of up to 120 stretches of a curve, and its typical relative distance from them."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    parts = np.array_split(np.arange(len(x)), min(120, max(1, len(x) // 5)))
    middle_y = np.array([np.median(y[part]) for part in parts])
    distance = np.concatenate(
        [np.abs(y[part] - m) / max(abs(m), 1e-300) for part, m in zip(parts, middle_y, strict=True)]
    )
    return np.array([np.median(x[part]) for part in parts]), middle_y, float(np.percentile(distance, 75))


def _thin(x: Array, y: Array) -> tuple[Array, Array]:
    """At most ~800 points: the lowest and highest of every stretch, in their order."""
    if len(x) <= _POINTS:
        return x, y
    keep: set[int] = {0, len(x) - 1}
    for stretch in np.array_split(np.arange(len(x)), _POINTS // 2):
        piece: Any = y[stretch]
        if np.isfinite(piece).any():
            keep.update((int(stretch[np.nanargmin(piece)]), int(stretch[np.nanargmax(piece)])))
    order = np.array(sorted(keep))
    return x[order], y[order]
