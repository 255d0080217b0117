"""The same passes in other ways: on other numbers of threads, and without the core's own training steps."""

from __future__ import annotations


def assert_same_bits(land, V, threads):
    """Gradient and products are the same to the bit for any number of threads; `threads` is the fixture."""
    found = set()
    for count in (1, 2, 3, 7):
        threads(count)
        found.add((land.gradient(land.theta)[1].tobytes(), (land.hessian(land.theta) @ V).tobytes()))
    assert len(found) == 1


class PlainSteps:
    """The same landscape without the core's training steps."""

    def __init__(self, land):
        self.land = land

    def __getattr__(self, name):
        if name == "train_steps":
            raise AttributeError(name)
        return getattr(self.land, name)
