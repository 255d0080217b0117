"""Loss, gradient and product must belong together: contradictions are refused, kinks and rounding are not."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from surfaces import lecture, separable, two_layer_linear

H = np.diag([2.0, -6.0, 1.0])


def surface(factor=1.0, missing=0.0, offset=0.0, hvp=None, **more):
    """½wᵀHw; the gradient times `factor`, without the `missing`/2·‖w‖² that the loss has."""
    return us.FunctionLandscape(
        lambda w: 0.5 * float(w @ H @ w) + 0.5 * missing * float(w @ w) + offset,
        lambda w: factor * (H @ w),
        n=3,
        hvp=hvp,
        **more,
    )


@pytest.mark.parametrize(
    "wrong",
    [2 * H, -H, abs(H), H + 0.1 * np.eye(3), np.eye(3), np.zeros((3, 3)), np.diag([2.0, 0.0, 1.0])],
    ids=["twice", "minus", "absolute", "shifted", "identity", "zero", "positive part"],
)
@pytest.mark.parametrize("exact", [True, False], ids=["dense", "lanczos"])
def test_a_wrong_symmetric_product_is_refused(wrong, exact):
    with pytest.raises(us.errors.OperatorError, match="hvp.*does not belong to `gradient`"):
        us.classify(surface(hvp=lambda w, v: wrong @ v), np.zeros(3), exact=exact)


def test_a_product_that_hides_one_direction_is_refused():
    # a random line hardly sees it, the end of the spectrum does
    values = np.r_[-0.02, np.linspace(1.0, 3.0, 99)]
    shown = np.r_[0.02, values[1:]]
    land = us.FunctionLandscape(
        lambda w: 0.5 * float(w @ (values * w)), lambda w: values * w, n=100, hvp=lambda w, v: shown * v
    )
    with pytest.raises(us.errors.OperatorError, match="along the vector of the lowest curvature"):
        us.classify(land, np.zeros(100))


def test_a_gauss_newton_product_is_refused():
    # L = ½(w₁w₂ − 1)²: JᵀJ = 0 at 0, where H has ±1
    def product(w, v):
        j = w[::-1]
        return j * (j @ v)

    land = us.FunctionLandscape(
        lambda w: 0.5 * (w[0] * w[1] - 1) ** 2, lambda w: (w[0] * w[1] - 1) * w[::-1], n=2, hvp=product
    )
    with pytest.raises(us.errors.OperatorError, match="not an approximation"):
        us.classify(land, np.zeros(2))


@pytest.mark.parametrize("hvp", [None, lambda w, v: H @ v], ids=["differences", "product"])
@pytest.mark.parametrize(
    "change", [{"factor": 2.0}, {"factor": -1.0}, {"missing": 1.0}], ids=["twice", "minus", "term missing"]
)
@pytest.mark.parametrize("theta", [np.zeros(3), np.ones(3), np.array([30.0, -20.0, 1.0])], ids=str)
def test_a_gradient_of_another_loss_is_refused(change, hvp, theta):
    with pytest.raises(us.errors.OperatorError, match="`gradient` is not the gradient of `loss`"):
        us.classify(surface(**change, hvp=hvp), theta)


def test_a_point_where_only_a_wrong_gradient_vanishes():
    land = us.FunctionLandscape(lambda w: float(w @ w), lambda w: 2 * w - 1e-3, n=2)
    with pytest.raises(us.errors.OperatorError, match="`gradient` is not the gradient"):
        us.classify(land, np.full(2, 5e-4))


def test_float32_networks_with_a_wrong_gradient():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 4)), rng.integers(0, 3, 60)
    net = us.nn.Network(us.nn.Linear(4, 16), us.nn.Tanh(), us.nn.Linear(16, 3), input_shape=(4,), seed=0)
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X.astype("f"), y)
    half = np.arange(30)
    mixed = us.FunctionLandscape(land.loss, lambda t: land.gradient(t, half)[1], n=land.n, dtype="float32")
    with pytest.raises(us.errors.OperatorError, match="another batch"):
        us.classify(mixed, net.theta)


# ---------------------------------------------------------------- no false alarms


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e8])
@pytest.mark.parametrize("kind", [float, np.float32], ids=["float64", "float32"])
def test_coarse_losses_are_no_contradiction(offset, kind):
    land = us.FunctionLandscape(
        lambda w: kind(0.5 * float(w @ H @ w) + offset), lambda w: (H @ w).astype(kind), n=3, hvp=lambda w, v: H @ v
    )
    for scale in (0.0, 1e-9, 1.0):
        us.classify(land, np.full(3, scale))


def test_flat_losses_are_no_contradiction():
    # 1 + e^(−1/x²)-like plains: the slope is lost in the rounding of the loss
    land = us.FunctionLandscape(
        lambda w: 1.0 + 1e-18 * float(w @ w), lambda w: 2e-18 * w, n=3, hvp=lambda w, v: 2e-18 * v
    )
    us.classify(land, np.ones(3))


def test_very_fine_structure_is_no_contradiction():
    # √(x² + ε²): curvature 1/ε that only steps below ε see
    for eps in (1e-3, 1e-6, 1e-9):
        land = us.FunctionLandscape(
            lambda w, e=eps: float(np.sqrt(w @ w + e * e)),
            lambda w, e=eps: w / np.sqrt(w @ w + e * e),
            n=2,
            hvp=lambda w, v, e=eps: v / np.sqrt(w @ w + e * e) - w * (w @ v) / (w @ w + e * e) ** 1.5,
        )
        us.classify(land, np.zeros(2))


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_structure_as_fine_as_the_rounding_of_theta_is_no_contradiction(eps):
    # √((x − 1)² + ε²) in float32: below ε differences are made of few roundings, above it they grow like 1/h
    def root(w):
        return np.sqrt((w.astype(np.float64) - 1.0) ** 2 + eps * eps)

    land = us.FunctionLandscape(
        lambda w: float(root(w).sum()),
        lambda w: ((w - 1.0) / root(w)).astype(np.float32),
        n=4,
        hvp=lambda w, v: (eps * eps / root(w) ** 3 * v).astype(np.float32),
        dtype="float32",
    )
    us.classify(land, np.ones(4, np.float32))


@pytest.mark.parametrize("terms", [("|x|", "x2"), ("-|x|", "x2"), ("relu2", "-x2"), ("relu2", "relu2"), ("|x|", "|x|")])
def test_kinks_are_no_contradiction(terms):
    us.classify(separable(*terms), np.zeros(2))


def test_callbacks_that_fail_far_away_are_not_asked_to_answer_there():
    def loss(w):
        if np.linalg.norm(w) > 2:
            raise ValueError("outside")
        return float(w @ w) + 1e8

    us.classify(us.FunctionLandscape(loss, lambda w: 2 * w, n=2), np.array([1.5, 0.0]))


ACTIVATIONS = ["ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid", "Softplus"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_random_networks_are_believed(activation, dtype):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        inputs, width, samples = (int(rng.choice(sizes)) for sizes in ([2, 8], [4, 24], [5, 60, 400]))
        layer = getattr(us.nn, activation)
        net = us.nn.Network(
            us.nn.Linear(inputs, width), layer(), us.nn.Linear(width, width), layer(), us.nn.Linear(width, 3),
            input_shape=(inputs,), seed=seed, dtype=dtype,
        )  # fmt: skip
        X = (rng.standard_normal((samples, inputs)) * rng.choice([0.1, 1, 30])).astype(dtype)
        y = rng.integers(0, 3, samples)
        land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y, l2=float(rng.choice([0, 1e-3])))
        us.classify(land, np.zeros(land.n), max_products=20)
        us.classify(land, max_products=20)
        us.Trainer(land, us.optim.Adam(lr=1e-2), batch_size=samples).fit(steps=200)
        us.classify(land, max_products=20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["ReLU", "Tanh"])
def test_networks_trained_until_nothing_is_left_are_believed(activation, dtype):
    # loss and gradient around 1e-7: probabilities within a few units of rounding of 0 and 1
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((12, 4)).astype(dtype), np.arange(12) % 3
    net = us.nn.Network(
        us.nn.Linear(4, 32), getattr(us.nn, activation)(), us.nn.Linear(32, 3), input_shape=(4,), seed=0, dtype=dtype
    )
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)
    us.Trainer(land, us.optim.Adam(lr=3e-2), batch_size=12).fit(steps=3000)
    assert land.loss(net.theta) < 1e-4
    for scale in (1.0, 2.0, 4.0):
        us.classify(land, scale * net.theta)


@pytest.mark.parametrize("hidden", [4, 40])
def test_linear_networks_are_believed(hidden):
    land, _ = two_layer_linear(8, hidden, 9, 3)
    rng = np.random.default_rng(0)
    for scale in (0.0, 1e-6, 1.0, 100.0):
        us.classify(land, scale * rng.standard_normal(land.n), max_products=20)


def test_scaled_surfaces_are_believed():
    for scale in (1e-200, 1e-30, 1e30, 1e200):
        us.classify(lecture(scale=scale), np.array([0.3, 0.2]))
