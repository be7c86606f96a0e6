"""Random programs: expression graphs of 10 to 25 operations, with values, shapes and sharing drawn by chance.

A step is a name, the places of its arguments among the values so far, and options. `OURS` says what a name means; a
test that compares with another library brings a table of the same names.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np

from tinygrad_vg import ops

SHAPES = [(), (3,), (1,), (2, 3), (3, 2), (1, 3), (2, 1), (3, 3), (2, 2, 3)]


class Step(NamedTuple):
    name: str
    places: tuple[int, ...]
    options: dict[str, Any]


class Program(NamedTuple):
    """The arrays of the leaves, the steps, and which values are summed with which weights."""

    leaves: list[np.ndarray]
    steps: list[Step]
    weights: dict[int, float]

    def run(self, leaves: list[Any], table: dict[str, Any]) -> list[Any]:
        """All values."""
        values = list(leaves)
        for name, places, options in self.steps:
            values.append(table[name](*(values[i] for i in places), **options))
        return values

    def cost(self, leaves: list[Any]) -> Any:
        values = self.run(leaves, OURS)
        return sum(np.sum(values[i]) * weight for i, weight in self.weights.items())


# Denominators, logarithms and roots get arguments that are never near 0.
# fmt: off
UNARY = {
    "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "arctan": np.arctan, "arcsinh": np.arcsinh, "exp": np.exp,
    "exp2": np.exp2, "expm1": np.expm1, "sinh": np.sinh, "cosh": np.cosh, "square": np.square, "negative": np.negative,
    "sigmoid": ops.sigmoid, "softplus": ops.softplus,
    "inverse": lambda x: np.reciprocal(1 + x * x), "log": lambda x: np.log(1 + x * x),
    "log1p": lambda x: np.log1p(x * x), "root": lambda x: np.sqrt(1 + x * x),
    "arcsin": lambda x: np.arcsin(0.9 * np.tanh(x)),
    "scaled": lambda x: 0.3 * x - 1,
}
WITH_KINKS = {"relu": ops.relu, "absolute": np.absolute, "clip": lambda x: np.clip(x, -0.7, 0.9)}
BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": lambda x, y: x / (1 + y * y),
    "arctan2": lambda x, y: np.arctan2(x, 1 + y * y), "hypot": lambda x, y: np.hypot(x, 1 + y * y),
    "power": lambda x, y: (1 + x * x) ** np.tanh(y), "logaddexp": np.logaddexp, "logaddexp2": np.logaddexp2,
    "matmul": np.matmul, "linear": lambda x, y: ops.linear(x, y),
    "bce": lambda x, y: ops.binary_cross_entropy_with_logits(x, ops.sigmoid(y)),
    "cross-entropy": lambda x, y: ops.cross_entropy(x, ops.sigmoid(y)),
}
BINARY_WITH_KINKS = {"maximum": np.maximum, "minimum": np.minimum}
ALONG_AN_AXIS = {
    "sum": np.sum, "mean": np.mean, "prod": np.prod, "var": np.var,
    "std": lambda x, axis, keepdims: np.sqrt(0.1 + np.var(x, axis=axis, keepdims=keepdims)),
}
ALONG_AN_AXIS_WITH_KINKS = {"max": np.max, "min": np.min}
OTHERS = {
    "cumsum": np.cumsum, "flip": np.flip, "log_softmax": ops.log_softmax, "transpose": np.transpose,
    "reshape": lambda x, shape: np.reshape(x, shape), "broadcast": lambda x, n: np.broadcast_to(x, (n, *x.shape)),
    "expand_dims": np.expand_dims, "take": lambda x, index: x[index],
    "roll": lambda x, shift, axis: np.roll(x, shift, axis),
    "concatenate": lambda x, y, axis: np.concatenate([x, y], axis), "stack": lambda x, y, axis: np.stack([x, y], axis),
    "where": lambda x, y, mask: np.where(mask, x, y),
}
# fmt: on
OURS = {
    **UNARY,
    **WITH_KINKS,
    **BINARY,
    **BINARY_WITH_KINKS,
    **ALONG_AN_AXIS,
    **ALONG_AN_AXIS_WITH_KINKS,
    **OTHERS,
}  # fmt: skip
KINKS = WITH_KINKS.keys() | BINARY_WITH_KINKS.keys() | ALONG_AN_AXIS_WITH_KINKS.keys()


def options_of(name: str, x: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Options for a step whose first argument is x."""
    axis = int(rng.integers(-x.ndim, x.ndim)) if x.ndim else 0
    if name in ALONG_AN_AXIS or name in ALONG_AN_AXIS_WITH_KINKS:
        return {"axis": None if rng.random() < 0.2 else axis, "keepdims": bool(rng.integers(2))}
    if name in ("cumsum", "flip", "expand_dims", "concatenate", "stack"):
        return {"axis": axis}
    if name == "roll":
        return {"shift": int(rng.integers(1, 3)), "axis": axis}
    if name == "reshape":
        return {"shape": [(-1,), (x.size, 1), (1, *x.shape), x.shape[::-1]][rng.integers(4)]}
    if name == "broadcast":
        return {"n": int(rng.integers(1, 3))}
    if name == "where":
        return {"mask": rng.random(x.shape[-1:]) < 0.5}
    if name == "take":
        n = len(x)
        return {"index": [0, -1, slice(0, 1), slice(1, None), rng.integers(n, size=3), (..., 0)][rng.integers(6)]}
    return {}


def program(seed: int, kinks: bool = True) -> Program:
    """The program of this seed; without kinks it has a derivative everywhere."""
    rng = np.random.default_rng(seed)
    leaves = [rng.normal(size=SHAPES[rng.integers(len(SHAPES))]) for _ in range(rng.integers(2, 5))]
    values, steps = list(leaves), []
    names = sorted(OURS if kinks else OURS.keys() - KINKS)
    wanted = rng.integers(10, 26)
    while len(steps) < wanted:
        name = names[rng.integers(len(names))]
        binary = name in BINARY or name in BINARY_WITH_KINKS or name in ("concatenate", "stack", "where")
        # Young values more often than old ones, so that graphs are deep.
        places = tuple(int(len(values) * rng.random() ** 0.5) for _ in range(1 + binary))
        try:
            options = options_of(name, values[places[0]], rng)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = np.asarray(OURS[name](*(values[i] for i in places), **options))
        except (ValueError, IndexError, TypeError):  # shapes that do not go together
            continue
        if value.ndim < 4 and 0 < value.size <= 60 and np.all(np.abs(value) < 30):  # NaN is not either
            values.append(value)
            steps.append(Step(name, places, options))
    ends = {len(values) - 1, *rng.integers(len(leaves), len(values), size=2).tolist()}
    return Program(leaves, steps, {i: float(rng.normal()) for i in sorted(ends)})
