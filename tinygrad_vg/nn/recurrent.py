"""Recurrent layers: the steps of a cell over a sequence, one layer or several on top of one another."""

from typing import Any, Literal

import numpy as np

from tinygrad_vg.nn.cells import Elman, Gated, LongShortTerm, Recurrence, checked_nonlinearity
from tinygrad_vg.nn.flags import checked_flag
from tinygrad_vg.nn.init import Rng
from tinygrad_vg.nn.parameter import Parameter
from tinygrad_vg.nn.twins import seed_of

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class RecurrentLayer(Recurrence):
    """Base of the recurrent layers: parameters, shapes, and the loops over steps and layers."""

    takes_members = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        dtype: Any = np.float64,
        rng: Rng = None,
    ) -> None:
        if min(input_size, hidden_size, num_layers) < 1:
            raise ValueError(
                f"input_size, hidden_size and num_layers are 1 or more, not {input_size}, {hidden_size}, {num_layers}"
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = checked_flag(self, "bias", bias)
        self.batch_first = checked_flag(self, "batch_first", batch_first)
        one = np.random.default_rng(rng)
        for k in range(num_layers):
            made = self.parameters_of_step(hidden_size if k else input_size, bias, dtype, one)
            if made[0] is not None and not k:
                made[0].seed = seed_of(rng)
            for name, parameter in zip(NAMES, made, strict=True):
                if parameter is not None:
                    setattr(self, f"{name}_l{k}", parameter)

    def of_layer(self, k: int) -> tuple[Parameter | None, ...]:
        """weight_ih, weight_hh, bias_ih and bias_hh of layer k, counted from 0; None for a bias that is left out.

        >>> from tinygrad_vg import nn
        >>> [p if p is None else p.shape for p in nn.RNN(3, 4, bias=False).of_layer(0)]
        [(4, 3), (4, 4), None, None]
        """
        return tuple(vars(self).get(f"{name}_l{k}") for name in NAMES)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The states of the last layer at all times, and those of all layers after the last step.

        Args:
            input: x, (T, B, input_size), or (B, T, input_size) with `batch_first`; (T, input_size) without a batch. An
                ensemble also takes (T, R, B, input_size), an input for each member.
            hx: the states before the first step, (num_layers, B, hidden_size), for an LSTM a pair (h_0, c_0); in an
                ensemble also (num_layers, R, B, hidden_size). Zeros if None.

        Returns:
            (output, h_n), for an LSTM (output, (h_n, c_n)). The output is (T, B, hidden_size), with `batch_first`
            (B, T, hidden_size); h_n and c_n are (num_layers, B, hidden_size). In an ensemble the axis of the members
            is the third from the end: (T, R, B, hidden_size), (B, R, T, hidden_size), (num_layers, R, B, hidden_size).
        """
        x = self.checked_input(input, 3)
        has_batch = x.ndim != 2
        swaps = self.batch_first and has_batch
        if swaps:
            x = np.swapaxes(x, 0, -2)
        if not len(x):
            raise ValueError(f"{self!r} takes a sequence of one step or more, not {np.shape(input)}")
        batch = x.shape[-2:-1] if has_batch else ()
        first = self.checked_state(hx, (self.num_layers, *batch, self.hidden_size), leading=1)
        sequence, ends = [x[t] for t in range(len(x))], []
        for k in range(self.num_layers):
            state, parameters = tuple(h[k] for h in first), self.of_layer(k)
            for t, given in enumerate(sequence):
                state = self.step(given, state, parameters)
                sequence[t] = state[0]
            ends.append(state)
        output = np.stack(sequence)
        last = tuple(np.stack(tensors) for tensors in zip(*ends, strict=True))
        return np.swapaxes(output, 0, -2) if swaps else output, last if self.states > 1 else last[0]

    def extra_repr(self) -> str:
        more = [f"{name}={value}" for name, value, usual in (("num_layers", self.num_layers, 1),
                ("bias", self.bias, True), ("batch_first", self.batch_first, False)) if value != usual]  # fmt: skip
        return ", ".join([super().extra_repr(), *more])


class RNN(Elman, RecurrentLayer):
    """A recurrent layer: h_t = φ(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh) for t = 1 ... T; it returns (output, h_n).

    It is `torch.nn.RNN`, and its parameters have the same names: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0,
    and _l1, ... for the layers above, whose inputs are the states of the layer below. All parameters are sampled
    uniformly from ±1/√hidden.

    Backpropagation through time multiplies the gradient by W_hhᵀ and by the slopes of φ at each step. Over many steps
    it vanishes or explodes (Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013). `instruments.Ledger`
    shows both parts of each step.

    Args:
        input_size, hidden_size: the lengths of x_t and h_t.
        num_layers: the number of layers, one above the other.
        nonlinearity: φ, "tanh" or "relu".
        bias: whether there are b_ih and b_hh.
        batch_first: whether input and output are (B, T, features) in place of (T, B, features). The shapes of the
            states are the same.
        dtype: the dtype of the parameters.
        rng: a `np.random.Generator` to sample from, or a random seed.

    Raises:
        ValueError: for a size below 1 or another nonlinearity; in a call, if a shape does not fit.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> output, h_n = nn.RNN(3, 4, num_layers=2, rng=0)(np.ones((6, 5, 3)))
    >>> output.shape, h_n.shape
    ((6, 5, 4), (2, 5, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        *,
        dtype: Any = np.float64,
        rng: Rng = None,
    ) -> None:
        self.nonlinearity = checked_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dtype=dtype, rng=rng)


class LSTM(LongShortTerm, RecurrentLayer):
    """A layer of LSTM cells over a sequence; it takes (h_0, c_0), and returns (output, (h_n, c_n)).

    The formula is that of `LSTMCell`. It is `torch.nn.LSTM`; arguments, names, shapes and errors are those of `RNN`.
    From c_t to c_{t−1} the gradient is multiplied by the forget gate alone, so it need not vanish.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> output, (h_n, c_n) = nn.LSTM(3, 4, batch_first=True, rng=0)(np.ones((5, 6, 3)))
    >>> output.shape, h_n.shape, c_n.shape
    ((5, 6, 4), (1, 5, 4), (1, 5, 4))
    """


class GRU(Gated, RecurrentLayer):
    """A layer of gated recurrent units over a sequence; it returns (output, h_n).

    The formula is that of `GRUCell`. It is `torch.nn.GRU`; arguments, names, shapes and errors are those of `RNN`.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> output, h_n = nn.GRU(3, 4, rng=0)(np.ones((6, 5, 3)))
    >>> output.shape, h_n.shape
    ((6, 5, 4), (1, 5, 4))
    """
