"""The answer in words: one sentence with numbers, the list of facts, and the notebook's table."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from .result import Bracket, CriticalPoint, Verdict

if TYPE_CHECKING:
    from ..report.facts import Fact, Status


def number(x: float, digits: int = 3) -> str:
    """`x` for people: three digits, a true minus sign, no padded exponent."""
    if not math.isfinite(x):
        return {"inf": "∞", "-inf": "−∞"}.get(str(x), "NaN")
    text = f"{x:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return "0" if text in ("0", "-0") else text.replace("-", "−")


def sentence(cp: CriticalPoint) -> str:
    """One sentence: the verdict, what it rests on, the gradient, and the cost."""
    body = _BODIES[cp.verdict](cp)
    parts = [body, *_additions(cp), f"{_products(cp)}, {_duration(cp.seconds)}"]
    return "; ".join(parts) + "."


def _saddle(cp: CriticalPoint) -> str:
    return (
        f"Strict saddle (proved): the loss curves down along {_count(cp)} (curvature {number(cp.lambda_min.upper)}) "
        f"and up along another ({number(cp.lambda_max.lower)}), so it can be left by a step along the first; "
        f"{_gradient(cp)}"
    )


def _minimum(cp: CriticalPoint) -> str:
    return (
        f"Local minimum ({_certainty(cp)}): the loss curves up in every direction, by {number(cp.lambda_min.lower)} at "
        f"least and {number(cp.lambda_max.upper)} at most; {_gradient(cp)}"
    )


def _maximum(cp: CriticalPoint) -> str:
    return (
        f"Local maximum ({_certainty(cp)}): the loss curves down in every direction, by "
        f"{number(-cp.lambda_max.upper)} at least and {number(-cp.lambda_min.lower)} at most, so any step leaves it; "
        f"{_gradient(cp)}"
    )


def _degenerate(cp: CriticalPoint) -> str:
    if cp.norm <= cp.tolerance:
        what = "the curvature is zero in every direction"
        if cp.norm > 0.0:
            what = (
                f"every curvature is flat within the tolerance {number(cp.tolerance)} (the products are off by up to "
                f"{number(cp.noise)})"
            )
        return f"Degenerate: {what}, so second derivatives say nothing here; {_gradient(cp)}"
    if cp.direction is not None:
        return (
            f"Degenerate, but no minimum (proved): the loss curves down along {_count(cp)} (curvature "
            f"{number(cp.lambda_min.upper)}) and up by no more than the tolerance {number(cp.tolerance)} along any "
            f"other; {_gradient(cp)}"
        )
    if cp.kink and abs(cp.lambda_min.upper) > cp.tolerance:
        return (
            f"Degenerate: curvatures lie between {number(cp.lambda_min.lower)} and {number(cp.lambda_max.upper)}, but "
            f"they hold on one side of a kink only and cannot tell a minimum from a saddle; {_gradient(cp)}"
        )
    flat = "at least one direction is" if cp.flat is None else f"{cp.flat} of {cp.n} {'is' if cp.flat == 1 else 'are'}"
    return (
        f"Degenerate ({_certainty(cp)}): no direction curves down by more than the tolerance {number(cp.tolerance)}, "
        f"but {flat} flat within it (lowest curvature {number(cp.lambda_min.upper)}, highest "
        f"{number(cp.lambda_max.lower)}), so curvature alone cannot tell a minimum from a saddle; {_gradient(cp)}"
    )


def _not_critical(cp: CriticalPoint) -> str:
    promised = cp.gate.gradient_decrease
    if math.isinf(promised):
        return (
            f"Not a critical point: the gradient (norm {number(cp.gradient_norm)}) is not zero and nothing curves "
            "against it, so keep descending"
        )
    best = max(cp.gate.curvature_decrease, cp.gate.flat_decrease)
    return (
        f"Not a critical point: the gradient (norm {number(cp.gradient_norm)}) promises a decrease of "
        f"{number(promised)} where curvature promises at most {number(best)}, so keep descending; the curvature runs "
        f"from {number(cp.lambda_min.upper)} to {number(cp.lambda_max.lower)}"
    )


def _undecided(cp: CriticalPoint) -> str:
    if cp.direction is None:
        known = f"the lowest curvature lies {_between(cp.lambda_min)}"
    else:
        known = (
            f"no minimum (proved, curvature {number(cp.lambda_min.upper)}), but whether any direction curves up is "
            f"open, as the highest curvature lies {_between(cp.lambda_max)}"
        )
    more = "" if cp.further_products is None else f"; about {cp.further_products} more products should decide"
    return f"Undecided: {known}, and the tolerance is {number(cp.tolerance)}{more}; {_gradient(cp)}"


_BODIES = {
    Verdict.STRICT_SADDLE: _saddle,
    Verdict.LOCAL_MINIMUM: _minimum,
    Verdict.LOCAL_MAXIMUM: _maximum,
    Verdict.DEGENERATE: _degenerate,
    Verdict.NOT_CRITICAL: _not_critical,
    Verdict.UNDECIDED: _undecided,
}


def _additions(cp: CriticalPoint) -> list[str]:
    """What changes how the verdict should be read."""
    parts = []
    if cp.at_lower_bound and cp.lower_bound is not None and cp.direction is None:
        flat = "" if cp.verdict is not Verdict.DEGENERATE else f", flat along {_directions(cp)}"
        parts.append(f"the loss is at its lower bound {number(cp.lower_bound)}: a minimum{flat}")
    if cp.lower_bound is not None and cp.loss < cp.lower_bound and not cp.at_lower_bound:
        parts.append(f"the loss lies below its stated lower bound {number(cp.lower_bound)}, which must be wrong")
    if cp.kink and cp.verdict is not Verdict.NOT_CRITICAL:
        parts.append("the loss has a kink here, which second derivatives do not see")
    return parts + _explained(cp)


def _explained(cp: CriticalPoint) -> list[str]:
    """What is flat by construction, and the verdict on the rest."""
    if cp.symmetries is None or not cp.symmetries.count:
        return []
    count = cp.symmetries.count
    what = f"direction{'' if count == 1 else 's'}"
    who = f"{count} {what}" if cp.flat is None else f"{count} of the {cp.flat} flat directions"
    if count == cp.flat:
        who = f"{'this one' if count == 1 else f'all {count}'} flat {what}"
    parts = [f"{who} {'is' if count == 1 else 'are'} flat by construction ({cp.symmetries.reasons()})"]
    rest = cp.quotient
    if rest is None:
        return parts
    if rest.verdict is Verdict.LOCAL_MINIMUM:
        parts.append(
            f"all others curve up by at least {number(rest.lambda_min.lower)}: a local minimum up to these symmetries"
        )
    elif rest.verdict is Verdict.LOCAL_MAXIMUM:
        parts.append(
            f"all others curve down by at least {number(-rest.lambda_max.upper)}: a local maximum up to these "
            "symmetries"
        )
    elif rest.verdict is Verdict.DEGENERATE and cp.kink is not True:
        parts.append("others are flat, too")
    return parts


def _directions(cp: CriticalPoint) -> str:
    if cp.flat is None:
        return "at least one direction"
    return f"{cp.flat} direction{'' if cp.flat == 1 else 's'}"


def _count(cp: CriticalPoint) -> str:
    least, most = cp.index
    if least <= 1 and (most is None or most == 1):
        return "one direction"
    if most == least:
        return f"{least} of {cp.n} directions"
    return f"at least {least} direction{'' if least == 1 else 's'}"


def _certainty(cp: CriticalPoint) -> str:
    if cp.confidence == 1.0:
        return "from the whole spectrum"
    return f"certified, chance of error at most {number(1.0 - cp.confidence, 2)}"


def _gradient(cp: CriticalPoint) -> str:
    return "the gradient is zero" if cp.gradient_norm == 0.0 else f"gradient norm {number(cp.gradient_norm)}"


def _between(bracket: Bracket) -> str:
    return f"between {number(bracket.lower)} and {number(bracket.upper)}"


def _products(cp: CriticalPoint) -> str:
    if not cp.sampled_products:
        return f"{cp.products} products"
    parts = " and ".join(f"{products} with {samples:,}" for samples, products in cp.sampled_products.items())
    return f"{cp.products} products with all the data, {parts} samples"


def _duration(seconds: float) -> str:
    return f"{number(seconds, 2)} s" if seconds >= 0.1 else f"{number(1e3 * seconds, 2)} ms"


_STATUS: dict[Verdict, Status] = {
    Verdict.STRICT_SADDLE: "bad",
    Verdict.LOCAL_MINIMUM: "good",
    Verdict.LOCAL_MAXIMUM: "bad",
    Verdict.DEGENERATE: "warn",
    Verdict.NOT_CRITICAL: "info",
    Verdict.UNDECIDED: "warn",
}


def facts(cp: CriticalPoint) -> list[Fact]:
    """Verdict, gradient, both ends, index, tolerance, kink and cost as facts."""
    from ..report.facts import Fact

    certain = _certainty(cp)
    rows = [
        Fact("Verdict", cp.verdict.name, _STATUS[cp.verdict], sentence(cp), {"verdict": cp.verdict, "loss": cp.loss}),
        Fact("Gradient norm", number(cp.gradient_norm), "info", _gate_sentence(cp), vars(cp.gate)),
        _end("Lowest curvature", cp.lambda_min, f"proved above, {certain} below"),
        _end("Highest curvature", cp.lambda_max, f"proved below, {certain} above"),
        _index(cp),
        Fact(
            "Tolerance",
            number(cp.tolerance),
            "info",
            f"Curvature within ±{number(cp.tolerance)} counts as flat; the products are exact to {number(cp.noise)}.",
            {"tolerance": cp.tolerance, "noise": cp.noise},
        ),
    ]
    if cp.kink is not None:
        text = "The loss has a kink at this point." if cp.kink else "The loss bends as its Hessian says: no kink."
        rows.append(Fact("Kink", "yes" if cp.kink else "no", "warn" if cp.kink else "info", text, {"kink": cp.kink}))
    if cp.symmetries is not None:
        rows.append(_by_construction(cp))
    cost = {
        "products": cp.products,
        "sampled_products": cp.sampled_products,
        "seconds": cp.seconds,
        "method": cp.method,
        "confidence": cp.confidence,
    }
    rows.append(Fact("Cost", f"{_products(cp)}, {_duration(cp.seconds)}", "info", "", cost))
    return rows


def _by_construction(cp: CriticalPoint) -> Fact:
    from ..report.facts import Fact

    found, rest = cp.symmetries, cp.quotient
    assert found is not None
    measured = {family.reason: family.count for family in found.families if family.count}
    text = "; ".join([str(found)[:-1], *_explained(cp)[1:]]) + "."
    numbers = {} if rest is None else {"others": rest.verdict, "others_at_least": rest.lambda_min.lower}
    return Fact("Flat by construction", f"{found.count} of {cp.n}", "info", text, measured | numbers)


def _end(label: str, bracket: Bracket, how: str) -> Fact:
    from ..report.facts import Fact

    text = f"{label} lies {_between(bracket)} ({how})."
    value = f"[{number(bracket.lower)}, {number(bracket.upper)}]"
    return Fact(label, value, "info", text, {"lower": bracket.lower, "upper": bracket.upper})


def _index(cp: CriticalPoint) -> Fact:
    from ..report.facts import Fact

    least, most = cp.index
    value = str(least) if least == most else f"at least {least}" if most is None else f"{least} to {most}"
    text = f"{value[0].upper()}{value[1:]} of {cp.n} eigenvalues lie below −{number(cp.tolerance)}."
    return Fact("Directions that curve down", value, "info", text, {"at_least": least, "at_most": most})


def _gate_sentence(cp: CriticalPoint) -> str:
    gate = cp.gate
    best = max(gate.curvature_decrease, gate.flat_decrease)
    verb = "at most" if gate.critical else "more than"
    return (
        f"The gradient promises a decrease of {number(gate.gradient_decrease)}, {verb} the {number(best)} that "
        f"curvature and tolerance allow within {number(gate.radius)}."
    )


def as_html(cp: CriticalPoint) -> str:
    """A paragraph and a table for notebooks; every text is escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(fact.label)}</th><td>{html.escape(fact.value)}</td></tr>"
        for fact in facts(cp)
    )
    return f"<div><p>{html.escape(sentence(cp))}</p><table>{rows}</table></div>"
