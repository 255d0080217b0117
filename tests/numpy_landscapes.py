"""Landscapes with data in NumPy only: the trainer and the doctor must work without the engine."""

from __future__ import annotations

import numpy as np

from unstuck.operators import HessianOperator


class SoftmaxRegression:
    """Multinomial logistic regression with ½·l2·‖θ‖²: convex, θ is the weight matrix (classes, features)."""

    lower_bound = 0.0

    def __init__(self, X, y, theta=None, l2=0.0, dtype=np.float64):
        self.X, self.y = np.asarray(X, dtype), np.asarray(y)
        self.classes = int(self.y.max()) + 1
        self.n, self.dtype = self.classes * self.X.shape[1], np.dtype(dtype)
        self.shape = (self.classes, self.X.shape[1])
        self.blocks = [("weight", slice(0, self.n), self.shape)]
        self.samples, self.l2 = len(self.X), l2
        self.theta = np.zeros(self.n, dtype) if theta is None else np.array(theta, dtype)

    def with_data(self, X, y):
        return SoftmaxRegression(X, y, self.theta, self.l2, self.dtype)

    def accuracy(self, theta):
        return np.mean((self.X @ theta.reshape(self.shape).T).argmax(axis=1) == self.y)

    def loss(self, theta, batch=None):
        return self.gradient(theta, batch)[0]

    def gradient(self, theta, batch=None):
        X, y = (self.X, self.y) if batch is None else (self.X[batch], self.y[batch])
        z = X @ theta.reshape(self.shape).T
        z = z - z.max(axis=1, keepdims=True)
        p = np.exp(z)
        p /= p.sum(axis=1, keepdims=True)
        loss = -np.mean(np.log(p[np.arange(len(y)), y]))
        p[np.arange(len(y)), y] -= 1.0
        gradient = (p.T @ X / len(y)).ravel() + self.l2 * theta
        return float(loss + 0.5 * self.l2 * (theta @ theta)), gradient.astype(self.dtype)

    def hessian(self, theta, batch=None):
        theta, h = theta.copy(), 1e-5

        def product(v):
            ahead, behind = self.gradient(theta + h * v, batch)[1], self.gradient(theta - h * v, batch)[1]
            return (ahead - behind) / (2 * h)

        return HessianOperator(self.n, self.dtype, product, exact=False, noise=1e-8)


def blobs(samples=200, features=5, classes=3, spread=1.0, seed=0):
    """(X, y): Gaussian clouds around random centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, features)) * 2
    y = np.arange(samples) % classes
    return centres[y] + spread * rng.normal(size=(samples, features)), y
