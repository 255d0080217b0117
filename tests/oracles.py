"""NumPy float64 references of a multilayer perceptron: loss, gradient (reverse mode), Hessian (complex step).

Everything but the gradient is a formula from a textbook; the gradient is checked by complex steps of the
loss, and a Hessian product is one complex step of the gradient: H v = Im g(θ + i h v) / h with h = 1e-30,
which is exact to rounding because nothing is subtracted. All functions therefore accept complex θ and decide
branches by the real part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import erf

STEP = 1e-30


def _erf(z):
    """erf, continued to first order in a tiny imaginary part."""
    if not np.iscomplexobj(z):
        return erf(z)
    return erf(z.real) + 1j * z.imag * 2.0 / np.sqrt(np.pi) * np.exp(-(z.real**2))


def _normal_density(z):
    return np.exp(-(z**2) / 2.0) / np.sqrt(2.0 * np.pi)


def _sigmoid(z):
    """1/(1 + e^-z), from e^-|z| so that nothing overflows."""
    e = np.exp(np.where(z.real >= 0, -z, z))
    return np.where(z.real >= 0, 1.0, e) / (1.0 + e)


def _softplus(z):
    """log(1 + e^z) = max(z, 0) + log1p(e^-|z|)."""
    return np.where(z.real > 0, z, 0.0) + np.log1p(np.exp(np.where(z.real >= 0, -z, z)))


def _gelu_tanh_inner(z):
    return np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3), np.sqrt(2.0 / np.pi) * (1.0 + 3.0 * 0.044715 * z**2)


def _gelu(z, approximate="none"):
    if approximate == "tanh":
        u, du = _gelu_tanh_inner(z)
        t = np.tanh(u)
        return 0.5 * z * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t**2) * du
    cumulative = 0.5 * (1.0 + _erf(z / np.sqrt(2.0)))
    return z * cumulative, cumulative + z * _normal_density(z)


def _elu(z, alpha=1.0):
    negative = alpha * np.expm1(np.where(z.real > 0, 0.0, z))
    return np.where(z.real > 0, z, negative), np.where(z.real > 0, 1.0, negative + alpha)


def _torch_softplus(z, beta=1.0, threshold=20.0):
    linear = z.real * beta > threshold
    return np.where(linear, z, _softplus(beta * z) / beta), np.where(linear, 1.0, _sigmoid(beta * z))


# name -> function of (z, **options) giving (φ(z), φ'(z)); at a kink the left derivative, as PyTorch
ACTIVATIONS = {
    "ReLU": lambda z: (np.where(z.real > 0, z, 0.0), np.where(z.real > 0, 1.0, 0.0)),
    "LeakyReLU": lambda z, negative_slope=0.01: (
        np.where(z.real > 0, z, negative_slope * z),
        np.where(z.real > 0, 1.0, negative_slope),
    ),
    "ELU": _elu,
    "GELU": _gelu,
    "SiLU": lambda z: (z * _sigmoid(z), _sigmoid(z) * (1.0 + z * (1.0 - _sigmoid(z)))),
    "Tanh": lambda z: (np.tanh(z), 1.0 - np.tanh(z) ** 2),
    "Sigmoid": lambda z: (_sigmoid(z), _sigmoid(z) * (1.0 - _sigmoid(z))),
    "Softplus": _torch_softplus,
    "Identity": lambda z: (z, np.ones_like(z)),
}


def cross_entropy(z, labels, label_smoothing=0.0, class_weight=None):
    """−Σ smoothed target · log softmax; (terms (N,), their weights in the mean (N,), dterms/dz)."""
    n, classes = z.shape
    weight = np.ones(classes) if class_weight is None else np.asarray(class_weight, np.float64)
    onehot = np.eye(classes)[labels]
    target = ((1.0 - label_smoothing) * onehot + label_smoothing / classes) * weight
    shift = z - z.real.max(axis=1, keepdims=True)
    log_p = shift - np.log(np.exp(shift).sum(axis=1, keepdims=True))
    return -(target * log_p).sum(1), weight[labels], target.sum(1, keepdims=True) * np.exp(log_p) - target


def mse(z, y):
    """(z − y)²."""
    return ((z - y) ** 2).sum(1), np.full(len(z), float(z.shape[1])), 2.0 * (z - y)


def bce_with_logits(z, y):
    """−y log σ(z) − (1 − y) log(1 − σ(z)) = softplus(z) − y z."""
    return (_softplus(z) - y * z).sum(1), np.full(len(z), float(z.shape[1])), _sigmoid(z) - y


def huber(z, y, delta=1.0):
    """½e² inside |e| ≤ δ, δ(|e| − ½δ) outside."""
    e = z - y
    sign = np.sign(e.real)
    inside = np.abs(e.real) <= delta
    terms = np.where(inside, 0.5 * e**2, delta * (sign * e - 0.5 * delta))
    return terms.sum(1), np.full(len(z), float(z.shape[1])), np.where(inside, e, delta * sign)


# Each gives per-sample sums, per-sample weights of the mean, and the derivative of the sums by the outputs.
LOSSES = {"CrossEntropy": cross_entropy, "MSE": mse, "BCEWithLogits": bce_with_logits, "Huber": huber}


@dataclass(frozen=True)
class Perceptron:
    """A chain of ("Linear", {in, out, bias}) and (activation name, options), with a loss; float64."""

    layers: tuple[tuple[str, dict[str, Any]], ...]
    loss_name: str = "MSE"
    loss_options: dict[str, Any] = field(default_factory=dict)
    l2: float = 0.0

    def parameters(self, theta):
        """Per layer (W (out, in), b (out,) or None) or None, cut from θ in torch.nn's order."""
        cut, at = [], 0
        for name, options in self.layers:
            if name != "Linear":
                cut.append(None)
                continue
            rows, columns = options["out"], options["in"]
            weight = theta[at : at + rows * columns].reshape(rows, columns)
            at += rows * columns
            bias = None
            if options.get("bias", True):
                bias, at = theta[at : at + rows], at + rows
            cut.append((weight, bias))
        assert at == theta.size, f"theta has {theta.size} entries, the layers need {at}"
        return cut

    def size(self) -> int:
        """Number of parameters."""
        linear = [o for name, o in self.layers if name == "Linear"]
        return sum(o["out"] * (o["in"] + (1 if o.get("bias", True) else 0)) for o in linear)

    def forward(self, theta, X):
        """Inputs of every layer, and the output last."""
        values = [np.asarray(X, np.float64)]
        for (name, options), parameters in zip(self.layers, self.parameters(theta), strict=True):
            if name == "Linear":
                weight, bias = parameters
                z = values[-1] @ weight.T
                values.append(z if bias is None else z + bias)
            else:
                values.append(ACTIVATIONS[name](values[-1], **options)[0])
        return values

    def predict(self, theta, X):
        """The network's output (N, out)."""
        return self.forward(np.asarray(theta, np.float64), X)[-1]

    def loss_and_gradient(self, theta, X, y, sample_weight=None):
        """(L, ∇L), L = Σ sᵢ ℓᵢ / Σ sᵢ wᵢ + ½ l2 ‖θ‖²; wᵢ: number of elements, or the label's class weight."""
        values = self.forward(theta, X)
        s = np.ones(len(values[0])) if sample_weight is None else np.asarray(sample_weight, np.float64)
        terms, weights, slopes = LOSSES[self.loss_name](values[-1], np.asarray(y), **self.loss_options)
        total = (s * weights).sum()
        loss = (s * terms).sum() / total + 0.5 * self.l2 * (theta**2).sum()
        delta = slopes * s[:, None] / total
        gradients = []
        for (name, options), parameters, a in zip(
            reversed(self.layers), reversed(self.parameters(theta)), reversed(values[:-1]), strict=True
        ):
            if name == "Linear":
                weight, bias = parameters
                if bias is not None:
                    gradients.append(delta.sum(0))
                gradients.append((delta.T @ a).ravel())
                delta = delta @ weight
            else:
                delta = delta * ACTIVATIONS[name](a, **options)[1]
        gradient = np.concatenate(gradients[::-1]) if gradients else np.zeros(0, theta.dtype)
        return loss, gradient + self.l2 * theta

    def loss(self, theta, X, y, sample_weight=None):
        """L(θ)."""
        return float(self.loss_and_gradient(np.asarray(theta, np.float64), X, y, sample_weight)[0])

    def gradient(self, theta, X, y, sample_weight=None):
        """∇L(θ), shape (n,)."""
        return self.loss_and_gradient(np.asarray(theta, np.float64), X, y, sample_weight)[1]

    def product(self, theta, v, X, y, sample_weight=None):
        """H(θ) v, shape (n,); or of each column of v (n, k)."""
        v = np.asarray(v, np.float64)
        if v.ndim == 2:
            return np.stack([self.product(theta, column, X, y, sample_weight) for column in v.T], axis=1)
        moved = np.asarray(theta, np.float64) + 1j * STEP * v
        return self.loss_and_gradient(moved, X, y, sample_weight)[1].imag / STEP

    def hessian(self, theta, X, y, sample_weight=None):
        """H(θ), shape (n, n)."""
        return self.product(theta, np.eye(np.size(theta)), X, y, sample_weight)

    def margin(self, theta, X):
        """Per sample the smallest |input| of any activation: its distance from a kink at zero."""
        values = self.forward(np.asarray(theta, np.float64), X)
        inputs = [np.abs(a) for (name, _), a in zip(self.layers, values, strict=False) if name != "Linear"]
        return np.min(np.concatenate(inputs, axis=1), axis=1) if inputs else np.full(len(X), np.inf)


def relative_error(found, expected):
    """‖found − expected‖ / ‖expected‖ (Frobenius); the plain norm where the expected value is zero."""
    expected = np.asarray(expected, np.float64)
    scale = np.linalg.norm(expected)
    return float(np.linalg.norm(np.asarray(found, np.float64) - expected) / (scale if scale > 0 else 1.0))


def central_difference(gradient, theta, v, step=1e-5):
    """(g(θ + hv) − g(θ − hv)) / 2h with h = step/‖v‖."""
    h = step / np.linalg.norm(v)
    return (gradient(theta + h * v) - gradient(theta - h * v)) / (2.0 * h)
