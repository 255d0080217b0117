"""Types of the compiled core, kept by hand, one section per file of cpp/bindings; checked by a test."""

from typing import Any

from numpy.typing import NDArray

level: str

# parallel
def thread_count() -> int: ...
def set_thread_count(k: int) -> None: ...
def throw_in_region(blocks: int, at: int) -> None: ...

# optim
def optim_rules() -> dict[str, dict[str, float]]: ...
def optim_slots(rule: str, hyper: list[float]) -> list[str]: ...
def optim_step(
    rule: str,
    hyper: list[float],
    lr: float,
    t: int,
    theta: NDArray[Any],
    gradient: NDArray[Any],
    slots: list[NDArray[Any]],
    gradient_scale: float = 1.0,
) -> None: ...
