"""Treatment: one thing that can be done to a run, a small object that changes it in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ArgumentError
from ..train import Trainer
from .causes import Cause


@dataclass(frozen=True)
class Treatment:
    """One thing that can be done to a run.

    Attributes:
        cause: what it is against.
        name: a few words.
        text: what it does, with numbers, as a noun phrase.
    """

    cause: Cause
    name: str
    text: str
    act: Callable[[Trainer], bool]

    def describe(self) -> str:
        """What it does, in one sentence."""
        return f"{self.name}: {self.text}."

    def applies_to(self, run: Trainer) -> bool:
        """Whether it can be done to this run, tried on a fork of it."""
        return bool(self.act(run.fork()))

    def apply(self, run: Trainer) -> None:
        """Does it to the run; the history gets an event.

        Raises:
            ArgumentError: it cannot be done to this run, which is left as it was.
        """
        before = run.state()
        try:
            done = self.act(run)
        except BaseException:
            run.restore(before)
            raise
        if not done:
            run.restore(before)
            raise ArgumentError(f"`run`: the treatment {self.name!r} cannot be applied to it")
        run.failure = None
        run.history.events.append({"step": run.t, "kind": "treatment", "text": f"{self.name}: {self.text}"})
