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

# network
def layer_kinds() -> list[str]: ...
def activation_kinds() -> list[str]: ...
def loss_kinds() -> list[str]: ...

class Float32Network:
    def __init__(self, specs: list[tuple[str, dict[str, float]]], inputs: int) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def blocks(self) -> list[tuple[str, int, int, tuple[int, ...]]]: ...
    def predict(self, theta: NDArray[Any], X: NDArray[Any]) -> NDArray[Any]: ...
    def activations(self, theta: NDArray[Any], X: NDArray[Any]) -> list[NDArray[Any]]: ...

class Float64Network:
    def __init__(self, specs: list[tuple[str, dict[str, float]]], inputs: int) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def blocks(self) -> list[tuple[str, int, int, tuple[int, ...]]]: ...
    def predict(self, theta: NDArray[Any], X: NDArray[Any]) -> NDArray[Any]: ...
    def activations(self, theta: NDArray[Any], X: NDArray[Any]) -> list[NDArray[Any]]: ...

# objective
class Float32Hessian:
    def apply(self, v: NDArray[Any]) -> NDArray[Any]: ...
    @property
    def plan(self) -> dict[str, Any]: ...

class Float64Hessian:
    def apply(self, v: NDArray[Any]) -> NDArray[Any]: ...
    @property
    def plan(self) -> dict[str, Any]: ...

class Float32Objective:
    def __init__(
        self,
        network: Float32Network,
        loss: str,
        options: dict[str, float],
        class_weight: list[float],
        X: NDArray[Any],
        y: NDArray[Any],
        sample_weight: NDArray[Any] | None,
        l2: float,
    ) -> None: ...
    def loss(self, theta: NDArray[Any], batch: NDArray[Any] | None) -> float: ...
    def gradient(self, theta: NDArray[Any], batch: NDArray[Any] | None) -> tuple[float, NDArray[Any]]: ...
    def hessian(self, theta: NDArray[Any], batch: NDArray[Any] | None, memory_budget: int) -> Float32Hessian: ...
    def train(
        self,
        theta: NDArray[Any],
        rule: str,
        hyper: list[float],
        slots: list[NDArray[Any]],
        updates: int,
        order: NDArray[Any] | None,
        batch_size: int,
        lr: NDArray[Any],
        clip_norm: float,
    ) -> tuple[NDArray[Any], NDArray[Any], int, str, BaseException | None]: ...

class Float64Objective:
    def __init__(
        self,
        network: Float64Network,
        loss: str,
        options: dict[str, float],
        class_weight: list[float],
        X: NDArray[Any],
        y: NDArray[Any],
        sample_weight: NDArray[Any] | None,
        l2: float,
    ) -> None: ...
    def loss(self, theta: NDArray[Any], batch: NDArray[Any] | None) -> float: ...
    def gradient(self, theta: NDArray[Any], batch: NDArray[Any] | None) -> tuple[float, NDArray[Any]]: ...
    def hessian(self, theta: NDArray[Any], batch: NDArray[Any] | None, memory_budget: int) -> Float64Hessian: ...
    def train(
        self,
        theta: NDArray[Any],
        rule: str,
        hyper: list[float],
        slots: list[NDArray[Any]],
        updates: int,
        order: NDArray[Any] | None,
        batch_size: int,
        lr: NDArray[Any],
        clip_norm: float,
    ) -> tuple[NDArray[Any], NDArray[Any], int, str, BaseException | None]: ...
