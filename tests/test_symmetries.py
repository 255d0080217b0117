"""Flat directions known by construction, blame by block and row, and pictures along lines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import unstuck as us

nn = us.nn


def dense(land, theta):
    return land.hessian(theta) @ np.eye(land.n)


def problem(layers, shape=(5,), outputs=3, samples=40, loss=None, mode="eval", columns=(), seed=0):
    net = nn.Network(*layers, input_shape=shape, seed=seed, dtype="float64")
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(samples, *shape))
    X[:, list(columns)] = 0.0
    y = rng.integers(0, outputs, samples) if loss is None else rng.normal(size=(samples, outputs))
    return us.NetworkLandscape(net, loss or nn.CrossEntropy(), X, y, mode=mode)


def names(found):
    """{the first two words of the reason: how many}"""
    return {" ".join(family.reason.split()[:2]): family.count for family in found.families if family.count}


def test_shifted_logits_are_flat_everywhere():
    land = problem([nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)])
    found = us.curvature.symmetries(land)
    assert names(found) == {"logits that": 7}  # six columns and the bias
    assert found.residual <= 1e-14
    values = np.linalg.eigvalsh(dense(land, land.theta))
    assert np.sum(np.abs(values) < 1e-12) >= 7
    assert np.allclose(found.basis.T @ found.basis, np.eye(7), atol=1e-12)
    assert "7 of the 57 directions are flat" in str(found)


def test_unused_inputs_and_dead_units():
    land = problem([nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)], columns=(1, 4))
    net = land.net
    net.block("0.bias")[2] = -100.0  # dead on all data
    found = us.curvature.symmetries(land)
    counted = names(found)
    assert counted["inputs that"] == 2 * 6
    # unit 2: 5 weights in (2 of them unused inputs), its bias, 3 weights out (one of them a shifted logit)
    assert counted["units that"] == 3 + 1 + 2
    assert found.residual <= 1e-12
    flat = np.abs(np.linalg.eigvalsh(dense(land, land.theta))) < 1e-12
    assert flat.sum() >= found.count


def test_rescaling_is_flat_at_a_critical_point_only():
    rng = np.random.default_rng(0)
    net = nn.Network(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), input_shape=(4,), seed=4, dtype="float64")
    X = rng.normal(size=(60, 4))
    land = us.NetworkLandscape(net, nn.MSE(), X, net.predict(X))  # the network fits its own answers
    H = dense(land, land.theta)
    found = us.curvature.symmetries(land)
    assert names(found) == {"units whose": 3}
    assert found.residual <= 1e-12 * np.abs(H).max()
    values = np.sort(np.abs(np.linalg.eigvalsh(H)))
    assert values[2] <= 1e-12 * values[-1] < 1e-3 * values[3]
    assert us.curvature.symmetries(land, rng.normal(size=land.n)).count == 0


def test_biases_before_batch_norm():
    land = problem([nn.Linear(5, 4), nn.BatchNorm(4), nn.Tanh(), nn.Linear(4, 3)], mode="train")
    counted = names(us.curvature.symmetries(land))
    assert counted["biases that"] == 4
    land = problem([nn.Linear(5, 4), nn.BatchNorm(4), nn.Tanh(), nn.Linear(4, 3)], mode="eval")
    assert "biases that" not in names(us.curvature.symmetries(land))


def test_a_penalty_leaves_nothing_flat():
    land = problem([nn.Linear(5, 3)])
    decayed = us.NetworkLandscape(land.net, nn.CrossEntropy(), land.X, land.y, l2=0.1)
    assert us.curvature.symmetries(decayed).count == 0


def test_deflation_takes_them_out_and_leaves_the_rest():
    land = problem([nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)])
    found = us.curvature.symmetries(land)
    H = dense(land, land.theta)
    shifted = found.deflate(H + 5.0 * np.eye(land.n)) @ np.eye(land.n)
    Q = found.basis
    keep = np.eye(land.n) - Q @ Q.T
    assert np.allclose(shifted, keep @ (H + 5.0 * np.eye(land.n)) @ keep, atol=1e-12)


def test_symmetries_want_a_network():
    with pytest.raises(us.errors.ArgumentTypeError, match="land"):
        us.curvature.symmetries(us.FunctionLandscape(lambda w: 0.0, lambda w: w, n=2), np.zeros(2))


def test_blame_names_block_and_row():
    H = np.diag([1.0, -3.0, 0.5, -0.2, 2.0, 4.0])
    blocks = [("first", slice(0, 4), (2, 2)), ("second", slice(4, 6), (2,))]
    found = us.curvature.blame(H, np.array([0, 2.0, 0, 2.0, 0, 0]), blocks)
    assert found.value == pytest.approx(-1.6)
    assert [b.weight for b in found.blocks] == pytest.approx([1.0, 0.0])
    assert found.rows[0].name == "first" and found.rows[0].row == 0
    assert found.rows[0].curvature == pytest.approx(3.0 / 3.2)
    assert "100% of the curvature -1.6" in str(found) and found.facts()[1].label == "first"


def test_blame_of_an_eigenvector_is_its_weight():
    land = problem([nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)])
    H = dense(land, land.theta)
    d = np.linalg.eigh(H)[1][:, 0]
    found = us.curvature.blame(land.hessian(land.theta), 7.0 * d, land.blocks)
    assert sum(b.curvature for b in found.blocks) == pytest.approx(1.0)
    for share, (_, where, _) in zip(found.blocks, land.blocks, strict=True):
        assert share.weight == pytest.approx(np.sum(d[where] ** 2), abs=1e-12)
        assert share.curvature == pytest.approx(share.weight, abs=1e-9)


@pytest.mark.parametrize("direction", [np.zeros(6), np.full(6, np.nan), np.ones(5)])
def test_blame_refuses_no_direction(direction):
    with pytest.raises(us.errors.ArgumentError, match="direction"):
        us.curvature.blame(np.eye(6), direction, [("a", slice(0, 6), (6,))])
    with pytest.raises(us.errors.ArgumentError, match="blocks"):
        us.curvature.blame(np.eye(6), np.ones(6), [("a", slice(0, 5), (5,))])


def test_lines_show_the_losses_they_say(tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    land = problem([nn.Linear(5, 3)])
    theta, d = land.theta.copy(), np.random.default_rng(0).normal(size=land.n)
    ax = us.plot.line(land, d, extent=(-2, 2), resolution=5)
    assert np.allclose(ax.lines[0].get_xdata(), [-2, -1, 0, 1, 2])
    assert np.allclose(ax.lines[0].get_ydata(), [land.loss(theta + t * d) for t in (-2, -1, 0, 1, 2)])
    other = land.with_data(land.X[:10], land.y[:10])
    ax = us.plot.line(land, {"a$b": d, "up": -d}, others={"validation": other}, resolution=3)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [r"a\$b", r"a\$b, validation", "up", "up, validation"]
    ax.figure.savefig(tmp_path / "line.png")


def test_interpolation_runs_beyond_both_solutions(tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    land = problem([nn.Linear(5, 3)])
    first, second = np.zeros(land.n), np.ones(land.n)
    other = land.with_data(land.X[:10], land.y[:10])
    ax = us.plot.interpolation(land, first, second, names=("SGD", "Adam"), others={"validation": other}, resolution=4)
    train, validation = (line.get_ydata() for line in ax.lines[:2])
    assert np.allclose(train, [land.loss(np.full(land.n, a)) for a in (-1.0, 0.0, 1.0, 2.0)])
    assert np.allclose(validation, [other.loss(np.full(land.n, a)) for a in (-1.0, 0.0, 1.0, 2.0)])
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels[:2] == ["SGD", "Adam"]
    ax.figure.savefig(tmp_path / "interpolation.png")
    with pytest.raises(us.errors.ArgumentError, match="second"):
        us.plot.interpolation(land, first, first)


@pytest.mark.parametrize("kind", ["random", "filter", "eigen"])
def test_named_planes(kind):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    from unstuck.plot.directions import plane_of

    land = problem([nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)])
    theta = land.theta.copy()
    plane = plane_of(land, [], kind, theta, 0)
    if kind == "filter":
        rows = lambda v: np.linalg.norm(v[:30].reshape(6, 5), axis=1)  # noqa: E731
        assert np.allclose(rows(plane[0]), rows(theta)) and not plane[:, 30:36].any()
    if kind == "eigen":
        values, vectors = np.linalg.eigh(dense(land, theta))
        for d, i in zip(plane, (0, -1), strict=True):
            assert d @ dense(land, theta) @ d == pytest.approx(values[i], rel=1e-6)
    ax = us.plot.surface(land, directions=kind, resolution=5)
    assert ax.get_xlabel() == "along direction 1"
    with pytest.raises(us.errors.ArgumentError, match="directions"):
        us.plot.surface(land, directions="nonsense")
    with pytest.raises(us.errors.ArgumentError, match="three points"):
        us.plot.surface(land, directions="paths")


def minimum(land):
    """A critical point by SciPy's BFGS, begun anew where its memory has gone stale."""
    theta = land.theta.copy()
    for _ in range(5):
        theta = minimize(lambda at: land.gradient(at), theta, jac=True, method="BFGS", tol=1e-8).x
    # Hw = −g of the normalised weights w, whose scale does not matter
    assert np.linalg.norm(land.gradient(theta)[1][land.blocks[0][1]]) < 2e-5
    return theta


NORMALISED = {
    "batch norm": (nn.BatchNorm, {"biases that": 4, "weights whose": 4}),
    "layer norm": (nn.LayerNorm, {"means that": 6, "weights whose": 1}),
    "rms norm": (nn.RMSNorm, {"weights whose": 1}),
    "convolution": (nn.BatchNorm, {"biases that": 3, "weights whose": 3}),
}


@pytest.mark.parametrize("name", NORMALISED)
def test_what_a_normalisation_removes(name):
    norm, expected = NORMALISED[name]
    layers, shape = [nn.Linear(5, 4), norm(4), nn.Tanh(), nn.Linear(4, 3)], (5,)
    if name == "convolution":
        layers, shape = [nn.Conv2d(1, 3, 2), norm(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)], (1, 3, 3)
    land = problem(layers, shape, mode="train", samples=400)
    theta = minimum(land)
    found = us.curvature.symmetries(land, theta)
    counted = names(found)
    assert {key: counted.get(key) for key in expected} == expected
    H = dense(land, theta)
    assert np.linalg.norm(H @ found.basis, 2) == pytest.approx(found.residual, rel=1e-6, abs=1e-12)
    assert found.residual <= 1e-4 * np.linalg.norm(H, 2)
    assert (np.abs(np.linalg.eigvalsh(H)) <= 1e-4 * np.linalg.norm(H, 2)).sum() >= found.count
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(found.count), atol=1e-9)


def test_many_unused_inputs_cost_neither_memory_nor_products():
    """784 pixels of which 400 are always 0: 400·128 single parameters, and no matrix of them."""
    rng = np.random.default_rng(0)
    net = nn.Network(nn.Linear(784, 128), nn.Tanh(), nn.Linear(128, 10), input_shape=(784,), seed=0)
    X = rng.normal(size=(64, 784)).astype("float32")
    X[:, :400] = 0.0
    land = us.NetworkLandscape(net, nn.CrossEntropy(), X, np.arange(64) % 10)
    found = us.curvature.symmetries(land)
    assert names(found) == {"inputs that": 400 * 128, "logits that": 129}
    assert found.residual <= 1e-5
    H = land.hessian(land.theta)
    rows = rng.normal(size=(3, land.n))
    outside = found.apart(rows)
    assert np.linalg.norm(H @ (rows - outside).T.astype("float32"), axis=0).max() <= 1e-4
    deflated = found.deflate(H)
    v = rng.normal(size=land.n).astype("float32")
    np.testing.assert_allclose(deflated @ v, H @ v, atol=1e-4)


def regression():
    """(land, θ) at the minimum of a softmax regression with an unused input; its flat directions are all symmetries."""
    land = problem([nn.Linear(6, 3)], (6,), samples=200, columns=(2,))
    return land, us.find_critical(land, land.theta.copy(), tolerance=1e-9).theta


@pytest.mark.parametrize("exact", [True, False])
def test_classify_explains_flat_directions_and_judges_the_others(exact):
    land, theta = regression()
    cp = us.classify(land, theta, symmetries=True, exact=exact)
    assert cp.verdict is us.Verdict.DEGENERATE
    assert cp.symmetries.count == 7 + 2
    assert cp.flat == (9 if exact else None)
    assert cp.quotient.verdict is us.Verdict.LOCAL_MINIMUM
    assert cp.quotient.directions == 21 - 9
    values = np.linalg.eigvalsh(dense(land, theta))  # of which the first nine are zero
    assert np.abs(values[:9]).max() < 1e-12
    assert cp.quotient.lambda_min.lower <= values[9] <= cp.quotient.lambda_min.upper + 1e-12
    assert cp.quotient.lambda_max.lower - 1e-12 <= values[-1] <= cp.quotient.lambda_max.upper + 1e-12
    assert "flat by construction (7 by logits" in str(cp)
    assert "all 9 flat directions" in str(cp) or not exact
    assert "a local minimum up to these symmetries" in str(cp)
    assert "Flat by construction</th><td>9 of 21" in cp._repr_html_()
    assert any(fact.label == "Flat by construction" for fact in cp.facts())


def test_they_are_counted_unasked_where_that_is_cheap_and_never_when_told_not_to():
    land, theta = regression()
    cp = us.classify(land, theta)
    assert cp.symmetries.count == 9
    assert cp.quotient is None
    assert cp.products == 26  # none for the symmetries: the spectrum is known
    assert us.classify(land, theta, symmetries=False).symmetries is None
    assert us.classify(land, theta, exact=False).symmetries is None  # six products would be a fifth of all
    assert us.classify(land).symmetries is None  # not critical
    assert us.classify(land, theta, symmetries=True, max_products=26).products <= 26 + 6


def test_other_flat_directions_leave_the_rest_degenerate():
    land = problem([nn.Linear(4, 3), nn.Identity(), nn.Linear(3, 2)], (4,), outputs=2, loss=nn.MSE())
    net = land.net
    land = us.NetworkLandscape(net, nn.MSE(), land.X, net.predict(land.X))
    cp = us.classify(land, symmetries=True)
    # units may be mixed by any matrix (9 directions), of which scalings are 3; that is no family
    assert cp.symmetries.count == 3
    assert cp.flat >= 9
    assert cp.quotient.verdict is us.Verdict.DEGENERATE
    assert "others are flat, too" in str(cp)


def test_a_kink_makes_no_minimum_of_the_rest():
    rng = np.random.default_rng(0)
    net = nn.Network(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1), input_shape=(3,), seed=0, dtype="float64")
    X = rng.normal(size=(50, 3))
    X[0] = 0.0
    net.block("0.bias")[:] = 0.0  # sample 0 sits at the kink of every unit
    land = us.NetworkLandscape(net, nn.MSE(), X, net.predict(X))
    cp = us.classify(land, symmetries=True)
    assert cp.quotient is None or cp.quotient.verdict is us.Verdict.DEGENERATE


def test_a_saddle_names_them_when_asked():
    land = problem([nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)])
    theta = np.zeros(land.n)
    theta[-3:] = np.log(np.bincount(land.y) / 40)
    cp = us.classify(land, theta, symmetries=True)
    assert cp.verdict is us.Verdict.STRICT_SADDLE
    assert cp.symmetries.count == 5
    assert cp.quotient is None
    assert us.classify(land, theta).symmetries is None


def test_symmetries_of_what_is_no_network_are_refused():
    bowl = us.FunctionLandscape(lambda w: float(w @ w), lambda w: 2 * w, n=3)
    with pytest.raises(us.errors.ArgumentError, match="NetworkLandscape"):
        us.classify(bowl, np.zeros(3), symmetries=True)
    with pytest.raises(us.errors.ArgumentTypeError, match="`symmetries`"):
        us.classify(bowl, np.zeros(3), symmetries="yes")
    land, theta = regression()
    decayed = us.NetworkLandscape(land.net, nn.CrossEntropy(), land.X, land.y, l2=0.1)
    cp = us.classify(decayed, us.find_critical(decayed, theta).theta, symmetries=True)
    assert cp.verdict is us.Verdict.LOCAL_MINIMUM
    assert cp.symmetries.count == 0
