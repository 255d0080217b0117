"""Whether a planted run is what it is said to be: the rule that was written down before any answer was seen.

B is the loss of the best constant answer, S(n) the lowest loss that a sound run (torch's initialisation, Adam with
10⁻³ or 3·10⁻³, batches of 32, the plan's twin) has had within n updates. A run of n updates began at A, stands at L,
and trained on unchanged for another n (at least 100) falls by F; L and F are means over checkpoints. Then it is

    stuck      if the twin learns (B − S(n) ≥ ⅒B), and L − S(n) ≥ ¼(B − S(n)), and it is at rest: F < 2 % of L − S(n),
               or it is worse than knowing nothing and not on its way: L − F > B, and F < 10 % of L − S(n) or
               L − F > A; or if the loss is not finite;
    healthy    if it is finite and (L − S(n) ≤ ⅒(B − S(n)), or F ≥ 10 % of L − S(n) and L − F ≤ B).

A planted fault that is not stuck by this rule, a healthy kind that is not healthy, and a fault whose cure leaves the
run stuck are left out of the scores, and counted. Where the loss is no longer finite, NON_FINITE is the strict answer;
it is left out where the plan does not foresee it. L and S are losses on the training data, or, for plans about new
data, on those.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

import unstuck as us
from bench.stuck.plan import Plan, Setup
from bench.stuck.tasks import TASKS, Task

MUCH_WORSE, AS_GOOD = 0.25, 0.1  # of B − S(n)
LEARNS = 0.1  # of B
AT_REST, UNDER_WAY = 0.02, 0.1  # of L − S(n)
CHECKPOINTS = 20
FEWEST = 100  # updates trained on


@dataclass(frozen=True)
class Truth:
    """What the rule measures of a run.

    Attributes:
        loss: L, of the run as it stands.
        fall: F, when it is trained on.
        sound: S(n).
        constant: B.
        start: A; infinite where it does not matter.
        cured: L of the run with the fault taken out; None where the plan has no cure.
    """

    loss: float
    fall: float
    sound: float
    constant: float
    start: float = np.inf
    cured: float | None = None

    @property
    def gap(self) -> float:
        """L − S(n)."""
        return self.loss - self.sound

    @property
    def room(self) -> float:
        """B − S(n)."""
        return max(self.constant - self.sound, 1e-12)

    @property
    def stuck(self) -> bool:
        """Much worse than a sound run, and at rest."""
        if not np.isfinite(self.loss):
            return True
        if self.cured is not None and self.cured - self.sound >= MUCH_WORSE * self.room:
            return False
        later = self.loss - self.fall
        on_its_way = self.fall >= UNDER_WAY * self.gap and later <= self.start
        resting = self.fall < AT_REST * self.gap or (later > self.constant and not on_its_way)
        learnable = self.room >= LEARNS * self.constant
        return learnable and self.gap >= MUCH_WORSE * self.room and resting

    @property
    def healthy(self) -> bool:
        """About as good as a sound run, or on its way there."""
        if not np.isfinite(self.loss):
            return False
        under_way = self.fall >= UNDER_WAY * self.gap and self.loss - self.fall <= self.constant
        return self.gap <= AS_GOOD * self.room or under_way

    def fits(self, plan: Plan) -> bool:
        """Whether the run is what the plan says."""
        if not plan.faulty:
            return self.healthy
        return self.stuck and (bool(np.isfinite(self.loss)) or "NON_FINITE" in plan.causes)


def measure(task: Task, plan: Plan, seed: int, severity: float, run: us.Trainer) -> Truth:
    """The truth of one planted run, which is left as it is. Cost: about three times that of making it."""
    updates = run.history.updates
    constant = constant_loss(task, seed)
    sound = sound_loss(task, plan, seed, severity, max(updates, 1))
    height = height_of(task, plan, seed)
    if run.failure is not None or not np.isfinite(height(run)):
        return Truth(np.inf, 0.0, sound, constant)
    losses = follow(run.fork(), max(updates, FEWEST), height)
    loss, later = losses[: CHECKPOINTS // 4].mean(), losses[-CHECKPOINTS // 4 :].mean()
    cured = None
    if plan.cure is not None:
        cured = float(follow(plan.cure(task, seed, severity).train().fork(), FEWEST, height).mean())
    fall = float(loss - later) if np.isfinite(later) else 0.0
    return Truth(float(loss), fall, sound, constant, float(run.history["loss"][0]) if updates else np.inf, cured)


Height = Callable[[us.Trainer], float]


def height_of(task: Task, plan: Plan, seed: int) -> Height:
    """What a run is judged by."""
    if plan.new_data is None:
        return training_loss
    X, y = plan.new_data(task, seed)

    def height(run: us.Trainer) -> float:
        land = getattr(run.land, "_land", run.land)  # a fork's landscape stands before the run's
        return float(us.NetworkLandscape(land.net, land.loss_function, X, y).loss(run.theta))

    return height


def training_loss(run: us.Trainer) -> float:
    """The objective on all data."""
    return float(run.land.loss(run.theta))


def follow(fork: us.Trainer, updates: int, height: Height = training_loss) -> np.ndarray:
    """The height at `CHECKPOINTS` + 1 places of that many updates, the first before any; infinite once it broke."""
    losses = [height(fork)]
    with contextlib.suppress(us.errors.NonFiniteError), np.errstate(all="ignore"):
        for i in range(CHECKPOINTS):
            fork.fit(steps=updates * (i + 1) // CHECKPOINTS - updates * i // CHECKPOINTS)
            losses.append(height(fork))
    return np.array(losses + [np.inf] * (CHECKPOINTS + 1 - len(losses)))


def constant_loss(task: Task, seed: int) -> float:
    """Of the best constant answer: the entropy of the classes, or the variance."""
    y = task.data(seed)[1]
    if y.dtype.kind == "f":
        return float(y.astype(np.float64).var(axis=0).mean())
    share = np.bincount(y) / len(y)
    return float(-(share[share > 0] * np.log(share[share > 0])).sum())


def sound_loss(task: Task, plan: Plan, seed: int, severity: float, updates: int) -> float:
    """S(n): the lowest loss within that many updates of a sound run on the plan's twin."""
    if plan.sound is not None:
        return plan.sound(task, seed, severity)
    power = 2 ** int(np.ceil(np.log2(updates)))
    steps, losses = _sound_course(task.name, plan, seed, severity, power)
    return float(losses[steps <= max(updates, steps[0])].min())


@cache
def _sound_course(
    task_name: str, plan: Plan, seed: int, severity: float, updates: int
) -> tuple[np.ndarray, np.ndarray]:
    task = next(task for task in TASKS if task.name == task_name)
    each, height, courses = max(1, updates // 32), height_of(task, plan, seed), []
    for lr in (1e-3, 3e-3):
        run = Setup(plan.twin(task, seed, severity), us.optim.Adam(lr=lr), 0, {"seed": seed}).train()
        losses = [height(run)]
        for _ in range(updates // each):
            run.fit(steps=each)
            losses.append(height(run))
        courses.append(losses)
    return each * np.arange(len(courses[0])), np.minimum.reduce(courses)
