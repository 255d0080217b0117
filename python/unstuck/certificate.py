"""Certificates of spectrum bounds as JSON-able dictionaries, and `verify`, which recomputes them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from .errors import ArgumentError

Certificate = dict[str, Any]

SCHEMA = 1
MOST_NUMBERS = 200_000  # entries of alpha or diagonal that `verify` is willing to work through
ROUNDING = 1e-10  # relative to the largest entry or the bound: CPU variants round differently

_CLAIMS = ("lambda_min_lower", "lambda_min_upper", "lambda_max_lower", "lambda_max_upper", "below", "above")
_LANCZOS_GIVEN = ("schema", "kind", "n", "delta", "dtype", "noise", "tolerance", "alpha", "beta", "restarts")
_RESTARTED_GIVEN = ("schema", "kind", "n", "delta", "dtype", "noise", "tolerance", "runs", "ritz")
_RUN = {"roots", "beta", "dimension"}
_DENSE_GIVEN = ("schema", "kind", "n", "dtype", "noise", "tolerance", "diagonal", "offdiagonal")


def lanczos_certificate(
    alpha: ArrayLike,
    beta: ArrayLike,
    n: int,
    delta: float,
    noise: float = 0.0,
    *,
    restarts: Sequence[int] = (),
    tolerance: float = 0.0,
    dtype: str = "float64",
) -> Certificate:
    """Bounds of both ends of a spectrum from a Lanczos run with a Gaussian start.

    Args:
        alpha: diagonal of T, (k,).
        beta: beta[j] couples steps j and j + 1, the last is the residual norm, (k,).
        n: dimension of the space that the start was drawn in.
        delta: probability with which *each* of the two outer bounds may fail.
        noise: how far the computed operator may be from the stated one, in its units; widens all bounds.
        restarts: steps at which a fresh start began (`Lanczos.restarts`).
        tolerance: τ of the counts `below` (eigenvalues < −τ) and `above` (> τ), each (at least, at most);
            a run that is not dense knows no "at most" and says None.
        dtype: type of products and basis, for the record.

    Returns:
        A dictionary of plain numbers, strings and lists; infinite bounds are None. `lambda_min_lower` ≤ λ_min
        and `lambda_max_upper` ≥ λ_max hold with probability 1 − delta each, inner bounds and counts always.

    Raises:
        ArgumentError: the arrays are no recurrence of at least one step, or a number is out of range.
    """
    given: Certificate = {
        "schema": SCHEMA,
        "kind": "lanczos",
        "n": int(n),
        "delta": float(delta),
        "dtype": str(dtype),
        "noise": float(noise),
        "tolerance": float(tolerance),
        "alpha": np.asarray(alpha, dtype=np.float64).tolist(),
        "beta": np.asarray(beta, dtype=np.float64).tolist(),
        "restarts": [int(step) for step in restarts],
    }
    _check_widths(noise, tolerance)
    if not given["alpha"]:
        raise ArgumentError("`alpha` is empty: a certificate needs at least one Lanczos step")
    return _sealed(given | _lanczos_claims(given))


def restarted_certificate(
    runs: Sequence[tuple[ArrayLike, ArrayLike, int]],
    ritz: ArrayLike,
    n: int,
    delta: float,
    noise: float = 0.0,
    *,
    tolerance: float = 0.0,
    dtype: str = "float64",
) -> Certificate:
    """Bounds of both ends of a spectrum from a Lanczos run in bounded memory, which has given up Ritz pairs.

    The residual of such a run is p(H)·v₁ still: p has as roots the Ritz values that were given up and those of today,
    and 1/∏β over all steps as leading coefficient.

    Args:
        runs: for every fresh start all roots, all β and the dimension of the space it began in: `Lanczos.polynomials`.
        ritz: today's Ritz values, ascending: `Lanczos.ritz_values()`.
        n: dimension of the space that the first start was drawn in.
        delta: probability with which *each* of the two outer bounds may fail.
        noise: how far the computed operator may be from the stated one, in its units; widens all bounds.
        tolerance: τ of the counts `below` (eigenvalues < −τ) and `above` (> τ), each (at least, None).
        dtype: type of products and basis, for the record.

    Returns:
        As `lanczos_certificate`.

    Raises:
        ArgumentError: the numbers are no such run of at least one step, or one is out of range.
    """
    given: Certificate = {
        "schema": SCHEMA,
        "kind": "restarted",
        "n": int(n),
        "delta": float(delta),
        "dtype": str(dtype),
        "noise": float(noise),
        "tolerance": float(tolerance),
        "runs": [
            {
                "roots": np.asarray(roots, dtype=np.float64).tolist(),
                "beta": np.asarray(beta, dtype=np.float64).tolist(),
                "dimension": int(dimension),
            }
            for roots, beta, dimension in runs
        ],
        "ritz": np.asarray(ritz, dtype=np.float64).tolist(),
    }
    _check_widths(noise, tolerance)
    if not _fits_restarted(given):
        raise ArgumentError("`runs` and `ritz` are no run of Lanczos with at least one step: see `Lanczos.polynomials`")
    return _sealed(given | _restarted_claims(given))


def certifier(
    state: _core.Lanczos | _core.ThreeTermLanczos, delta: float, noise: float = 0.0, *, dtype: str
) -> Callable[..., Certificate]:
    """certify(tolerance=τ): the certificate of a Lanczos state as it is now, whatever its form; keeps no vectors."""
    if isinstance(state, _core.ThreeTermLanczos):
        return partial(lanczos_certificate, state.alpha, state.beta, state.n, delta, noise, dtype=dtype)
    n = state.dimension
    if state.compressions:
        return partial(restarted_certificate, state.polynomials, state.ritz_values(), n, delta, noise, dtype=dtype)
    restarts = state.restarts
    return partial(lanczos_certificate, state.alpha, state.beta, n, delta, noise, restarts=restarts, dtype=dtype)


def dense_certificate(
    diagonal: ArrayLike,
    offdiagonal: ArrayLike,
    noise: float = 0.0,
    *,
    tolerance: float = 0.0,
    dtype: str = "float64",
) -> Certificate:
    """Bounds of both ends of a spectrum, and counts, from a tridiagonal form of the whole operator.

    Args:
        diagonal: of the tridiagonal matrix, (n,).
        offdiagonal: its neighbours, (n − 1,).
        noise: distance of the tridiagonal matrix from the operator in norm; widens bounds and counts (Weyl).
        tolerance: τ of the counts `below` (eigenvalues < −τ) and `above` (> τ), each (at least, at most).
        dtype: type of the products, for the record.

    Returns:
        A dictionary of plain numbers, strings and lists. Nothing in it is a matter of chance.

    Raises:
        ArgumentError: the arrays do not fit each other or hold non-finite numbers.
    """
    given: Certificate = {
        "schema": SCHEMA,
        "kind": "dense",
        "n": int(np.size(diagonal)),
        "dtype": str(dtype),
        "noise": float(noise),
        "tolerance": float(tolerance),
        "diagonal": np.asarray(diagonal, dtype=np.float64).tolist(),
        "offdiagonal": np.asarray(offdiagonal, dtype=np.float64).tolist(),
    }
    _check_widths(noise, tolerance)
    if not _fits_dense(given):
        raise ArgumentError(
            "`diagonal` and `offdiagonal` must be finite, (n,) and (n - 1,) with n at least 1, "
            f"got {np.shape(diagonal)} and {np.shape(offdiagonal)}"
        )
    return _sealed(given | _dense_claims(given))


def verify(certificate: Any) -> bool:
    """Whether every bound and count that `certificate` states follows from the numbers in it.

    Proves the arithmetic, not where the numbers came from. Takes milliseconds and no operator.

    Args:
        certificate: what `classify(...).certificate` holds, also after a round trip through JSON.

    Returns:
        False for anything else: changed, malformed, of another schema, above 200,000 steps. Never raises.
    """
    try:
        return _verify(certificate)
    except Exception:  # whatever a forged object does when it is read, it is not a valid certificate
        return False


def _verify(certificate: Any) -> bool:
    kind = certificate.get("kind") if isinstance(certificate, dict) else None
    if kind not in _KINDS:
        return False
    names, fits, claimed = _KINDS[kind]
    if set(certificate) != {*names, *_CLAIMS, "digest"}:
        return False
    if not (_fits_header(certificate) and fits(certificate)):
        return False
    if certificate["digest"] != _digest(certificate):
        return False
    claims, scale = claimed(certificate), _scale(certificate)
    return all(_agree(certificate[name], claims[name], scale) for name in _CLAIMS)


def _lanczos_claims(c: Certificate) -> Certificate:
    alpha, beta = np.array(c["alpha"]), np.array(c["beta"])
    n, delta, restarts, noise = c["n"], c["delta"], c["restarts"], c["noise"]
    lower = _core.certificate_lower(alpha, beta, n, delta, restarts) - noise
    upper = _core.certificate_upper(alpha, beta, n, delta, restarts) + noise
    coupling = beta.copy()
    coupling[[step - 1 for step in restarts]] = 0.0
    last = len(alpha) - 1
    cut = c["tolerance"] + noise
    return {
        "lambda_min_lower": _number_or_none(lower),
        "lambda_min_upper": _core.tridiagonal_eigenvalue(alpha, coupling, 0) + noise,
        "lambda_max_lower": _core.tridiagonal_eigenvalue(alpha, coupling, last) - noise,
        "lambda_max_upper": _number_or_none(upper),
        # Cauchy: k eigenvalues of a compression below x mean at least k of the operator
        "below": [_core.tridiagonal_count(alpha, coupling, -cut), None],
        "above": [_core.tridiagonal_count(-alpha, coupling, -cut), None],
    }


def _restarted_claims(c: Certificate) -> Certificate:
    runs = [(np.array(run["roots"]), np.array(run["beta"]), run["dimension"]) for run in c["runs"]]
    delta, noise, cut, ritz = c["delta"], c["noise"], c["tolerance"] + c["noise"], c["ritz"]
    return {
        "lambda_min_lower": _number_or_none(_core.restarted_certificate_lower(runs, delta) - noise),
        "lambda_min_upper": min(ritz) + noise,
        "lambda_max_lower": max(ritz) - noise,
        "lambda_max_upper": _number_or_none(_core.restarted_certificate_upper(runs, delta) + noise),
        "below": [sum(value < -cut for value in ritz), None],
        "above": [sum(value > cut for value in ritz), None],
    }


def _dense_claims(c: Certificate) -> Certificate:
    diagonal, offdiagonal = np.array(c["diagonal"]), np.array(c["offdiagonal"], dtype=np.float64)
    noise, tolerance = c["noise"], c["tolerance"]
    smallest = _core.tridiagonal_eigenvalue(diagonal, offdiagonal, 0)
    largest = _core.tridiagonal_eigenvalue(diagonal, offdiagonal, len(diagonal) - 1)
    cuts = (-tolerance - noise, -tolerance + noise)
    return {
        "lambda_min_lower": smallest - noise,
        "lambda_min_upper": smallest + noise,
        "lambda_max_lower": largest - noise,
        "lambda_max_upper": largest + noise,
        "below": [_core.tridiagonal_count(diagonal, offdiagonal, cut) for cut in cuts],
        "above": [_core.tridiagonal_count(-diagonal, offdiagonal, cut) for cut in cuts],
    }


def _check_widths(noise: float, tolerance: float) -> None:
    for name, value in (("noise", noise), ("tolerance", tolerance)):
        if not (math.isfinite(value) and value >= 0):
            raise ArgumentError(f"`{name}` must be finite and not negative, got {value!r}")


def _fits_header(c: Certificate) -> bool:
    widths = all(_is_number(c[name]) and c[name] >= 0 for name in ("noise", "tolerance"))
    schema_fits = type(c["schema"]) is int and c["schema"] == SCHEMA
    return schema_fits and widths and type(c["n"]) is int and isinstance(c["dtype"], str) and len(c["dtype"]) < 40


def _fits_lanczos(c: Certificate) -> bool:
    steps = len(c["alpha"])
    return (
        _are_numbers(c["alpha"])
        and _are_numbers(c["beta"])
        and 1 <= steps == len(c["beta"])
        and steps <= c["n"] < 2**62
        and _is_number(c["delta"])
        and 0 < c["delta"] < 1
        and isinstance(c["restarts"], list)
        and len(c["restarts"]) < steps
        and all(type(step) is int and 0 < step < steps for step in c["restarts"])
    )


def _fits_restarted(c: Certificate) -> bool:
    runs = c["runs"]
    return (
        isinstance(runs, list)
        and 1 <= len(runs) <= MOST_NUMBERS
        and all(isinstance(run, dict) and set(run) == _RUN and _fits_run(run, c["n"]) for run in runs)
        and runs[0]["dimension"] == c["n"] < 2**62
        and sum(len(run["beta"]) for run in runs) <= MOST_NUMBERS
        and _are_numbers(c["ritz"])
        and 1 <= len(c["ritz"]) <= c["n"]
        and _is_number(c["delta"])
        and 0 < c["delta"] < 1
    )


def _fits_run(run: dict[str, Any], n: int) -> bool:
    numbers = _are_numbers(run["roots"]) and _are_numbers(run["beta"])
    return (
        numbers
        and 1 <= len(run["roots"]) == len(run["beta"])
        and type(run["dimension"]) is int
        and (1 <= run["dimension"] <= n)
    )


def _fits_dense(c: Certificate) -> bool:
    return (
        _are_numbers(c["diagonal"])
        and _are_numbers(c["offdiagonal"])
        and 1 <= c["n"] == len(c["diagonal"]) == len(c["offdiagonal"]) + 1
    )


def _is_number(x: Any) -> bool:
    return type(x) in (int, float) and math.isfinite(x)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and len(values) <= MOST_NUMBERS and all(_is_number(x) for x in values)


def _number_or_none(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _scale(c: Certificate) -> float:
    if c["kind"] == "restarted":
        return max(abs(float(x)) for run in c["runs"] for name in ("roots", "beta") for x in run[name])
    names = ("alpha", "beta") if c["kind"] == "lanczos" else ("diagonal", "offdiagonal")
    return max((abs(x) for name in names for x in c[name]), default=0.0)


def _agree(stated: Any, recomputed: Any, scale: float) -> bool:
    if isinstance(recomputed, list) or recomputed is None:
        return type(stated) is type(recomputed) and bool(stated == recomputed)
    return _is_number(stated) and abs(stated - recomputed) <= ROUNDING * max(scale, abs(recomputed))


def _sealed(certificate: Certificate) -> Certificate:
    return certificate | {"digest": _digest(certificate)}


def _digest(certificate: Certificate) -> str:
    body = {name: value for name, value in certificate.items() if name != "digest"}
    text = json.dumps(body, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# what is given, whether it fits, what follows from it
_KINDS = {
    "lanczos": (_LANCZOS_GIVEN, _fits_lanczos, _lanczos_claims),
    "restarted": (_RESTARTED_GIVEN, _fits_restarted, _restarted_claims),
    "dense": (_DENSE_GIVEN, _fits_dense, _dense_claims),
}
