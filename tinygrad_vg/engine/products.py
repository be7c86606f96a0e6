"""NumPy's sums of products: `np.einsum` with its rule, and those that are compositions of it or of np.matmul."""

from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_vg.engine.composites import outer
from tinygrad_vg.engine.operations import ForEach, composite, fixed, operation
from tinygrad_vg.engine.ops import at

# Einstein's sums. `contract` has one letter for each axis, and none twice in an operand.


def _contract_vjp(
    index: int, g: Any, y: Any, *operands: Any, inputs: tuple[str, ...], output: str, optimize: Any
) -> Any:
    """The sum of g times the other operands; constant along the axes that only this operand has."""
    rest = inputs[:index] + inputs[index + 1 :]
    known = {*chain(output, *rest)}
    kept = "".join(letter for letter in inputs[index] if letter in known)
    others = operands[:index] + operands[index + 1 :]
    share = contract(g, *others, inputs=(output, *rest), output=kept, optimize=optimize)
    missing = tuple(place for place, letter in enumerate(inputs[index]) if letter not in known)
    return np.expand_dims(share, missing) if missing else share


@partial(operation, rules=ForEach(_contract_vjp), name="np.einsum")
def contract(*operands: Any, inputs: tuple[str, ...], output: str, optimize: Any) -> Any:
    """np.einsum of `inputs`, a subscript for each operand, to `output`."""
    return np.einsum(f"{','.join(inputs)}->{output}", *operands, optimize=optimize)


@composite(np.einsum)
def einsum(subscripts: Any, *operands: Any, optimize: Any = False) -> Any:
    """np.einsum, by `contract`; a letter twice in one operand stands for its diagonal.

    Raises:
        TypeError: if the subscripts are no string.
        ValueError: if they do not match the operands.
    """
    if not isinstance(subscripts, str):
        raise TypeError(
            "np.einsum of a Tensor takes its subscripts as a string, such as 'ij,jk->ik', before the arrays"
        )
    inputs, output = _spelled_out(subscripts.replace(" ", ""), [*map(np.ndim, operands)])
    operands = tuple(np.asarray(a) if isinstance(a, list | float | int) else a for a in operands)
    for place, letters in enumerate(inputs):
        if len({*letters}) < len(letters):
            once = "".join(dict.fromkeys(letters))
            operands = (*operands[:place], _diagonal(operands[place], letters, once), *operands[place + 1 :])
            inputs[place] = once
    return contract(*operands, inputs=tuple(inputs), output=output, optimize=optimize)


def _spelled_out(subscripts: str, ndims: list[int]) -> tuple[list[str], str]:
    """The subscripts of the operands and of the output, with letters in place of ... and with an output."""
    left, arrow, output = subscripts.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ndims):
        raise ValueError(f"np.einsum has subscripts for {len(inputs)} operands, and got {len(ndims)}")
    used = {letter for letter in subscripts if letter.isalpha()}
    free = [letter for letter in map(chr, range(ord("A"), ord("z") + 1)) if letter.isalpha() and letter not in used]
    width = max((n - len(i) + 3 for i, n in zip(inputs, ndims, strict=True) if "..." in i), default=0)
    dots = "".join(free[:width])
    for place, (letters, n) in enumerate(zip(inputs, ndims, strict=True)):
        missing = n - len(letters) + 3
        inputs[place] = letters.replace("...", dots[len(dots) - missing :] if missing else "")
        if len(inputs[place]) != n:
            raise ValueError(f"np.einsum has the subscripts {letters!r} for an operand of {n} axes")
    if arrow and dots and "..." not in output:
        raise ValueError(f"np.einsum has ... in an operand and not in the output: {subscripts!r}")
    if not arrow:
        letters = "".join(inputs)
        output = dots + "".join(sorted(letter for letter in used if letters.count(letter) == 1))
    return inputs, output.replace("...", dots)


def _diagonal(a: Any, letters: str, once: str) -> Any:
    """The elements of an operand at which the indices of equal letters are equal, with an axis for each letter."""
    shape = np.shape(a)
    lengths = {letter: {n for n, other in zip(shape, letters, strict=True) if other == letter} for letter in once}
    if any(len(n) > 1 for n in lengths.values()):
        raise ValueError(f"np.einsum has the subscripts {letters!r} for the shape {shape}")
    index = dict(zip(once, np.ogrid[tuple(slice(*n) for n in lengths.values())], strict=True))
    return at(a, *(index[letter] for letter in letters))


# Products of all axes.


@composite(np.tensordot, getattr(np.linalg, "tensordot", None))
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """np.tensordot, by np.matmul of two matrices."""
    ndims = np.ndim(a), np.ndim(b)
    if isinstance(axes, int | np.integer):
        axes = [*range(ndims[0] - axes, ndims[0])], [*range(axes)]
    of_a, of_b = (normalize_axis_tuple(given, n) for given, n in zip(axes, ndims, strict=True))
    if [np.shape(a)[i] for i in of_a] != [np.shape(b)[i] for i in of_b]:
        raise ValueError(
            f"np.tensordot sums over axes of equal length, not over {axes} of {np.shape(a)}, {np.shape(b)}"
        )
    kept_a, kept_b = ([i for i in range(n) if i not in s] for s, n in zip((of_a, of_b), ndims, strict=True))
    shape_a, shape_b = [np.shape(a)[i] for i in kept_a], [np.shape(b)[i] for i in kept_b]
    n = int(np.prod([np.shape(a)[i] for i in of_a], dtype=int))
    left = np.reshape(np.transpose(a, (*kept_a, *of_a)), (int(np.prod(shape_a, dtype=int)), n))
    right = np.reshape(np.transpose(b, (*of_b, *kept_b)), (n, int(np.prod(shape_b, dtype=int))))
    return np.reshape(np.matmul(left, right), (*shape_a, *shape_b))


@composite(np.dot)
def dot(a: Any, b: Any) -> Any:
    """np.dot, by np.multiply for a 0-d argument, by np.matmul, or by `tensordot` for a `b` of more than two axes."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return np.matmul(a, b) if np.ndim(b) <= 2 else tensordot(a, b, (-1, -2))


@composite(np.inner)
def inner(a: Any, b: Any) -> Any:
    """np.inner, by np.multiply for a 0-d argument, else by `tensordot` over the last axes."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return tensordot(a, b, (-1, -1))


@composite(np.vdot)
def vdot(a: Any, b: Any, /) -> Any:
    """np.vdot of real numbers, by np.matmul of the two as vectors."""
    return np.matmul(np.ravel(a), np.ravel(b))


@composite(getattr(np, "matvec", None))
def matvec(x1: Any, x2: Any, /) -> Any:
    """np.matvec, by np.matmul."""
    return np.squeeze(np.matmul(x1, np.expand_dims(x2, -1)), -1)


@composite(getattr(np, "vecmat", None))
def vecmat(x1: Any, x2: Any, /) -> Any:
    """np.vecmat of real numbers, by np.matmul."""
    return np.squeeze(np.matmul(np.expand_dims(x1, -2), x2), -2)


@composite(np.kron)
def kron(a: Any, b: Any) -> Any:
    """np.kron, by np.multiply with an axis of `b` after each axis of `a`."""
    n = max(np.ndim(a), np.ndim(b))
    shape_a, shape_b = ((1,) * (n - np.ndim(x)) + np.shape(x) for x in (a, b))
    left = np.reshape(a, tuple(chain(*((length, 1) for length in shape_a))))
    right = np.reshape(b, tuple(chain(*((1, length) for length in shape_b))))
    return np.reshape(left * right, tuple(p * q for p, q in zip(shape_a, shape_b, strict=True)))


@composite(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """np.cross of vectors of three numbers.

    Raises:
        ValueError: for vectors of other lengths.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        raise ValueError("np.cross of a Tensor takes vectors of three numbers; write a[0] * b[1] - a[1] * b[0] for two")
    (a0, a1, a2), (b0, b1, b2) = ([x[..., i] for i in range(3)] for x in (a, b))
    parts = [a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0]
    return np.moveaxis(np.stack(parts, -1), -1, axisc)


@composite(getattr(np.linalg, "cross", None))
def vector_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """np.linalg.cross, by `cross`."""
    return cross(x1, x2, axis=axis)


@composite(getattr(np.linalg, "outer", None))
def vector_outer(x1: Any, x2: Any, /) -> Any:
    """np.linalg.outer, by `outer`."""
    return outer(x1, x2)


@composite(getattr(np.linalg, "matmul", None))
def matmul(x1: Any, x2: Any, /) -> Any:
    """np.linalg.matmul, by np.matmul."""
    return np.matmul(x1, x2)


@composite(getattr(np.linalg, "vecdot", None))
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """np.linalg.vecdot, by np.vecdot of the last axes."""
    return np.vecdot(np.moveaxis(x1, axis, -1), np.moveaxis(x2, axis, -1))


@composite(np.linalg.multi_dot)
def multi_dot(arrays: Any) -> Any:
    """np.linalg.multi_dot, by np.matmul in the order that needs the fewest multiplications."""
    arrays = [*arrays]
    shapes = [np.shape(a) for a in arrays]
    lengths = [shapes[0][0] if len(shapes[0]) == 2 else 1, *(s[0] for s in shapes[1:]), shapes[-1][-1]]
    if len(shapes[-1]) == 1:
        lengths[-1] = 1
    best: dict[tuple[int, int], tuple[int, int]] = {(i, i): (0, i) for i in range(len(arrays))}
    for width in range(1, len(arrays)):
        for i in range(len(arrays) - width):
            j = i + width
            best[i, j] = min(
                (best[i, k][0] + best[k + 1, j][0] + lengths[i] * lengths[k + 1] * lengths[j + 1], k)
                for k in range(i, j)
            )

    def product(i: int, j: int) -> Any:
        k = best[i, j][1]
        return arrays[i] if i == j else np.matmul(product(i, k), product(k + 1, j))

    return product(0, len(arrays) - 1)


# Convolutions.


def _slid_over(g: Any, other: Any) -> Any:
    """The gradient of an argument of `convolved` for g at the output, and the other argument."""
    return convolved(g, np.flip(other))[np.size(other) - 1 : np.size(g)]


@partial(
    operation, rules=(lambda g, y, a, v: _slid_over(g, v), lambda g, y, a, v: _slid_over(g, a)), name="np.convolve"
)
def convolved(a: Any, v: Any) -> Any:
    """np.convolve(a, v, "full") of two vectors."""
    return np.convolve(a, v)


@composite(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """np.convolve, by `convolved` and a slice."""
    fixed(np.convolve, mode=mode)
    longer, shorter = sorted((np.size(a), np.size(v)), reverse=True)
    begins = {"full": 0, "same": (shorter - 1) // 2, "valid": shorter - 1}
    lengths = {"full": longer + shorter - 1, "same": longer, "valid": longer - shorter + 1}
    if mode not in begins:
        raise ValueError(f"mode is one of {', '.join(map(repr, begins))}, not {mode!r}")
    return convolved(np.atleast_1d(a), np.atleast_1d(v))[begins[mode] : begins[mode] + lengths[mode]]


@composite(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """np.correlate of real numbers, by `convolve` with `v` reversed."""
    if np.size(v) > np.size(a):
        return np.flip(correlate(v, a, mode))
    return convolve(a, np.flip(v), mode)
