"""How many products Lanczos takes: within the reference table, with few vectors too, and never more than eigsh."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

QUESTIONS = ("below_zero", "below_half", "converged", "certified")
TABLE = [(kind, g) for kind in ("uniform", "network") for g in (1e-1, 1e-2, 1e-3)]


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return importlib.import_module("bench.lanczos_counts")


def allowed(products):
    return max(1.1 * products, products + 4)


def check_full(table, kind, g, seeds, typical=False):
    for n, expected in zip(table.SIZES, table.FULL[kind, g], strict=True):
        found = table.medians(table.Problem(kind, g, n), seeds, typical=typical)
        for question, products in zip(QUESTIONS, expected, strict=True):
            assert found[question] <= allowed(products), (n, question)


def check_restarted(table, seeds, typical=False):
    for (kind, g, n), products in table.RESTARTED.items():
        found = table.medians(table.Problem(kind, g, n), seeds, vectors=20, typical=typical)
        assert found["converged"] <= 1.1 * products, (kind, g, n)
        assert found["certified"] < 1.6 * found["converged"] + 10


def check_eigsh(table, kind, g, seeds):
    for n in table.SIZES:
        problem = table.Problem(kind, g, n)
        ours = table.medians(problem, seeds)["converged"]
        theirs = {
            ncv: np.median([table.eigsh_products(problem, seed, ncv) for seed in range(seeds)]) for ncv in (20, 60)
        }
        assert ours <= min(theirs.values()), (n, ours, theirs)
        if (kind, g) == ("network", 1e-3):
            assert theirs[20] >= 5 * ours
            few = table.medians(problem, seeds, vectors=20)["converged"]
            assert theirs[20] >= 5 * few


@pytest.mark.parametrize(("kind", "g"), TABLE)
def test_full_basis(table, kind, g):
    check_full(table, kind, g, 1, typical=True)


def test_twenty_vectors(table):
    check_restarted(table, 3, typical=True)


@pytest.mark.parametrize(("kind", "g"), [("uniform", 1e-2), ("network", 1e-2)])
def test_beside_eigsh(table, kind, g):
    check_eigsh(table, kind, g, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "g"), TABLE)
def test_full_table(table, kind, g):
    check_full(table, kind, g, 20)
    check_eigsh(table, kind, g, 20)


@pytest.mark.slow
def test_twenty_vectors_on_twenty_instances(table):
    check_restarted(table, 20)
