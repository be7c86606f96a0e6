"""Comparison of gradients with finite differences, for derivatives of any order."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_vg.engine.grad import grad
from tinygrad_vg.engine.tensor import Tensor


class GradcheckError(AssertionError):
    """A gradient differs from the finite difference. The message names the input, the element and both numbers.

    >>> import tinygrad_vg as tg
    >>> wrong = tg.differentiable(lambda g, y, a: 3 * g * a)(lambda a: a * a)
    >>> try:
    ...     tg.gradcheck(wrong, tg.Tensor(1.0, requires_grad=True))
    ... except tg.GradcheckError as error:
    ...     print(error)
    <lambda>: the gradient of input 0 at () is 4.36632759, the finite difference 2.91088506
    """


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    order: int = 1,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
) -> bool:
    """Compare the gradients of `func` with central finite differences.

    The output is contracted with a fixed random cotangent, so one backward and two calls per element suffice. For
    order 2 the gradient itself is checked in the same way, as a function of the inputs and of the cotangent; and so on
    for higher orders.

    Args:
        func: takes the inputs and returns one Tensor.
        inputs: a Tensor or a sequence. Tensors that require gradients are checked; anything else is passed to `func`.
        order: the order of the highest derivative that is checked.
        eps: the element is moved by ±eps. The error of the difference is about eps² times the third derivative.
        atol, rtol: an element passes if |gradient − difference| ≤ atol + rtol · |difference|.

    Returns:
        True.

    Raises:
        GradcheckError: at the first element that differs, or that is not finite.
        TypeError: if a checked input is not float64. In float32 the difference would be mostly rounding error.
        ValueError: if no input requires a gradient.

    >>> import numpy as np, tinygrad_vg as tg
    >>> tg.gradcheck(np.sin, tg.Tensor([0.3, 1.0], requires_grad=True), order=3)
    True
    """
    arguments = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    checked = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
    if not checked:
        raise ValueError("gradcheck needs an input with requires_grad=True")
    for tensor in checked:
        if tensor.dtype != np.float64:
            raise TypeError(f"gradcheck needs float64 inputs, not {tensor.dtype}: rounding would hide the error")

    # A fixed cotangent without zeros and without equal elements, which could let a wrong rule pass.
    shape = func(*arguments).shape
    cotangent = Tensor(np.random.default_rng(0).uniform(0.5, 2.0, shape), requires_grad=True)
    compare(func, arguments, cotangent, eps, atol, rtol)
    if order > 1:
        for i in range(len(checked)):
            gradcheck(_Gradient(func, i), (*arguments, cotangent), order - 1, eps, atol, rtol)
    return True


class _Gradient:
    """The gradient of `func` with respect to its i-th checked input, as a function of the inputs and the cotangent."""

    def __init__(self, func: Callable[..., Any], i: int) -> None:
        self.func, self.i = func, i
        self.name = f"gradient {i} of {getattr(func, 'name', getattr(func, '__name__', 'func'))}"

    def __call__(self, *arguments: Any) -> Tensor:
        *inputs, cotangent = arguments
        checked = [a for a in inputs if isinstance(a, Tensor) and a.requires_grad]
        output = self.func(*inputs)
        # 0 times each input keeps inputs in the graph whose derivative is exactly 0.
        output = output + sum(0 * np.sum(a) for a in checked)
        (gradient,) = grad(output, checked[self.i], cotangent, create_graph=True)
        return gradient + sum(0 * np.sum(a) for a in (*checked, cotangent))  # type: ignore[no-any-return]


def compare(
    func: Callable[..., Any], arguments: tuple[Any, ...], cotangent: Tensor, eps: float, atol: float, rtol: float
) -> None:
    """Check the first derivatives of Σ cotangent · func(arguments), element by element.

    Raises:
        GradcheckError: at the first element that differs.
    """
    name = getattr(func, "name", getattr(func, "__name__", "func"))

    checked = [(i, a) for i, a in enumerate(arguments) if isinstance(a, Tensor) and a.requires_grad]
    output = func(*arguments)
    try:
        gradients = grad(output, [a for _, a in checked], cotangent.data)
    except ValueError as error:
        raise GradcheckError(f"{name}: no gradient arrived: {error}") from error
    for (i, tensor), gradient in zip(checked, gradients, strict=True):
        original = tensor.data
        try:
            for index in np.ndindex(original.shape):
                ends = []
                for shift in (eps, -eps):
                    tensor.data = original.copy()
                    tensor.data[index] += shift
                    ends.append(func(*arguments).data)
                # Subtract before summing: a large output would hide the differences of the others.
                numeric = np.sum((ends[0] - ends[1]) * cotangent.data) / (2 * eps)
                if not abs(gradient[index] - numeric) <= atol + rtol * abs(numeric):
                    raise GradcheckError(
                        f"{name}: the gradient of input {i} at {index} is {gradient[index]:.9g}, "
                        f"the finite difference {numeric:.9g}"
                    )
        finally:
            tensor.data = original
