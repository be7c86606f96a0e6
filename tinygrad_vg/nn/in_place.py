"""InPlace: the tensors of a module, which operators such as `-=` change and do not replace."""

from typing import Any, Self

import numpy as np

from tinygrad_vg.engine import Tensor
from tinygrad_vg.engine.recording import recording


class InPlace(Tensor):
    """Base of Parameter and Buffer: `p -= lr * p.grad` changes p itself, as in PyTorch.

    The new numbers have p's shape and dtype. They are a new array, as after an optimizer's step: a graph that was
    recorded before keeps the old one, and still gives the right gradients. A plain Tensor has no such operators, so
    Python reads `t -= 1` as `t = t - 1`.

    Raises:
        RuntimeError: where recording is on and a gradient would be asked for: of a parameter outside of `tg.no_grad()`.
        ValueError: if broadcasting would change the shape.
        TypeError: if the numbers have no place in the dtype: floats among integers, complex numbers among floats.

    >>> import tinygrad_vg as tg
    >>> p = tg.nn.Parameter([1.0, 2.0])
    >>> (p * p).backward([1.0, 1.0])
    >>> with tg.no_grad():
    ...     p -= 0.25 * p.grad
    >>> p
    Parameter([0.5, 1. ], requires_grad=True)
    """

    __slots__ = ()

    # fmt: off
    def __iadd__(self, other: Any) -> Self: return self._changed(np.add, "+", other)
    def __isub__(self, other: Any) -> Self: return self._changed(np.subtract, "-", other)
    def __imul__(self, other: Any) -> Self: return self._changed(np.multiply, "*", other)
    def __itruediv__(self, other: Any) -> Self: return self._changed(np.divide, "/", other)
    def __ifloordiv__(self, other: Any) -> Self: return self._changed(np.floor_divide, "//", other)
    def __imod__(self, other: Any) -> Self: return self._changed(np.remainder, "%", other)
    def __ipow__(self, other: Any) -> Self: return self._changed(np.power, "**", other)
    def __imatmul__(self, other: Any) -> Self: return self._changed(np.matmul, "@", other)
    # fmt: on

    def _changed(self, function: np.ufunc, sign: str, other: Any) -> Self:
        if recording.enabled and (self._asks or (isinstance(other, Tensor) and other._asks)):
            kind = type(self).__name__ + (f" '{self.name}'" if self.name else "")
            raise RuntimeError(
                f"p {sign}= ... changes the {kind} itself, and gradients cannot pass through such a change: write "
                f"`with tg.no_grad(): p {sign}= ...` to change it by hand, or q = p {sign} ... for a new tensor"
            )
        value = function(self, other)
        if not isinstance(value, Tensor):
            value = Tensor(value)
        if value.shape != self.shape:
            raise ValueError(
                f"{sign}= would change the shape of {self.label} from {self.shape} to {value.shape}; "
                f"give it numbers that broadcast to {self.shape}"
            )
        if not np.can_cast(value.dtype, self.dtype, "same_kind"):
            raise TypeError(f"{sign}= gives {value.dtype} numbers, which {self.label} of {self.dtype} cannot hold")
        self._become(value if value.dtype == self.dtype else value.astype(self.dtype))
        return self

    def _become(self, value: Tensor) -> None:
        """Take the array of a Tensor of the same shape and dtype; a compiled step does it in each run."""
        if recording.trace is not None:
            recording.trace.assigned(self, value)
        else:
            self.data = value.data
