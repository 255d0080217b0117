"""Schedules are PyTorch's sequences, at every step, for each class that both have."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import unstuck
from unstuck import schedules as us

torch = pytest.importorskip("torch", reason="needs torch")
lrs = torch.optim.lr_scheduler
LR = 0.1


def sequence(make, steps, key="lr", **options):
    """What the optimizer is given before each of its first steps."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns when its own sequence calls step(epoch)
        scheduler = make(optimizer)
        values = [optimizer.param_groups[0][key]]
        for _ in range(steps - 1):
            optimizer.step()
            scheduler.step()
            values.append(optimizer.param_groups[0][key])
    return np.array(values)


def chain(*makers):
    return lambda o: lrs.ChainedScheduler([make(o) for make in makers])


def one_after_another(milestones, *makers):
    return lambda o: lrs.SequentialLR(o, [make(o) for make in makers], milestones=list(milestones))


# (ours, torch's, steps); equal to 1e-12 relative at every step
EXACT = {
    "StepLR": (us.step_decay(LR, 0.3, every=4), lambda o: lrs.StepLR(o, 4, gamma=0.3), 60),
    "StepLR growing": (us.step_decay(LR, 1.5, every=1), lambda o: lrs.StepLR(o, 1, gamma=1.5), 200),
    "MultiStepLR": (us.multi_step(LR, 0.1, [3, 4, 20]), lambda o: lrs.MultiStepLR(o, [3, 4, 20]), 40),
    "MultiStepLR, other gamma": (us.multi_step(LR, 0.7, [1, 9]), lambda o: lrs.MultiStepLR(o, [9, 1], gamma=0.7), 20),
    "ConstantLR": (
        us.warmup(LR, steps=5, start=1 / 3, shape="constant", delay=False),
        lambda o: lrs.ConstantLR(o, factor=1 / 3, total_iters=5),
        20,
    ),
    "LinearLR default": (us.linear(LR / 3, LR, 5), lambda o: lrs.LinearLR(o), 20),
    "LinearLR as warm-up": (
        us.warmup(LR, steps=50, start=0.01),
        lambda o: lrs.LinearLR(o, start_factor=0.01, total_iters=50),
        80,
    ),
    "LinearLR down": (
        us.linear(LR, 0.2 * LR, 30),
        lambda o: lrs.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=30),
        50,
    ),
    "ExponentialLR": (us.exponential(LR, 0.97), lambda o: lrs.ExponentialLR(o, 0.97), 1000),
    "ExponentialLR growing": (us.exponential(LR, 1.1), lambda o: lrs.ExponentialLR(o, 1.1), 500),
    "PolynomialLR": (us.polynomial(LR, 40, exponent=2.0), lambda o: lrs.PolynomialLR(o, 40, power=2.0), 60),
    "PolynomialLR default": (us.polynomial(LR, 5), lambda o: lrs.PolynomialLR(o), 10),
    "PolynomialLR root": (us.polynomial(LR, 300, exponent=0.5), lambda o: lrs.PolynomialLR(o, 300, power=0.5), 320),
    "CosineAnnealingWarmRestarts": (
        us.cosine_restarts(LR, 10, floor=0.001),
        lambda o: lrs.CosineAnnealingWarmRestarts(o, 10, eta_min=0.001),
        100,
    ),
    "CosineAnnealingWarmRestarts growing": (
        us.cosine_restarts(LR, 3, growth=2),
        lambda o: lrs.CosineAnnealingWarmRestarts(o, 3, T_mult=2),
        300,
    ),
    "CosineAnnealingWarmRestarts of one step": (
        us.cosine_restarts(LR, 1, growth=3, floor=0.02),
        lambda o: lrs.CosineAnnealingWarmRestarts(o, 1, T_mult=3, eta_min=0.02),
        200,
    ),
    "SequentialLR": (
        us.join([us.linear(0.1 * LR, LR, 10), us.exponential(LR, 0.9), us.step_decay(LR, 0.5, 3)], [10, 25]),
        one_after_another(
            [10, 25],
            lambda o: lrs.LinearLR(o, 0.1, total_iters=10),
            lambda o: lrs.ExponentialLR(o, 0.9),
            lambda o: lrs.StepLR(o, 3, gamma=0.5),
        ),
        60,
    ),
    "SequentialLR as warm-up": (
        us.warmup(us.multi_step(LR, 0.1, [20]), steps=8, start=0.25),
        one_after_another([8], lambda o: lrs.LinearLR(o, 0.25, total_iters=8), lambda o: lrs.MultiStepLR(o, [20])),
        40,
    ),
    "SequentialLR as constant warm-up": (
        us.warmup(us.exponential(LR, 0.9), steps=8, start=0.1, shape="constant"),
        one_after_another([8], lambda o: lrs.ConstantLR(o, 0.1, total_iters=8), lambda o: lrs.ExponentialLR(o, 0.9)),
        40,
    ),
    "ChainedScheduler": (
        us.scale(us.exponential(LR, 0.95), us.step_decay(1.0, 0.5, 7)),
        chain(lambda o: lrs.ExponentialLR(o, 0.95), lambda o: lrs.StepLR(o, 7, gamma=0.5)),
        100,
    ),
    "ChainedScheduler as warm-up": (
        us.warmup(us.multi_step(LR, 0.1, [9, 30]), steps=12, start=1 / 16, delay=False),
        chain(lambda o: lrs.LinearLR(o, 1 / 16, total_iters=12), lambda o: lrs.MultiStepLR(o, [9, 30])),
        50,
    ),
    "LambdaLR": (
        us.inverse_sqrt(LR, timescale=10),
        lambda o: lrs.LambdaLR(o, lambda t: 1 / (1 + t / 10) ** 0.5),
        100,
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_equal_to_torch_at_every_step(name):
    ours, make, steps = EXACT[name]
    theirs = sequence(make, steps)
    np.testing.assert_allclose([ours(t) for t in range(steps)], theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("total", "floor"), [(25, 0.02), (1, 0.01), (100, 0.0), (7, 0.1)])
def test_cosine_is_torchs_closed_form(total, floor):
    def make(optimizer):
        return lrs.CosineAnnealingLR(optimizer, T_max=total, eta_min=floor)

    steps = 4 * total + 3
    periodic, held = us.cosine(LR, total, floor, periodic=True), us.cosine(LR, total, floor)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    scheduler = make(optimizer)
    closed = []
    for t in range(steps):
        scheduler.last_epoch = t
        closed.append(scheduler._get_closed_form_lr()[0])
    # near a floor of 0 only the absolute error means anything: 1 + cos x is rounded to 1e-16
    np.testing.assert_allclose([periodic(t) for t in range(steps)], closed, rtol=1e-12, atol=1e-15 * LR)
    # torch's recursion multiplies by quotients of numbers that vanish at the floor
    np.testing.assert_allclose([periodic(t) for t in range(steps)], sequence(make, steps), rtol=1e-10, atol=1e-12 * LR)
    assert [held(t) for t in range(total + 1)] == [periodic(t) for t in range(total + 1)]
    assert {held(t) for t in range(total, steps)} == {floor}


ONE_CYCLES = [
    {"total": 100},
    {"total": 100, "shape": "linear"},
    {"total": 100, "phases": 3},
    {"total": 97, "phases": 3, "shape": "linear", "rise": 0.45, "final_divisor": 100.0},
    {"total": 50, "rise": 0.13, "initial_divisor": 10.0},
    {"total": 50, "rise": 1.0},
    {"total": 50, "rise": 0.0},
    {"total": 20, "rise": 0.5, "phases": 3},
    {"total": 2},
    {"total": 1},
]


def of_cycle(settings):
    """Ours split into rate and momentum, torch's names."""
    shared = {key: settings[key] for key in ("total", "rise", "shape", "phases") if key in settings}
    options = {
        "total_steps": settings["total"],
        "pct_start": settings.get("rise", 0.3),
        "anneal_strategy": {"cosine": "cos", "linear": "linear"}[settings.get("shape", "cosine")],
        "div_factor": settings.get("initial_divisor", 25.0),
        "final_div_factor": settings.get("final_divisor", 1e4),
        "three_phase": settings.get("phases", 2) == 3,
    }
    return shared, options


@pytest.mark.parametrize("settings", ONE_CYCLES, ids=str)
def test_one_cycle_and_its_momentum(settings):
    shared, options = of_cycle(settings)
    steps = settings["total"]

    def make(optimizer):
        return lrs.OneCycleLR(optimizer, 0.5, base_momentum=0.8, max_momentum=0.97, **options)

    rate, momentum = us.one_cycle(0.5, **settings), us.one_cycle_momentum(**shared, high=0.97, low=0.8)
    rates, momenta = sequence(make, steps, momentum=0.9), sequence(make, steps, "momentum", momentum=0.9)
    # the last values of torch's cosine are sums that cancel: 2e-6 left of 0.5
    np.testing.assert_allclose([rate(t) for t in range(steps)], rates, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose([momentum(t) for t in range(steps)], momenta, rtol=1e-12)
    assert {rate(t) for t in (steps, steps + 1, 10**12)} == {rate(steps - 1)}


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize(("up", "down"), [(7, None), (3, 11), (1, 1), (20, 2)])
def test_cyclic_and_its_momentum(mode, up, down):
    factor = 0.99 if mode == "exp_range" else 1.0

    def make(optimizer):
        return lrs.CyclicLR(optimizer, 0.01, 0.3, up, down, mode, factor, base_momentum=0.75, max_momentum=0.95)

    steps = 200
    rate = us.cyclic(0.01, 0.3, up, down, mode, factor)
    momentum = us.cyclic_momentum(0.75, 0.95, up, down, mode, factor)
    # torch's place in the cycle is 1 + t/period − cycle, whose rounding grows with the cycle
    np.testing.assert_allclose(
        [rate(t) for t in range(steps)], sequence(make, steps, momentum=0.9), rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(
        [momentum(t) for t in range(steps)], sequence(make, steps, "momentum", momentum=0.9), rtol=1e-12
    )


PLATEAUS = [
    {},
    {"patience": 0},
    {"patience": 2, "factor": 0.5},
    {"patience": 1, "cooldown": 3, "factor": 0.3},
    {"patience": 1, "floor": 0.01, "factor": 0.4},
    {"patience": 1, "threshold": 0.2},
    {"patience": 1, "threshold": 0.05, "threshold_mode": "absolute"},
    {"patience": 0, "smallest": 1e-3, "factor": 0.5},
    {"patience": 2, "watch": "accuracy", "factor": 0.6},
    {"patience": 2, "watch": "accuracy", "threshold": 0.1, "threshold_mode": "absolute"},
]
TORCH_NAMES = {"floor": "min_lr", "smallest": "eps"}
TORCH_WORDS = {"relative": "rel", "absolute": "abs", "loss": "min", "accuracy": "max"}


@pytest.mark.parametrize("settings", PLATEAUS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_reduce_on_plateau(settings, seed):
    rng = np.random.default_rng(seed)
    losses = np.maximum(1.0 / (1 + np.arange(80)), 0.1) * rng.uniform(0.8, 1.2, 80)
    by_accuracy = settings.get("watch") == "accuracy"
    if not by_accuracy:
        losses[17:20] = np.nan
    options = {TORCH_NAMES.get(k, "mode" if k == "watch" else k): TORCH_WORDS.get(v, v) for k, v in settings.items()}
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    theirs = lrs.ReduceLROnPlateau(optimizer, **options)
    ours = us.reduce_on_plateau(LR, **settings)
    for t, loss in enumerate(losses, 1):
        theirs.step(1 - loss if by_accuracy else loss)
        ours = ours.observe(t, loss, accuracy=1 - loss)
        assert ours(t) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        ours = us.from_description(ours.describe())
    assert ours(0) < LR


CURVATURE = np.array([0.3, 1.0, 5.0])


def theirs_on_a_bowl(optimizer, scheduler, steps):
    """Points of a torch optimizer on ½Σcθ² from 1."""
    theta = torch.ones(3, dtype=torch.float64, requires_grad=True)
    opt = optimizer([theta])
    schedule = scheduler(opt)
    for _ in range(steps):
        opt.zero_grad()
        (0.5 * torch.tensor(CURVATURE) * theta**2).sum().backward()
        opt.step()
        schedule.step()
    return theta.detach().numpy()


@pytest.mark.parametrize("through_trainer", [False, True])
@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_one_cycle_of_rate_and_momentum_trains_as_torch(rule, through_trainer):
    steps = 100
    rate, momentum = us.one_cycle(0.1, steps + 1), us.one_cycle_momentum(steps + 1)
    if rule == "SGD":
        opt, options = unstuck.optim.SGD(lr=rate, momentum=momentum), {"momentum": 0.9}
    else:
        opt, options = unstuck.optim.Adam(lr=rate, beta1=momentum), {"foreach": False}
    wanted = theirs_on_a_bowl(
        lambda parameters: getattr(torch.optim, rule)(parameters, lr=0.1, **options),
        lambda o: lrs.OneCycleLR(o, 0.1, total_steps=steps + 1),
        steps,
    )
    theta = np.ones(3)
    if through_trainer:
        bowl = unstuck.FunctionLandscape(lambda w: 0.5 * float(CURVATURE @ w**2), lambda w: CURVATURE * w, n=3)
        run = unstuck.Trainer(bowl, opt, batch_size=1, seed=0, theta=theta)
        run.fit(steps=30)
        run.fit(steps=steps - 30)
        theta = run.theta
    else:
        for _ in range(steps):
            opt.step(theta, CURVATURE * theta)
    np.testing.assert_allclose(theta, wanted, rtol=1e-9, atol=1e-15)
