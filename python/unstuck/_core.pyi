"""Types of the compiled core, kept by hand, one section per file of cpp/bindings; checked by a test."""

from typing import Any

from numpy.typing import NDArray

level: str

# parallel
def thread_count() -> int: ...
def set_thread_count(k: int) -> None: ...
def throw_in_region(blocks: int, at: int) -> None: ...

# norm
def batch_norm_forward(
    x: NDArray[Any],
    given: bool,
    epsilon: float,
    mean: NDArray[Any],
    variance: NDArray[Any],
    inverse_deviation: NDArray[Any],
    gamma: NDArray[Any] | None,
    beta: NDArray[Any] | None,
    residual: NDArray[Any] | None,
    relu: bool,
    out: NDArray[Any],
) -> None: ...
def batch_norm_backward(
    d_y: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any] | None,
    mean: NDArray[Any],
    inverse_deviation: NDArray[Any],
    gamma: NDArray[Any] | None,
    of_batch: bool,
    out: NDArray[Any],
    d_gamma: NDArray[Any] | None,
    d_beta: NDArray[Any] | None,
    d_residual: NDArray[Any] | None,
) -> None: ...
def row_norm_forward(
    x: NDArray[Any],
    groups: int,
    centered: bool,
    epsilon: float,
    gamma: NDArray[Any] | None,
    beta: NDArray[Any] | None,
    out: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def row_norm_backward(
    d_y: NDArray[Any],
    x: NDArray[Any],
    groups: int,
    centered: bool,
    mean: NDArray[Any],
    inverse_deviation: NDArray[Any],
    gamma: NDArray[Any] | None,
    out: NDArray[Any],
    d_gamma: NDArray[Any] | None,
    d_beta: NDArray[Any] | None,
) -> None: ...

# optim
def optim_rules() -> dict[str, dict[str, float]]: ...
def optim_slots(rule: str, hyper: list[float]) -> list[tuple[str, bool, float]]: ...
def optim_layerwise(rule: str) -> bool: ...
def optim_encode(values: Any, positive: bool, nearest: bool, seed: int) -> tuple[NDArray[Any], NDArray[Any]]: ...
def optim_decode(codes: Any, scales: Any, positive: bool) -> NDArray[Any]: ...
def optim_bfloat16(values: Any, nearest: bool, seed: int) -> NDArray[Any]: ...
def optim_norm(gradient: NDArray[Any]) -> float: ...

class OptimUpdate:
    def __init__(
        self,
        rule: str,
        hyper: list[float],
        n: int,
        wide: bool,
        blocks: list[tuple[int, int, float, float, bool]],
        format: str,
        nearest: bool,
    ) -> None: ...
    @property
    def names(self) -> list[str]: ...
    def step(
        self,
        hyper: list[float],
        lr: float,
        t: int,
        theta: NDArray[Any],
        gradient: NDArray[Any],
        slots: list[NDArray[Any]],
        scale: float = 1.0,
        clip_norm: float = 0.0,
        gradient_norm: float = -1.0,
        average: NDArray[Any] | None = None,
        average_decay: float = 0.0,
        zero_gradient: bool = False,
        refuse_non_finite: bool = False,
        report: bool = False,
    ) -> tuple[bool, float, NDArray[Any] | None]: ...

# krylov
class Lanczos:
    def __init__(
        self,
        n: int,
        dtype: str,
        capacity: int,
        start: NDArray[Any],
        locked: NDArray[Any] | None = None,
    ) -> None: ...
    def next(self) -> NDArray[Any]: ...
    def push(self, w: NDArray[Any]) -> None: ...
    def restart(self, start: NDArray[Any]) -> None: ...
    def raise_capacity(self, capacity: int) -> None: ...
    def count_below(self, x: float) -> int: ...
    def ritz_values(self) -> NDArray[Any]: ...
    def residuals(self) -> NDArray[Any]: ...
    def ritz_vector(self, i: int) -> NDArray[Any]: ...
    def ritz_vectors(self, indices: list[int]) -> NDArray[Any]: ...
    def basis_vector(self, i: int) -> NDArray[Any]: ...
    def certificate_lower(self, delta: float) -> float: ...
    def certificate_upper(self, delta: float) -> float: ...
    def predicted_steps(self, delta: float, target: float) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def dimension(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def k(self) -> int: ...
    @property
    def alpha(self) -> NDArray[Any]: ...
    @property
    def beta(self) -> NDArray[Any]: ...
    @property
    def restarts(self) -> list[int]: ...
    @property
    def largest_product(self) -> float: ...
    @property
    def asymmetry(self) -> float: ...
    @property
    def invariant(self) -> bool: ...
    @property
    def exhausted(self) -> bool: ...

def log_t(n: int, delta: float) -> float: ...
def certificate_lower(
    alpha: NDArray[Any], beta: NDArray[Any], n: int, delta: float, restarts: list[int] = ...
) -> float: ...
def certificate_upper(
    alpha: NDArray[Any], beta: NDArray[Any], n: int, delta: float, restarts: list[int] = ...
) -> float: ...
def predicted_steps(
    alpha: NDArray[Any],
    beta: NDArray[Any],
    n: int,
    delta: float,
    target: float,
    restarts: list[int] = ...,
) -> int: ...
def tridiagonal_count(diagonal: NDArray[Any], coupling: NDArray[Any], x: float) -> int: ...
def tridiagonal_eigenvalue(diagonal: NDArray[Any], coupling: NDArray[Any], i: int) -> float: ...
def tridiagonal_eigenvalues(diagonal: NDArray[Any], coupling: NDArray[Any]) -> NDArray[Any]: ...

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
    @property
    def buffer_blocks(self) -> list[tuple[str, int, int, tuple[int, ...]]]: ...
    @property
    def buffer_starts(self) -> list[float]: ...
    def check_batch(self, rows: int) -> None: ...
    def predict(self, theta: NDArray[Any], buffers: NDArray[Any], X: NDArray[Any]) -> NDArray[Any]: ...
    def activations(self, theta: NDArray[Any], buffers: NDArray[Any], X: NDArray[Any]) -> list[NDArray[Any]]: ...

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
    @property
    def buffer_blocks(self) -> list[tuple[str, int, int, tuple[int, ...]]]: ...
    @property
    def buffer_starts(self) -> list[float]: ...
    def check_batch(self, rows: int) -> None: ...
    def predict(self, theta: NDArray[Any], buffers: NDArray[Any], X: NDArray[Any]) -> NDArray[Any]: ...
    def activations(self, theta: NDArray[Any], buffers: NDArray[Any], X: NDArray[Any]) -> list[NDArray[Any]]: ...

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
    def loss(self, theta: NDArray[Any], buffers: NDArray[Any], training: bool, batch: NDArray[Any] | None) -> float: ...
    def gradient(
        self, theta: NDArray[Any], buffers: NDArray[Any], training: bool, batch: NDArray[Any] | None
    ) -> tuple[float, NDArray[Any]]: ...
    def hessian(
        self,
        theta: NDArray[Any],
        buffers: NDArray[Any],
        training: bool,
        batch: NDArray[Any] | None,
        memory_budget: int,
    ) -> Float32Hessian: ...
    def train(
        self,
        theta: NDArray[Any],
        buffers: NDArray[Any],
        update: OptimUpdate,
        hyper: NDArray[Any],
        slots: list[NDArray[Any]],
        updates: int,
        order: NDArray[Any] | None,
        batch_size: int,
        lr: NDArray[Any],
        clip_norm: float,
        average: NDArray[Any] | None = None,
        average_decay: float = 0.0,
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
    def loss(self, theta: NDArray[Any], buffers: NDArray[Any], training: bool, batch: NDArray[Any] | None) -> float: ...
    def gradient(
        self, theta: NDArray[Any], buffers: NDArray[Any], training: bool, batch: NDArray[Any] | None
    ) -> tuple[float, NDArray[Any]]: ...
    def hessian(
        self,
        theta: NDArray[Any],
        buffers: NDArray[Any],
        training: bool,
        batch: NDArray[Any] | None,
        memory_budget: int,
    ) -> Float64Hessian: ...
    def train(
        self,
        theta: NDArray[Any],
        buffers: NDArray[Any],
        update: OptimUpdate,
        hyper: NDArray[Any],
        slots: list[NDArray[Any]],
        updates: int,
        order: NDArray[Any] | None,
        batch_size: int,
        lr: NDArray[Any],
        clip_norm: float,
        average: NDArray[Any] | None = None,
        average_decay: float = 0.0,
    ) -> tuple[NDArray[Any], NDArray[Any], int, str, BaseException | None]: ...
