"""The references themselves: NumPy against complex steps, differences and PyTorch's double backward."""

from __future__ import annotations

import numpy as np
import pytest

from network_cases import ACTIVATIONS, CASES
from oracles import ACTIVATIONS as FORMULAS
from oracles import STEP, central_difference, relative_error


def test_activation_slopes_are_complex_steps():
    z = np.concatenate([np.linspace(-6.0, 6.0, 40), [-30.0, 25.0, 1e-3]])
    for name, options in ACTIVATIONS.values():
        value, slope = FORMULAS[name](z, **options)
        moved = FORMULAS[name](z + 1j * STEP, **options)[0]
        np.testing.assert_allclose(slope, moved.imag / STEP, rtol=1e-12, atol=1e-14, err_msg=name)
        np.testing.assert_allclose(moved.real, value, rtol=1e-13, atol=1e-14, err_msg=name)


def test_gradient_is_the_complex_step_of_the_loss():
    for case in CASES:
        reference, theta, (X, y, weight) = case.reference(), case.theta(), case.data()
        gradient = reference.gradient(theta, X, y, weight)
        steps = np.array(
            [
                reference.loss_and_gradient(theta + 1j * STEP * e, X, y, weight)[0].imag / STEP
                for e in np.eye(theta.size)[:: max(1, theta.size // 20)]
            ]
        )
        assert relative_error(gradient[:: max(1, theta.size // 20)], steps) < 1e-12, case


def test_product_is_the_difference_of_gradients():
    for case in CASES[::3]:
        reference, theta, (X, y, weight) = case.reference(), case.theta(), case.data()
        if "Huber" in reference.loss_name or case.kinked:
            continue
        v = case.vectors(1)[:, 0]
        found = reference.product(theta, v, X, y, weight)
        differences = central_difference(lambda t: reference.gradient(t, X, y, weight), theta, v)
        assert relative_error(found, differences) < 1e-6, case


def test_hessian_is_symmetric():
    for case in CASES[::7]:
        X, y, weight = case.data()
        H = case.reference().hessian(case.theta(), X, y, weight)
        assert relative_error(H, H.T) < 1e-13, case


def torch_objective(torch, case, module, X, y, weight):
    """Σ sᵢ ℓᵢ / Σ sᵢ wᵢ + ½ l2 ‖θ‖² from torch's losses."""
    target = torch.from_numpy(y)
    output = module(torch.from_numpy(X))
    if weight is None:
        loss = case.torch_loss(torch)(output, target)
    else:
        s = torch.from_numpy(weight)
        criterion = case.torch_loss(torch, "none")
        terms = criterion(output, target)
        if terms.ndim == 1:
            each = torch.ones_like(s) if criterion.weight is None else criterion.weight[target]
            loss = (s * terms).sum() / (s * each).sum()
        else:
            loss = (s[:, None] * terms).sum() / (s.sum() * terms.shape[1])
    return loss + 0.5 * case.l2 * sum((p**2).sum() for p in module.parameters())


@pytest.mark.filterwarnings("ignore")
def test_references_agree_with_double_backward(torch):
    for case in CASES:
        reference, theta, (X, y, weight) = case.reference(), case.theta(), case.data()
        module = case.module(torch)
        parameters = list(module.parameters())
        loss = torch_objective(torch, case, module, X, y, weight)
        gradient = torch.nn.utils.parameters_to_vector(torch.autograd.grad(loss, parameters, create_graph=True))
        v = case.vectors(1)[:, 0]
        if gradient.requires_grad:
            product = torch.autograd.grad(gradient @ torch.from_numpy(v), parameters, materialize_grads=True)
            product = torch.nn.utils.parameters_to_vector(product).numpy()
        else:
            product = np.zeros_like(theta)
        assert reference.loss(theta, X, y, weight) == pytest.approx(loss.item(), rel=1e-12), case
        assert relative_error(reference.predict(theta, X), module(torch.from_numpy(X)).detach()) < 1e-12, case
        assert relative_error(reference.gradient(theta, X, y, weight), gradient.detach()) < 1e-11, case
        assert relative_error(reference.product(theta, v, X, y, weight), product) < 1e-10, case
