"""Cells: one time step of a recurrent network, h_t from x_t and h_{t−1}."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tinygrad_vg.engine import Tensor, ops
from tinygrad_vg.engine.arrays import as_array
from tinygrad_vg.nn.ensemble import members_of
from tinygrad_vg.nn.flags import checked_flag
from tinygrad_vg.nn.init import Rng, uniform_
from tinygrad_vg.nn.layer import taken
from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.parameter import Parameter
from tinygrad_vg.nn.twins import seed_of

State = tuple[Any, ...]  # (h,), or (h, c) of an LSTM


class Recurrence(Module):
    """Base of cells and recurrent layers: a time step and its parameters. A subclass defines `next_state`.

    Attributes:
        gates: the number of rows of W_hh for each hidden unit: 1, of a GRU 3, of an LSTM 4.
        states: the number of tensors that a step passes to the next one: 1, of an LSTM 2.
        input_size, hidden_size: the lengths of x_t and h_t.

    >>> from tinygrad_vg import nn
    >>> cell, x, h = nn.RNNCell(3, 4, rng=0), np.ones((5, 3)), np.zeros((5, 4))
    >>> weight_ih, weight_hh, bias_ih, bias_hh = cell.parameters_of_step(3, True, np.float64, rng=0)
    >>> weight_ih.shape, bias_hh.shape, cell.weight_dtype()
    ((4, 3), (4,), dtype('float64'))
    >>> x, state = cell.checked_input(x, axes=2), cell.checked_state(h, (5, 4))
    >>> (h,) = cell.step(x, state, (weight_ih, weight_hh, bias_ih, bias_hh))
    >>> (same,) = cell.next_state(ops.linear(x, weight_ih, bias_ih), ops.linear(state[0], weight_hh, bias_hh), state)
    >>> bool((h.data == same.data).all())
    True
    """

    gates: ClassVar[int]
    states: ClassVar[int] = 1
    input_size: int
    hidden_size: int

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...  # a tuple, of layers and of an LSTMCell

    def next_state(self, given: Any, product: Any, state: State) -> State:
        """The state after a step.

        Args:
            given: W_ih x_t + b_ih, (..., B, gates·hidden).
            product: W_hh h_{t−1} + b_hh, of the same shape.
            state: the state after the step before.
        """
        raise TypeError(f"{type(self).__name__} has no next_state(): define what a step computes")

    def parameters_of_step(self, input_size: int, bias: bool, dtype: Any, rng: Any) -> tuple[Parameter | None, ...]:
        """weight_ih, weight_hh, bias_ih and bias_hh, sampled uniformly from ±1/√hidden_size, as PyTorch does."""
        rows, bound = self.gates * self.hidden_size, 1 / math.sqrt(self.hidden_size)
        shapes = [(rows, input_size), (rows, self.hidden_size), *[(rows,)] * (2 * bias)]
        made = [uniform_(Parameter(np.empty(shape, dtype)), -bound, bound, rng) for shape in shapes]
        return *made, *[None] * (4 - len(made))

    def step(self, x: Any, state: State, parameters: Sequence[Any]) -> State:
        """The state after the step with the input x. Instruments find the tensors of the step by their calls."""
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        product = ops.linear(state[0], weight_hh, bias_hh)
        after = self.next_state(ops.linear(x, weight_ih, bias_ih), product, state)
        self.remember(product, state[0])
        self.remember(after[0], x, state[0])
        for tensor in after[1:]:
            self.remember(tensor, state[0])
        return after

    def remember(self, tensor: Any, *inputs: Any) -> None:
        """Give a tensor a call of this module, by which instruments find it.

        The call of h_t has the inputs x_t and h_{t−1}; that of another tensor of the step has h_{t−1} alone.

        >>> from tinygrad_vg import nn
        >>> cell, x, h = nn.RNNCell(3, 4, rng=0), np.ones((5, 3)), np.zeros((5, 4))
        >>> tensor = 2 * cell.bias_hh
        >>> cell.remember(tensor, x, h)
        >>> tensor.call[0]
        RNNCell(3, 4)
        """
        if isinstance(tensor, Tensor) and tensor.node is not None:
            tensor.call = (self, inputs, tensor.call)

    def checked_input(self, x: Any, axes: int) -> Any:
        """x as an array or a Tensor.

        Args:
            x: the input, of `axes` axes; of one less without a batch, and of one more with the members of an ensemble.
            axes: 2 for a cell, 3 for a layer.

        Raises:
            ValueError: if its shape does not fit.
        """
        x = taken(x, self.weight_dtype())
        members = members_of(self)
        fits = (x.ndim == axes + 1 and x.shape[-3:-2] == members) if members else x.ndim == axes - 1
        if (x.ndim != axes and not fits) or x.shape[-1:] != (self.input_size,):
            more = "with or without the axis of the members in front of the batch" if members else "or without a batch"
            raise ValueError(f"{self!r} takes arrays of {axes} axes, the last of length {self.input_size}, {more}; "
                             f"not {x.shape}")  # fmt: skip
        return x

    def checked_state(self, hx: Any, shape: tuple[int, ...], leading: int = 0) -> State:
        """The initial state as a tuple; zeros for None.

        Args:
            hx: h, or (h, c) of an LSTM.
            shape: the shape of each, without members.
            leading: the number of axes before the axis of the members.

        Raises:
            ValueError: for another shape.
            TypeError: for another number of tensors.
        """
        if hx is None:
            return (np.zeros(shape, self.weight_dtype()),) * self.states
        given = tuple(hx) if self.states > 1 else (hx,)
        if len(given) != self.states:
            raise TypeError(f"{self!r} takes its initial state as a tuple of {self.states}, not of {len(given)}")
        given = tuple(h if isinstance(h, Tensor) else as_array(h) for h in given)
        with_members = (*shape[:leading], *members_of(self), *shape[leading:])
        for h in given:
            if h.shape not in (shape, with_members):
                raise ValueError(f"{self!r} takes an initial state of shape {shape} here, not {h.shape}")
        return given

    def weight_dtype(self) -> Any:
        """The dtype of the parameters."""
        return next(part.dtype for name, part in vars(self).items() if name.startswith("weight"))

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class Elman(Recurrence):
    """h_t = φ(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh), φ tanh or relu (Elman 1990)."""

    gates = 1
    nonlinearity: str

    def next_state(self, given: Any, product: Any, state: State) -> State:
        """φ(z) of the sum z of the two products."""
        return ((np.tanh if self.nonlinearity == "tanh" else ops.relu)(given + product),)


class LongShortTerm(Recurrence):
    """The step of an LSTM (Hochreiter & Schmidhuber 1997; the forget gate of Gers, Schmidhuber & Cummins 2000)."""

    gates = 4
    states = 2

    def next_state(self, given: Any, product: Any, state: State) -> State:
        """c_t = f ⊙ c_{t−1} + i ⊙ g and h_t = o ⊙ tanh(c_t); the rows of the weights are those of i, f, g, o."""
        i, f, g, o = parts_of(given + product, 4)
        c = ops.sigmoid(f) * state[1] + ops.sigmoid(i) * np.tanh(g)
        return ops.sigmoid(o) * np.tanh(c), c


class Gated(Recurrence):
    """The step of a gated recurrent unit (Cho et al. 2014), in the form of PyTorch and cuDNN."""

    gates = 3

    def next_state(self, given: Any, product: Any, state: State) -> State:
        """h_t = (1 − z) ⊙ n + z ⊙ h_{t−1} with n = tanh(given_n + r ⊙ product_n); the rows are those of r, z, n."""
        (given_r, given_z, given_n), (product_r, product_z, product_n) = parts_of(given, 3), parts_of(product, 3)
        z = ops.sigmoid(given_z + product_z)
        n = np.tanh(given_n + ops.sigmoid(given_r + product_r) * product_n)
        return ((1 - z) * n + z * state[0],)


def parts_of(z: Any, count: int) -> list[Any]:
    """The parts of equal length along the last axis."""
    n = z.shape[-1] // count
    return [z[..., i * n : (i + 1) * n] for i in range(count)]


def checked_nonlinearity(name: str) -> str:
    """The name of φ.

    Raises:
        ValueError: if it is neither "tanh" nor "relu".
    """
    if name not in ("tanh", "relu"):
        raise ValueError(f'nonlinearity is "tanh" or "relu", not {name!r}')
    return name


class Cell(Recurrence):
    """Base of the cells: parameters and shapes."""

    takes_members = True

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = np.float64, rng: Rng = None
    ) -> None:
        if min(input_size, hidden_size) < 1:
            raise ValueError(f"input_size and hidden_size are 1 or more, not {input_size} and {hidden_size}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        bias = checked_flag(self, "bias", bias)
        made = self.parameters_of_step(input_size, bias, dtype, np.random.default_rng(rng))
        self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh = made
        if self.weight_ih is not None:
            self.weight_ih.seed = seed_of(rng)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The state after one step.

        Args:
            input: x_t, (B, input_size), or (input_size,); in an ensemble (B, input_size) or (R, B, input_size).
            hx: the state before, (B, hidden_size), for an LSTM a pair (h, c); in an ensemble also
                (R, B, hidden_size). Zeros if None.

        Returns:
            The new state in the form of hx, (B, hidden_size); in an ensemble (R, B, hidden_size).
        """
        x = self.checked_input(input, 2)
        state = self.checked_state(hx, (*x.shape[max(0, x.ndim - 2) : -1], self.hidden_size))
        after = self.step(x, state, (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh))
        return after if self.states > 1 else after[0]


class RNNCell(Elman, Cell):
    """One step of a recurrent network: h_t = φ(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh).

    It is `torch.nn.RNNCell`: weight_ih is (hidden, input), weight_hh is (hidden, hidden), and all parameters are
    sampled uniformly from ±1/√hidden. In an ensemble they have a first axis of R, and the output is (R, B, hidden).

    Args:
        input_size, hidden_size: the lengths of x_t and h_t.
        bias: whether there are b_ih and b_hh.
        nonlinearity: φ, "tanh" or "relu".
        dtype: the dtype of the parameters.
        rng: a `np.random.Generator` to sample from, or a random seed.

    Raises:
        ValueError: for a size below 1 or another nonlinearity; in a call, if a shape does not fit.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> cell, h = nn.RNNCell(3, 4, rng=0), None
    >>> for x in np.ones((6, 5, 3)):  # six steps of a batch of five
    ...     h = cell(x, h)
    >>> h.shape
    (5, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        *,
        dtype: Any = np.float64,
        rng: Rng = None,
    ) -> None:
        self.nonlinearity = checked_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, dtype=dtype, rng=rng)


class LSTMCell(LongShortTerm, Cell):
    """One step of an LSTM: c_t = f ⊙ c_{t−1} + i ⊙ g, h_t = o ⊙ tanh(c_t); it takes and returns (h, c).

    W_ih x_t + b_ih + W_hh h_{t−1} + b_hh has four blocks of hidden_size rows, in the order i, f, g, o; i, f and o are
    their sigmoids and g is the tanh. It is `torch.nn.LSTMCell`; arguments, shapes and errors are those of `RNNCell`.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> h, c = nn.LSTMCell(3, 4, rng=0)(np.ones((5, 3)))
    >>> h.shape, c.shape
    ((5, 4), (5, 4))
    """


class GRUCell(Gated, Cell):
    """One step of a gated recurrent unit: h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}.

    r and z are sigmoids, and n = tanh(W_in x_t + b_in + r ⊙ (W_hn h_{t−1} + b_hn)). The weights have three blocks of
    hidden_size rows, in the order r, z, n. It is `torch.nn.GRUCell`; arguments, shapes and errors are those of
    `RNNCell`.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.GRUCell(3, 4, rng=0)(np.ones((5, 3))).shape
    (5, 4)
    """
