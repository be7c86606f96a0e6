"""What theory says of gradients at initialization, with no fit: the line to draw behind a measurement."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_vg.backward import grad
from tinygrad_vg.nn import Linear, Module, Sequential
from tinygrad_vg.tensor import Tensor

Activation = Module | type[Module] | Callable[[Any], Any]
_Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeanField:
    """Lengths of pre-activations and gradients in random networks of L layers, as theory predicts them.

    Of one sample, z^l are the pre-activations of layer l and δ^l = ∂C/∂z^l. Layers are numbered from the input
    side, 1 first; step l leads from δ^{l+1} down to δ^l = φ′(z^l) ⊙ (W^{l+1})ᵀ δ^{l+1}. Slices choose layers, as
    those of a history do: `prediction[:-1]` leaves out the output layer, and layer L−1 is then the top.

    Attributes:
        layers: the L layers' numbers.
        width, weight_std, bias_std: (L,) n^l, σ_w^l and σ_b^l.
        q: (L,) the mean square of the elements of z^l. (Poole et al. 2016)
        chi: (L−1,) χ^l = E‖δ^l‖² / E‖δ^{l+1}‖², of step l. (Schoenholz et al. 2017)
        kappa: (L−1,) κ^l: step l adds κ^l/n^l to the variance of ln‖δ‖² over seeds.
    """

    layers: tuple[int, ...]
    width: NDArray[np.int64]
    weight_std: _Floats
    bias_std: _Floats
    q: _Floats
    chi: _Floats
    kappa: _Floats

    @property
    def active(self) -> _Floats:
        """(L−1,) The share of its neurons through which a layer passes the gradient on: 3/(κ+1) = E[φ′²]²/E[φ′⁴].

        1 if all slopes are alike, 1/2 for ReLU, small where most neurons are saturated.
        """
        return 3 / (self.kappa + 1)

    @property
    def decades_per_layer(self) -> _Floats:
        """(L−1,) log10 of √χ·exp(−κ/4n), the typical ‖δ^l‖ / ‖δ^{l+1}‖: its geometric mean over seeds."""
        return 0.5 * np.log10(self.chi) - self.kappa / self.width[:-1] / 4 * math.log10(math.e)

    @property
    def log10_norm(self) -> _Floats:
        """(L,) log10 of the typical ‖δ^l‖ / ‖δ^L‖, in decades; 0 for the top layer."""
        return _from_the_top(self.decades_per_layer)

    def band(self, level: float = 0.9) -> tuple[_Floats, _Floats]:
        """Where log10(‖δ^l‖ / ‖δ^L‖) of a seed lies with probability `level`: two arrays (L,), low and high.

        ln‖δ‖² is a sum of steps that are nearly independent and Gaussian; its variance relative to the top layer
        is the sum of their κ/n, and that of ln‖δ‖ a quarter of it.

        Raises:
            ValueError: if `level` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level is a probability between 0 and 1, not {level!r}")
        deviation = math.log10(math.e) * np.sqrt(_from_the_top(self.kappa / self.width[:-1]) / 4)
        half = NormalDist().inv_cdf((1 + level) / 2) * deviation
        return self.log10_norm - half, self.log10_norm + half

    def __getitem__(self, layers: slice) -> "MeanField":
        if not isinstance(layers, slice) or layers.step not in (None, 1) or not self.layers[layers]:
            raise TypeError(f"a prediction is indexed by a slice of one or more neighbouring layers, not {layers!r}")
        start, stop, _ = layers.indices(len(self.layers))
        of_layers = (self.layers, self.width, self.weight_std, self.bias_std, self.q)
        return MeanField(*(x[layers] for x in of_layers), self.chi[start : stop - 1], self.kappa[start : stop - 1])


def mean_field(
    activation: Activation, weight_std: ArrayLike, bias_std: ArrayLike, width: ArrayLike, depth: int, input_q: float
) -> MeanField:
    """Predict how gradients shrink or grow in networks with weights N(0, σ_w²/n_in) and biases N(0, σ_b²).

    With z standard normal and E over z,

        q¹ = σ_w² input_q + σ_b²,   q^{l+1} = σ_w² E[φ(√q^l z)²] + σ_b²    the length map (Poole et al. 2016)
        χ^l = σ_w² E[φ′(√q^l z)²]                                          the gradient's (Schoenholz et al. 2017)
        κ^l = 3 E[φ′(√q^l z)⁴] / E[φ′(√q^l z)²]² − 1                       its spread over seeds

    The widths of layers l+1 and l cancel in χ^l: W^{l+1} has a variance of σ_w²/n^l, and δ^l has n^l elements.
    κ is no published formula. It is derived here, to first order in 1/n, under gradient independence: as if
    W^{l+1} in the backward pass were not the one of the forward pass. ‖δ^l‖²/‖δ^{l+1}‖² is then a mean of n^l
    independent φ′²g² with g Gaussian, whose relative variance is κ. For ReLU, κ = 5 agrees with Hanin & Nica
    (2018); for the rest it rests on measurement: typical ratios agree within 1 % in nets of width 30 and 100. It
    leaves out that q varies over seeds too. In tanh networks at the critical point, where q remembers its past
    longest, the variance is therefore measured 18-35 % larger.

    This is about ‖δ^l‖ of one sample. The gradient of a batch, which a recorder sees, is the *mean* of δ^l over
    samples. It follows the same ratios where the layers answer to all samples nearly alike, as Nielsen's sigmoids
    do. Where samples keep apart (tanh or ReLU at the critical point, all the more beyond it) their δ^l cancel, in
    lower layers more than in upper ones. Orthogonal weights have another theory (Pennington et al. 2017).

    Args:
        activation: φ, an elementwise module such as `nn.Tanh()` (or its class), or any function of Tensors such as
            `np.sin`. Its derivative comes from the engine. Kinks are exact at 0 and cost up to 1 % elsewhere.
        weight_std: σ_w, or (L,) one for each layer. 1 is Nielsen's start, √2 `nn.init.kaiming_normal_`; weights
            N(0, 1) have σ_w = √n_in.
        bias_std: σ_b, or (L,) one for each layer.
        width: n, the neurons of a layer, or (L,) those of each layer.
        depth: L, the number of layers with weights.
        input_q: the mean of x² over the inputs (and over samples).

    Raises:
        TypeError: if `activation` is not callable, or widths or depth are not integers.
        ValueError: if a value is not finite or out of range, has a wrong shape, or overflows in some layer; if
            `activation` is not elementwise, or passes no gradient.

    >>> from tinygrad_vg import nn
    >>> nielsen = mean_field(nn.Sigmoid, weight_std=1, bias_std=1, width=30, depth=4, input_q=0.1)
    >>> nielsen.q.round(3), nielsen.chi.round(4)
    (array([1.1  , 1.296, 1.302, 1.302]), array([0.0438, 0.042 , 0.042 ]))
    >>> nielsen.decades_per_layer.round(3)  # a factor of 1/5 a layer
    array([-0.688, -0.698, -0.698])
    >>> low, high = nielsen.band(0.9)
    >>> low.round(2), high.round(2)
    (array([-2.27, -1.54, -0.8 ,  0.  ]), array([-1.9 , -1.25, -0.59,  0.  ]))
    """
    if not isinstance(depth, int | np.integer):
        raise TypeError(f"depth is a number of layers, an integer, not {depth!r}")
    if depth < 1:
        raise ValueError(f"depth is a number of layers, 1 or more, not {depth}")
    return _propagate([_function(activation)] * int(depth), weight_std, bias_std, width, input_q)


def mean_field_of(model: Module, images: Any) -> MeanField:
    """The prediction for a network as it is now, or for an ensemble (`nn.stack`), whose members are pooled.

    σ_w and σ_b of each layer are the root mean squares of its parameters (σ_w times √n_in): mean 0 is part of the
    law, and a bias that is constant belongs to q as well. What training has added to the weights besides their
    size, the theory does not know.

    Args:
        model: a Sequential, nested or not, of Linear and of elementwise activations between them.
        images: (B, in) inputs; what stands before the first Linear is applied to them.

    Returns:
        A prediction with one layer for each Linear, the output layer included: those of a recorder's history.

    Raises:
        TypeError: if the model is not such a Sequential.
        ValueError: if the images do not fit, and as `mean_field` does.

    >>> from tinygrad_vg import nn
    >>> net = nn.Sequential(nn.Linear(784, 300, rng=0), nn.Tanh(), nn.Linear(300, 10, rng=1))
    >>> prediction = mean_field_of(net, np.ones((1, 784)))
    >>> prediction.layers, prediction.width, prediction.weight_std.round(2)
    ((1, 2), array([300,  10]), array([1.  , 0.99]))
    """
    linears: list[Linear] = []
    between: list[list[Module]] = [[]]  # before the first Linear, after it, after the second ...
    for name, module in _chain(model):
        if isinstance(module, Linear):
            linears.append(module)
            between.append([])
        elif next(module.parameters(), None) is not None:
            raise TypeError(f"the theory knows Linear and activations, not module {name!r}, {type(module).__name__}")
        else:
            between[-1].append(module)
    if not linears:
        raise TypeError(f"{type(model).__name__} has no Linear, so there is no gradient to predict")
    x = _composed(between[0])(images)
    x = x.data if isinstance(x, Tensor) else np.asarray(x)
    if x.shape[-1:] != (linears[0].in_features,):
        raise ValueError(f"{linears[0]!r} takes images of shape (B, {linears[0].in_features}), not {x.shape}")
    return _propagate(
        [_function(_composed(modules)) for modules in between[1:]],
        [_rms(linear.weight) * math.sqrt(linear.in_features) for linear in linears],
        [0.0 if linear.bias is None else _rms(linear.bias) for linear in linears],
        [linear.out_features for linear in linears],
        _rms(x) ** 2,
    )


def critical_weight_std(activation: Activation, bias_std: float) -> float:
    """The σ_w at which gradients keep their length: χ = 1 at the length map's fixed point q*.

    Below it they vanish and above they explode (Schoenholz et al. 2017). If there are several, it is the one with
    the smallest q*. For ReLU it is √2 with any biases, though with them q* is infinite: q grows by σ_b² a layer.
    Activations that become linear far out, such as softplus, reach χ = 1 in the same limit.

    A critical point need not be of use. That of the sigmoid lies near σ_w = 10, where three of four neurons are
    saturated and the gradient passes through the rest (`MeanField.active`): it keeps its length only in the mean
    over seeds, and its typical length still falls.

    Raises:
        TypeError, ValueError: as `mean_field` does; ValueError too if there is no such σ_w.

    >>> from tinygrad_vg import nn
    >>> critical_weight_std(nn.ReLU, 0.0), critical_weight_std(nn.Sigmoid, 1.0)
    (1.4142135623730951, 10.1)
    >>> mean_field(nn.Sigmoid, 10.1, 1, width=30, depth=50, input_q=0.1).active[-1].round(2)
    0.0
    """
    function = _function(activation)
    offset = float(_checked("bias_std", bias_std, 1)[0]) ** 2

    # A fixed point q* determines its σ_w by the length map. So there is nothing to iterate: all (σ_w², χ) form a
    # curve over q* − σ_b², followed upwards from σ_w = 0.
    def point(excess: float) -> tuple[float, float]:
        second, slope, _ = _moments(function, offset + excess)
        return excess / second, excess / second * slope - 1

    grid = np.logspace(-24, 18, 421)
    with np.errstate(over="ignore", invalid="ignore"):  # a function may overflow far beyond the critical point
        variances, gains = np.array([point(excess) for excess in grid]).T
    # Where σ_w decreases along the curve, the fixed points are unstable: no network settles there.
    turns = np.flatnonzero(~(variances[1:] >= variances[:-1] * (1 - 1e-9)))
    end = turns[0] if len(turns) else len(grid) - 1
    rising = np.flatnonzero((gains[:end] < 0) & (gains[1 : end + 1] >= 0))
    if abs(gains[0]) < 1e-9 and not len(turns):  # φ(0) = 0 and no biases: q* = 0
        return math.sqrt(variances[0])
    if len(rising):
        low, high = grid[rising[0]], grid[rising[0] + 1]
        for _ in range(50):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if point(middle)[1] >= 0 else (middle, high)
        return math.sqrt(point(high)[0])
    if abs(gains[end]) < 1e-6 and not len(turns):  # q* = ∞
        return math.sqrt(variances[end])
    where = f"weight_std = {math.sqrt(variances[end]):.4g}, where χ = {gains[end] + 1:.4g}"
    raise ValueError(
        f"no weight_std gives χ = 1 at a stable fixed point: beyond {where}, there is none and the length jumps"
        if len(turns)
        else f"no weight_std gives χ = 1: the lengths grow without limit from {where}"
    )


def _propagate(
    activations: Sequence[Callable[[Any], Any]], weight_std: Any, bias_std: Any, width: Any, input_q: Any
) -> MeanField:
    """The maps from layer 1 up; an activation for each layer, of which the last is not used."""
    depth = len(activations)
    weight_std, bias_std = _checked("weight_std", weight_std, depth), _checked("bias_std", bias_std, depth)
    if not weight_std.all():
        raise ValueError("weight_std is 0 in some layer: no gradient passes through weights that are all 0")
    if np.asarray(width).dtype.kind not in "iu":
        raise TypeError(f"width is a number of neurons, an integer, or one for each layer, not {width!r}")
    width = _checked("width", width, depth).astype(np.int64)
    if not width.all():
        raise ValueError("a layer has 1 neuron or more, not 0")
    square = _checked("input_q", input_q, 1)[0]
    q, chi, kappa = np.empty(depth), np.empty(depth - 1), np.empty(depth - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for i, activation in enumerate(activations):
            q[i] = weight_std[i] ** 2 * square + bias_std[i] ** 2
            if i < depth - 1:
                square, slope, fourth = _moments(activation, q[i])
                chi[i] = weight_std[i + 1] ** 2 * slope
                kappa[i] = 3 * (fourth / slope) / slope - 1 if slope else np.nan
            if not np.isfinite([q[i], *chi[i : i + 1], *kappa[i : i + 1]]).all():
                raise ValueError(f"in layer {i + 1} ")
    return MeanField(tuple(range(1, depth + 1)), width, weight_std, bias_std, q, chi, kappa)


def _checked(name: str, values: Any, depth: int) -> _Floats:
    """Numbers of 0 or more, one for each layer."""
    array = np.asarray(values, np.float64)
    if array.shape not in ((), (depth,)):
        raise ValueError(f"{name} is one number, or {depth}, one for each layer, not an array of shape {array.shape}")
    if not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(f"{name} is 0 or more and finite, not {values!r}")
    return np.broadcast_to(array, (depth,)).copy()


def _moments(function: Callable[[Any], Any], q: float) -> tuple[float, float, float]:
    """E[φ²], E[φ′²] and E[φ′⁴] over N(0, q)."""
    z, weights = _gaussian_rule()
    y, slope = _value_and_slope(function, math.sqrt(q) * z)
    return float(weights @ y**2), float(weights @ slope**2), float(weights @ slope**4)


@functools.cache
def _gaussian_rule() -> tuple[_Floats, _Floats]:
    """Points and weights for means over N(0, 1)."""
    # Gauss-Hermite's points, about 0.2 apart at 200 of them, would miss a tanh′ that has width 1/√q: E[tanh′⁴] is
    # wrong by 2 % at q = 10 and by 64 % at q = 50; and a kink costs it digits at any q. So both half lines are cut
    # into panels that halve towards 0, each with Gauss-Legendre's points.
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-16, 0), np.arange(1, 13)])
    nodes, weights = np.polynomial.legendre.leggauss(64)
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (1 + nodes)).ravel()
    density = (half * weights).ravel() * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return np.concatenate([-z, z]), np.concatenate([density, density])


def _value_and_slope(function: Callable[[Any], Any], points: _Floats) -> tuple[_Floats, _Floats]:
    """φ and φ′, the latter by the engine."""
    z = Tensor(points, requires_grad=True)
    y = function(z)
    if not (isinstance(y, Tensor) and y.requires_grad):
        raise ValueError("the activation passes no gradient (or this runs inside no_grad, where none is recorded)")
    if y.shape != z.shape:
        raise ValueError(f"the activation is not elementwise: it makes shape {y.shape} out of {z.shape}")
    return y.data, grad(y, z, np.ones(y.shape))[0]


def _function(activation: Activation) -> Callable[[Any], Any]:
    """The activation as a function of Tensors that has been tried."""
    function: Any = activation() if isinstance(activation, type) and issubclass(activation, Module) else activation
    if not callable(function):
        raise TypeError(f"an activation is a module or a function of Tensors, as nn.Tanh() or np.sin, not {function!r}")
    points = np.array([-1.0, 0.5, 2.0])
    together, alone = (_value_and_slope(function, part)[0] for part in (points, points[:1]))
    if not np.isclose(together[0], alone[0]):
        raise ValueError("the activation is not elementwise: its value at -1 depends on the other values")
    return function


def _composed(modules: Sequence[Module]) -> Callable[[Any], Any]:
    """The modules one after the other, without their hooks: whoever listens to a network hears nothing of this."""
    return lambda x: functools.reduce(lambda x, module: module.forward(x), modules, x)


def _chain(model: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    """The modules of nested Sequentials in order, with their names."""
    if not isinstance(model, Sequential):
        raise TypeError(f"the theory reads a Sequential, not {type(model).__name__}")
    for name, module in model.named_children():
        if isinstance(module, Sequential):
            yield from _chain(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module


def _rms(array: Any) -> float:
    """Root mean square."""
    data = array.data if isinstance(array, Tensor) else array
    return math.sqrt(np.mean(np.square(data), dtype=np.float64))


def _from_the_top(steps: _Floats) -> _Floats:
    """(L−1,) steps summed up from the top layer, where there is 0, down to each layer: (L,)."""
    return np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
