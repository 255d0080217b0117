"""Network: an architecture plus a view of its flat parameter vector θ."""

from __future__ import annotations

import hashlib
import json
import math
import operator
import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..atomic_file import as_path, write_atomically
from ..errors import ArgumentError, ArgumentTypeError, CheckpointError
from ..landscape import Block, check_theta
from ..real_array import plain, real_array
from ..what_came import what_came
from .init import Initialiser, as_initialiser
from .kinds import describe, restore
from .layer import Layer
from .wiring import Wiring, wire

Array = NDArray[Any]

_FORMAT = "unstuck.network"
_SCHEMA = 1
_POWER_ITERATIONS = 16  # of SpectralNorm at the start: PyTorch's 15, and that of its first step
_CORES = {"float32": "Float32Network", "float64": "Float64Network"}


class Network:
    """A sequence of layers over one flat parameter vector.

    Args:
        *layers: layer descriptions, first to last.
        input_shape: shape of one sample, e.g. (64,).
        seed: of the initial weights; the same seed gives the same network, float32 being float64 rounded.
        dtype: "float32" or "float64", of parameters, activations and products.
        init: initialiser of every layer that names none; "torch" is torch.nn.Linear's default.

    Attributes:
        theta: the parameters (n,); one writable array for the network's whole life. Change it in place.
        blocks: [(name, slice, shape)] in the order of torch.nn's parameters(),
            e.g. ("0.weight", slice(0, 8192), (128, 64)); within a Residual "3.0.weight", "3.shortcut.weight".
        output_shape: shape of one output, e.g. (10,).
        buffers: what training changes without a gradient, e.g. running statistics (m,); writable, one array.
        buffer_blocks: [(name, slice, shape)] of `buffers`, e.g. ("1.running_mean", slice(0, 128), (128,)).

    Raises:
        ArgumentError: layers do not fit together; the message names the layer.
    """

    def __init__(
        self,
        *layers: Layer,
        input_shape: tuple[int, ...],
        seed: int = 0,
        dtype: Any = "float32",
        init: Initialiser | str = "torch",
    ) -> None:
        _check_layers(layers)
        name = _dtype_name(dtype)
        self.layers = layers
        self.input_shape = _shape(input_shape)
        self.seed = _seed(seed)
        self.dtype = np.dtype(name)
        self.init = as_initialiser(init)
        self._wiring, self.output_shape = wire(layers, self.input_shape)
        self._core = _built(self._wiring, self.input_shape, name)
        self.blocks: list[Block] = [(b, slice(start, stop), shape) for b, start, stop, shape in self._core.blocks]
        self._theta: Array = np.empty(self._core.size, dtype=self.dtype)
        self.buffer_blocks: list[Block] = [
            (b, slice(start, stop), shape) for b, start, stop, shape in self._core.buffer_blocks
        ]
        self._buffers: Array = np.empty(sum(math.prod(b[2]) for b in self.buffer_blocks), dtype=self.dtype)
        self.reinitialise(self.seed)

    @property
    def buffers(self) -> Array:
        """Running statistics and the like, shape (m,): the same writable array for the network's life."""
        return self._buffers

    @property
    def theta(self) -> Array:
        """The parameters, shape (n,): a writable array that stays the same object for the network's life."""
        return self._theta

    @property
    def n(self) -> int:
        """Number of parameters."""
        return int(self._core.size)

    @property
    def outputs(self) -> int:
        """Number of outputs per sample."""
        return int(self._core.outputs)

    def reinitialise(self, seed: int | None = None) -> None:
        """Draw the initial weights again into `theta`, from the network's own seed or another."""
        chosen = self.seed if seed is None else _seed(seed)
        streams = np.random.SeedSequence(chosen).spawn(len(self._wiring.nodes))
        own: dict[str, dict[str, tuple[slice, tuple[int, ...]]]] = {}
        for name, where, shape in self.blocks:
            layer, _, parameter = name.rpartition(".")
            own.setdefault(layer, {})[parameter] = (where, shape)
        theta = np.empty_like(self._theta)
        for node, stream in zip(self._wiring.nodes, streams, strict=True):
            if node.layer is None or node.name not in own:
                continue
            shapes = {name: shape for name, (_, shape) in own[node.name].items()}
            try:
                values = node.layer.start(shapes, self.init, np.random.default_rng(stream))
            except ArgumentError as error:
                raise ArgumentError(f"layer {node.name}: {error}") from None
            for name, (where, _) in own[node.name].items():
                theta[where] = values[name].ravel()
        self._theta[:] = theta
        self._start_buffers(streams)

    def _start_buffers(self, streams: list[np.random.SeedSequence]) -> None:
        own: dict[str, dict[str, tuple[int, ...]]] = {}
        for (block, where, shape), start in zip(self.buffer_blocks, self._core.buffer_starts, strict=True):
            self._buffers[where] = start
            layer, _, name = block.rpartition(".")
            own.setdefault(layer, {})[name] = shape
        places = {block: where for block, where, _ in self.buffer_blocks}
        for node, stream in zip(self._wiring.nodes, streams, strict=True):
            if node.layer is None or node.name not in own:
                continue
            rng = np.random.default_rng(stream.spawn(1)[0])
            for name, value in node.layer.start_buffers(own[node.name], rng).items():
                self._buffers[places[f"{node.name}.{name}"]] = value.ravel()
        for _ in range(_POWER_ITERATIONS):
            self._core.update_buffers(self._theta, self._buffers)

    def block(self, name: str) -> Array:
        """The live view of one named block, in its own shape, e.g. net.block("0.weight")."""
        for known, where, shape in self.blocks:
            if known == name:
                return self._theta[where].reshape(shape)
        raise ArgumentError(f"`name` must be one of {', '.join(b[0] for b in self.blocks)}, got {str(name)[:60]!r}")

    def predict(self, X: Any, theta: Any = None) -> Array:
        """Outputs (N, *output_shape) for samples X (N, *input_shape), in eval mode; NaN in X comes out as NaN."""
        result: Array = self._core.predict(self._point(theta), self._buffers, self._rows(X))
        return result.reshape(-1, *self.output_shape)

    def activations(
        self, X: Any, theta: Any = None, mode: Literal["eval", "train"] = "eval"
    ) -> list[tuple[str, Array]]:
        """[(layer name, its outputs (N, …))] for every layer, e.g. ("1.Tanh", …).

        Args:
            X: samples (N, *input_shape); in "train" they are one batch.
            theta: the parameters (n,); None: the network's own.
            mode: whether BatchNorm uses its running statistics or those of X, and Dropout lets everything pass.
        """
        if mode not in ("eval", "train"):
            raise ArgumentError(f'`mode` must be "eval" or "train", got {mode!r}')
        rows = self._rows(X)
        if self._core.coupled(mode == "train"):
            self._core.check_batch(rows.shape[0], mode == "train")
        outputs = self._core.activations(self._point(theta), self._buffers, rows, mode == "train")
        return [(node.title, h.reshape(-1, *node.shape)) for node, h in zip(self._wiring.nodes, outputs, strict=True)]

    def _point(self, theta: Any) -> Array:
        return self._theta if theta is None else check_theta(theta, self.n, self.dtype)

    def _rows(self, X: Any) -> Array:
        rows = real_array(X, "X")
        if rows.ndim != 1 + len(self.input_shape) or rows.shape[1:] != self.input_shape:
            expected = ", ".join(["N", *map(str, self.input_shape)])
            raise ArgumentError(f"`X` must have shape ({expected}), got {rows.shape}")
        return plain(rows, self.dtype).reshape(rows.shape[0], self._core.inputs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture and parameters to one safetensors file, atomically."""
        from safetensors.numpy import save

        header = {
            "format": _FORMAT,
            "schema": _SCHEMA,
            "layers": [describe(layer) for layer in self.layers],
            "input_shape": list(self.input_shape),
            "seed": self.seed,
            "dtype": self.dtype.name,
            "init": vars(self.init).copy(),
            "sha256": hashlib.sha256(self._theta.tobytes() + self._buffers.tobytes()).hexdigest(),
        }
        arrays = {"theta": self._theta, **({"buffers": self._buffers} if self._buffers.size else {})}
        write_atomically(path, save(arrays, metadata={"unstuck": json.dumps(header)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """The network that `save` wrote, equal to the bit. Nothing in the file is executed.

        Raises:
            ArgumentTypeError: `path` is no path.
            CheckpointError: the file is damaged, of another kind, or of a newer schema.
            FileNotFoundError: there is no such file.
        """
        from safetensors import SafetensorError, safe_open

        goal = as_path(path)
        if goal.exists() and not goal.is_file():
            raise CheckpointError(f"`path`: {goal.name!r} is not a regular file")
        try:
            with safe_open(goal, framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get("unstuck", "null"))
                held = set(file.keys())
                theta, buffers = (file.get_tensor(x) if x in held else None for x in ("theta", "buffers"))
        except FileNotFoundError:
            raise
        except (SafetensorError, ValueError, KeyError, OSError, TypeError, RecursionError) as error:
            raise CheckpointError(f"not a readable network file: {error}") from error
        return cls._from_header(header, theta, buffers)

    @classmethod
    def _from_header(cls, header: Any, theta: Any, buffers: Any) -> Network:
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            raise CheckpointError("the file holds no unstuck network")
        if header.get("schema") != _SCHEMA:
            raise CheckpointError(
                f"the file has schema {str(header.get('schema'))[:20]}, this version reads {_SCHEMA}; update unstuck"
            )
        try:
            layers, shape = [restore(values) for values in header["layers"]], tuple(header["input_shape"])
            name = _dtype_name(header["dtype"])
            if theta is None or theta.dtype != name or theta.ndim != 1:
                raise CheckpointError(f"`theta` is missing or not a vector of {name}")
            # before anything of that size is allocated
            described = _built(wire(layers, _shape(shape))[0], _shape(shape), name).size
            if described != theta.size:
                raise CheckpointError(f"the header describes {described} parameters, the file holds {theta.size}")
            net = cls(
                *layers,
                input_shape=shape,
                seed=header["seed"],
                dtype=name,
                init=Initialiser(**header["init"]),
            )
            running = np.empty(0, net.dtype) if buffers is None else buffers
            if running.shape != net.buffers.shape or running.dtype != net.dtype:
                raise CheckpointError(f"`buffers` must be a vector of {net.buffers.size} numbers of {name}")
            if hashlib.sha256(theta.tobytes() + running.tobytes()).hexdigest() != header["sha256"]:
                raise CheckpointError("the parameters are damaged: their checksum differs")
            net.theta[:] = check_theta(theta, net.n, net.dtype)
            net.buffers[:] = running
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"the network file is damaged: {error}") from error
        return net

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        """A network of the same layers with parameters, running statistics and workspace of its own."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(self.__dict__)
        twin._core = _built(self._wiring, self.input_shape, self.dtype.name)
        twin.blocks, twin.buffer_blocks = list(self.blocks), list(self.buffer_blocks)
        twin._theta, twin._buffers = self._theta.copy(), self._buffers.copy()
        return twin

    def __repr__(self) -> str:
        inner = ", ".join(repr(layer) for layer in self.layers)
        shape = f"input_shape={self.input_shape}, seed={self.seed}, dtype={self.dtype.name!r}"
        return f"Network({inner}, {shape}): {self.n} parameters"


def _built(wiring: Wiring, input_shape: tuple[int, ...], dtype: str) -> Any:
    """The core's network, without parameters."""
    return getattr(_core, _CORES[dtype])(wiring.specs(), math.prod(input_shape))


def _check_layers(layers: tuple[Any, ...]) -> None:
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            cure = "; hand the layers over one by one, Network(*layers, …)" if isinstance(layer, (list, tuple)) else ""
            raise ArgumentTypeError(f"layer {i} must be a layer of unstuck.nn, got {what_came(layer)}{cure}")


def _dtype_name(dtype: Any) -> str:
    try:
        name = str(np.dtype(dtype).name)
    except TypeError as error:
        raise ArgumentTypeError(f'`dtype` must be "float32" or "float64", got {dtype!r}') from error
    if name not in _CORES:
        raise ArgumentTypeError(f'`dtype` must be "float32" or "float64", got {name!r}')
    return name


def _shape(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, (int, np.integer)) and not isinstance(shape, bool):
        shape = (shape,)
    try:
        extents = tuple(operator.index(_number(x)) for x in shape)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(f"`input_shape` must be a tuple of integers such as (64,), got {shape!r}") from error
    if not extents or any(x < 1 for x in extents) or math.prod(extents) >= 2**31:
        raise ArgumentError(f"`input_shape` must hold positive integers with a product below 2^31, got {shape!r}")
    return extents


def _number(extent: Any) -> Any:
    if isinstance(extent, (bool, np.bool_)):
        raise TypeError("a truth value is no extent")
    return extent


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ArgumentError(f"`seed` must be a non-negative integer, got {seed!r}")
    return int(seed)
