"""The operators and methods of a Tensor. Each of them calls the NumPy function of the same name."""

import operator
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from tinygrad_vg.engine.calculus import ACCUMULATE
from tinygrad_vg.engine.operations import Recordable, name_of
from tinygrad_vg.engine.ops import at
from tinygrad_vg.engine.recording import recording

Result = TypeVar("Result")
INSTEAD = "use np.sum, np.prod, np.cumsum, broadcasting or indexing instead"


class Arithmetic(Recordable, Generic[Result]):
    """The operators, methods and protocols of a Tensor; all of them call `record`.

    The methods have the names and the usual arguments of an array's; for other options call the NumPy function. They
    raise TypeError as `record` does. There are no in-place operators, so Python reads `t += 1` as `t = t + 1`; a
    Parameter has them (`nn/in_place.py`).

    >>> import tinygrad_vg as tg
    >>> t = tg.Tensor([[4.0, 1.0], [2.0, 3.0]], requires_grad=True)
    >>> t.shape, t.ndim, t.size, t.dtype
    ((2, 2), 2, 4, dtype('float64'))
    >>> print(t.all(), t.any(), t.argmax(), t.argmin())
    True True 0 1
    >>> [number.item() for number in (t.sum(), t.prod(), t.max(), t.min(), t.mean(), t.var(), t.std(), t.trace())]
    [10.0, 24.0, 4.0, 1.0, 2.5, 1.25, 1.118033988749895, 7.0]
    >>> [row.data.tolist() for row in (t.ravel(), t.flatten(), t.reshape(4))]
    [[4.0, 1.0, 2.0, 3.0], [4.0, 1.0, 2.0, 3.0], [4.0, 1.0, 2.0, 3.0]]
    >>> t.cumsum().data.tolist(), t.cumprod().data.tolist(), t.diagonal().data.tolist()
    ([4.0, 5.0, 7.0, 10.0], [4.0, 4.0, 8.0, 24.0], [4.0, 3.0])
    >>> [same.data.tolist() for same in (t.T, t.mT, t.transpose(1, 0), t.swapaxes(0, 1))] == 4 * [[[4, 2], [1, 3]]]
    True
    >>> t.take(1, axis=0), t.repeat(2, axis=1).shape, t[None].squeeze(0).shape, t.argsort(axis=1).tolist()
    (Tensor([2., 3.], requires_grad=True), (2, 4), (2, 2), [[1, 0], [0, 1]])
    >>> t.dot(t).data.tolist(), t.clip(2, 3).data.tolist(), (t / 3).round(1).tolist()
    ([[18.0, 7.0], [14.0, 11.0]], [[3.0, 2.0], [2.0, 3.0]], [[1.3, 0.3], [0.7, 1.0]])
    >>> t.copy().requires_grad, t.astype(np.float32).dtype
    (True, dtype('float32'))
    """

    __slots__ = ()
    data: Any

    # NumPy's two protocols.

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "accumulate" and ufunc in ACCUMULATE:
            return ACCUMULATE[ufunc](*inputs, **kwargs)
        if method != "__call__":
            raise TypeError(f"{name_of(ufunc)}.{method} of a Tensor is not supported; {INSTEAD}")
        return self.record(ufunc, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.record(function, args, kwargs)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{type(self).__name__} {self.shape} {self.dtype}</p><pre>{escape(repr(self))}</pre>"

    # Properties.

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def T(self) -> Result:
        return self.record(np.transpose, (self,), {})

    @property
    def mT(self) -> Result:
        return self.record(np.swapaxes, (self, -1, -2), {})

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Result]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if recording.trace is not None:
            recording.trace.refuse("`if`, `and`, `or`, `not` or bool()")
        return bool(self.data)

    __hash__ = object.__hash__

    # fmt: off
    def __pos__(self) -> Result: return self.record(np.positive, (self,), {})
    def __neg__(self) -> Result: return self.record(np.negative, (self,), {})
    def __abs__(self) -> Result: return self.record(np.absolute, (self,), {})
    def __add__(self, other: Any) -> Result: return self.record(np.add, (self, other), {})
    def __radd__(self, other: Any) -> Result: return self.record(np.add, (other, self), {})
    def __sub__(self, other: Any) -> Result: return self.record(np.subtract, (self, other), {})
    def __rsub__(self, other: Any) -> Result: return self.record(np.subtract, (other, self), {})
    def __mul__(self, other: Any) -> Result: return self.record(np.multiply, (self, other), {})
    def __rmul__(self, other: Any) -> Result: return self.record(np.multiply, (other, self), {})
    def __truediv__(self, other: Any) -> Result: return self.record(np.divide, (self, other), {})
    def __rtruediv__(self, other: Any) -> Result: return self.record(np.divide, (other, self), {})
    def __mod__(self, other: Any) -> Result: return self.record(np.remainder, (self, other), {})
    def __rmod__(self, other: Any) -> Result: return self.record(np.remainder, (other, self), {})
    def __pow__(self, other: Any) -> Result: return self.record(np.power, (self, other), {})
    def __rpow__(self, other: Any) -> Result: return self.record(np.power, (other, self), {})
    def __matmul__(self, other: Any) -> Result: return self.record(np.matmul, (self, other), {})
    def __rmatmul__(self, other: Any) -> Result: return self.record(np.matmul, (other, self), {})
    def __floordiv__(self, other: Any) -> Any: return self.record(np.floor_divide, (self, other), {})
    def __rfloordiv__(self, other: Any) -> Any: return self.record(np.floor_divide, (other, self), {})
    def __eq__(self, other: object) -> Any: return self.record(np.equal, (self, other), {})
    def __ne__(self, other: object) -> Any: return self.record(np.not_equal, (self, other), {})
    def __lt__(self, other: Any) -> Any: return self.record(np.less, (self, other), {})
    def __le__(self, other: Any) -> Any: return self.record(np.less_equal, (self, other), {})
    def __gt__(self, other: Any) -> Any: return self.record(np.greater, (self, other), {})
    def __ge__(self, other: Any) -> Any: return self.record(np.greater_equal, (self, other), {})

    def sum(self, axis: Any = None, **kw: Any) -> Result: return self.record(np.sum, (self,), {"axis": axis, **kw})
    def mean(self, axis: Any = None, **kw: Any) -> Result: return self.record(np.mean, (self,), {"axis": axis, **kw})
    def max(self, axis: Any = None, **kw: Any) -> Result: return self.record(np.max, (self,), {"axis": axis, **kw})
    def min(self, axis: Any = None, **kw: Any) -> Result: return self.record(np.min, (self,), {"axis": axis, **kw})
    def prod(self, axis: Any = None, **kw: Any) -> Result: return self.record(np.prod, (self,), {"axis": axis, **kw})
    def var(self, axis: Any = None, **kw: Any) -> Result: return self.record(np.var, (self,), {"axis": axis, **kw})
    def std(self, axis: Any = None, **kw: Any) -> Result: return self.record(np.std, (self,), {"axis": axis, **kw})
    def cumsum(self, axis: Any = None) -> Result: return self.record(np.cumsum, (self,), {"axis": axis})
    def cumprod(self, axis: Any = None) -> Result: return self.record(np.cumprod, (self,), {"axis": axis})
    def argmax(self, axis: Any = None, **kw: Any) -> Any: return self.record(np.argmax, (self,), {"axis": axis, **kw})
    def argmin(self, axis: Any = None, **kw: Any) -> Any: return self.record(np.argmin, (self,), {"axis": axis, **kw})
    def argsort(self, axis: Any = -1, **kw: Any) -> Any: return self.record(np.argsort, (self,), {"axis": axis, **kw})
    def all(self, axis: Any = None, **kw: Any) -> Any: return self.record(np.all, (self,), {"axis": axis, **kw})
    def any(self, axis: Any = None, **kw: Any) -> Any: return self.record(np.any, (self,), {"axis": axis, **kw})
    def round(self, decimals: int = 0) -> Any: return self.record(np.round, (self,), {"decimals": decimals})
    def clip(self, min: Any = None, max: Any = None) -> Result: return self.record(np.clip, (self, min, max), {})
    def dot(self, b: Any) -> Result: return self.record(np.dot, (self, b), {})
    def take(self, indices: Any, axis: Any = None) -> Result: return self.record(np.take, (self, indices, axis), {})
    def repeat(self, repeats: Any, axis: Any = None) -> Result:
        return self.record(np.repeat, (self, repeats), {"axis": axis})
    def diagonal(self, *axes: int, **kw: int) -> Result: return self.record(np.diagonal, (self, *axes), kw)
    def trace(self, *axes: int, **kw: int) -> Result: return self.record(np.trace, (self, *axes), kw)
    def ravel(self) -> Result: return self.record(np.ravel, (self,), {})
    def flatten(self) -> Result: return self.record(np.ravel, (self,), {})
    def squeeze(self, axis: Any = None) -> Result: return self.record(np.squeeze, (self,), {"axis": axis})
    def swapaxes(self, axis1: int, axis2: int) -> Result: return self.record(np.swapaxes, (self, axis1, axis2), {})
    def copy(self) -> Result: return self.record(np.positive, (self,), {})
    def astype(self, dtype: Any) -> Result: return self.record(np.ndarray.astype, (self, dtype), {})
    # fmt: on

    def __getitem__(self, index: Any) -> Result:
        if recording.everything and isinstance(index, tuple) and any(isinstance(part, Recordable) for part in index):
            return at(self, *index)  # the engine looks for Tensors among arguments only
        return self.record(operator.getitem, (self, index), {})

    def reshape(self, *shape: Any) -> Result:
        """np.reshape; the shape is a tuple, or its lengths as separate arguments."""
        return self.record(np.reshape, (self, shape[0] if len(shape) == 1 else shape), {})

    def transpose(self, *axes: Any) -> Result:
        """np.transpose; the axes are a tuple or separate arguments, by default all axes in reverse order."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return self.record(np.transpose, (self, order), {})
