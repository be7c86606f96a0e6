"""Mean-field theory of gradients at initialization: a prediction without a fit, to compare with a measurement."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_vg.engine import Tensor, cotangents
from tinygrad_vg.instruments.signals import Unit, dry_run
from tinygrad_vg.nn import Layer, Linear, Module

Function = Callable[[Any], Any]
ActivationLike = Module | type[Module] | Function
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeanField:
    """The predicted lengths of pre-activations and gradients in random networks of L layers.

    For one sample, z^l are the pre-activations of layer l and δ^l = ∂C/∂z^l. Layer 1 is at the input; step l leads
    from δ^{l+1} to δ^l = φ′(z^l) ⊙ (W^{l+1})ᵀ δ^{l+1}. `prediction[:-1]` leaves out the output layer; the layer before
    it is then the top layer.

    Attributes:
        layers: the numbers of the L layers.
        width, weight_std, bias_std: (L,) n^l, σ_w^l and σ_b^l.
        q: (L,) the mean square of the elements of z^l.
        chi: (L−1,) χ^l = E‖δ^l‖² / E‖δ^{l+1}‖², the expectation over random seeds.
        kappa: (L−1,) κ^l: step l adds κ^l/n^l to the variance of ln‖δ‖² over random seeds.

    >>> from tinygrad_vg import nn
    >>> nielsen = mean_field(nn.Sigmoid, weight_std=1, bias_std=1, width=30, depth=4, input_q=0.1)
    >>> nielsen.decades_per_layer.round(3)  # the norm shrinks to a fifth in each layer
    array([-0.688, -0.698, -0.698])
    >>> nielsen.log10_norm.round(2), nielsen.active.round(2)
    (array([-2.08, -1.4 , -0.7 ,  0.  ]), array([0.87, 0.84, 0.84]))
    >>> low, high = nielsen.band(0.9)
    >>> low.round(2), high.round(2)
    (array([-2.26, -1.54, -0.8 ,  0.  ]), array([-1.9 , -1.25, -0.59,  0.  ]))
    """

    layers: tuple[int, ...]
    width: NDArray[np.int64]
    weight_std: Floats
    bias_std: Floats
    q: Floats
    chi: Floats
    kappa: Floats

    @property
    def active(self) -> Floats:
        """(L−1,) E[φ′²]²/E[φ′⁴] = 3/(κ+1), the share of neurons that pass the gradient on; 1/2 for ReLU."""
        return 3 / (self.kappa + 1)

    @property
    def decades_per_layer(self) -> Floats:
        """(L−1,) log10 of √χ·exp(−κ/4n), the geometric mean of ‖δ^l‖ / ‖δ^{l+1}‖ over random seeds."""
        return 0.5 * np.log10(self.chi) - self.kappa / self.width[:-1] / 4 * math.log10(math.e)

    @property
    def log10_norm(self) -> Floats:
        """(L,) log10 of the geometric mean of ‖δ^l‖ / ‖δ^L‖ over random seeds; 0 for the top layer."""
        return _from_the_top(self.decades_per_layer)

    def band(self, level: float = 0.9) -> tuple[Floats, Floats]:
        """The interval in which log10(‖δ^l‖ / ‖δ^L‖) lies with probability `level`: low and high, (L,) each.

        ln(‖δ^l‖ / ‖δ^L‖) is taken as a sum of independent Gaussian variables with variances κ/4n, one for each step.

        Raises:
            ValueError: if `level` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level is a probability between 0 and 1, not {level!r}")
        deviation = math.log10(math.e) / 2 * np.sqrt(_from_the_top(self.kappa / self.width[:-1]))
        half = NormalDist().inv_cdf((1 + level) / 2) * deviation
        return self.log10_norm - half, self.log10_norm + half

    def __getitem__(self, layers: slice) -> "MeanField":
        if not isinstance(layers, slice) or layers.step not in (None, 1) or not self.layers[layers]:
            raise TypeError(f"a prediction is indexed by a slice of one or more neighbouring layers, not {layers!r}")
        start, stop, _ = layers.indices(len(self.layers))
        steps, width = slice(start, stop - 1), self.width[layers]
        stds = self.weight_std[layers], self.bias_std[layers]
        return MeanField(self.layers[layers], width, *stds, self.q[layers], self.chi[steps], self.kappa[steps])


def mean_field(
    activation: ActivationLike, weight_std: ArrayLike, bias_std: ArrayLike, width: ArrayLike, depth: int, input_q: float
) -> MeanField:
    """Predict how gradients shrink or grow in networks with weights N(0, σ_w²/n_in) and biases N(0, σ_b²).

    With E over a standard normal z,

        q¹ = σ_w² input_q + σ_b²,   q^{l+1} = σ_w² E[φ(√q^l z)²] + σ_b²    the length map (Poole et al. 2016)
        χ^l = σ_w² E[φ′(√q^l z)²]                                          of the gradient (Schoenholz et al. 2017)
        κ^l = 3 E[φ′(√q^l z)⁴] / E[φ′(√q^l z)²]² − 1                       of its spread over seeds

    where q^{l+1} and χ^l contain the σ_w of W^{l+1}. χ^l does not depend on the widths: W^{l+1} has variance σ_w²/n^l,
    and δ^l has n^l elements. κ is not from a paper. It is derived to first order in 1/n, under gradient independence:
    as if backward used other weights than forward, ‖δ^l‖²/‖δ^{l+1}‖² is σ_w² times the mean of n^l independent φ′²g²
    with Gaussian g, and κ/n^l is its relative variance. For ReLU it agrees with Hanin & Nica (2018). For others it was
    measured: geometric means agree to 0.5 % at width 30 and 100. It neglects that q varies over seeds: at tanh's
    critical point the measured variance is 18-35 % larger, and the 90 % band contains about 85 % of the seeds.

    The theory is about ‖δ^l‖ of *one* sample; a recorder records the mean of δ^l over a batch. Both have the same
    ratios if the layers respond nearly alike to all samples, as in Nielsen's networks. In tanh or ReLU networks at or
    beyond the critical point the δ^l of different samples cancel, most of all in the lowest layers. For orthogonal
    weights see Pennington et al. 2017.

    Args:
        activation: φ, an elementwise module such as `nn.Tanh()`, its class, or a function of Tensors such as `np.sin`.
            It may have a kink at 0; a kink elsewhere changes χ by up to 1 %.
        weight_std, bias_std, width: σ_w, σ_b and n, each one number for all layers, or (L,). In Nielsen's networks
            σ_w = σ_b = 1. Weights N(0, 1) have σ_w = √n_in.
        depth: L, the number of layers with weights.
        input_q: the mean of x² over the inputs of a sample, and over samples.

    Raises:
        TypeError: if `activation` is not callable.
        ValueError: if `activation` is not elementwise or has no gradient, numbers are out of range or not L, or a
            length overflows.

    >>> from tinygrad_vg import nn
    >>> nielsen = mean_field(nn.Sigmoid, weight_std=1, bias_std=1, width=30, depth=4, input_q=0.1)
    >>> nielsen.q.round(3), nielsen.chi.round(4)
    (array([1.1  , 1.296, 1.302, 1.302]), array([0.0438, 0.042 , 0.042 ]))
    """
    if not isinstance(depth, int | np.integer) or depth < 1:
        raise ValueError(f"depth is the number of layers, 1 or more, not {depth!r}")
    return _propagate([_function(activation)] * (int(depth) - 1), weight_std, bias_std, width, input_q)


def mean_field_of(model: Module, images: Any) -> MeanField:
    """The prediction for a network in its present state, or for all members of an ensemble (`nn.stack`) together.

    σ_w of each layer is the root mean square of its weights times √n_in, and σ_b that of its biases. No mean is
    subtracted, because a constant bias adds to q too. Training changes the prediction only by the size of parameters.

    Args:
        model: Linears in a row with elementwise activations between them; each Linear is a layer of the prediction.
        images: (B, in); modules before the first Linear are applied to them.

    Raises:
        TypeError: if there is no Linear, or a module with parameters lies between two Linears.
        ValueError: if the images have a wrong shape or the Linears are not in a row, and as `mean_field` does.

    >>> from tinygrad_vg import nn
    >>> net = nn.Sequential(nn.Linear(784, 300, rng=0), nn.Tanh(), nn.Linear(300, 10, rng=1))
    >>> prediction = mean_field_of(net, np.ones((1, 784)))
    >>> prediction.layers, prediction.width, prediction.weight_std.round(2)
    ((1, 2), array([300,  10]), array([1., 1.]))
    """
    kinds = {isinstance(m, Linear): type(m).__name__ for _, m in model.named_modules() if isinstance(m, Layer)}
    if False in kinds or not kinds:
        raise TypeError(f"the theory knows Linear and activations; this model has {kinds.get(False, 'no Linear')}")
    images = images.data if isinstance(images, Tensor) else np.asarray(images)
    chain, x = dry_run(model, sample := images[:1])
    x = images if x is sample else dry_run(model, images)[1]
    layers: list[Any] = [layer.module for layer in chain.layers]
    return _propagate(
        [_function(_composed(low, units)) for low, units, _ in chain.steps()],
        [math.sqrt(_mean_square(layer.weight.data) * layer.in_features) for layer in layers],
        [0.0 if layer.bias is None else math.sqrt(_mean_square(layer.bias.data)) for layer in layers],
        [layer.out_features for layer in layers],
        _mean_square(x.data if isinstance(x, Tensor) else x),
    )


def critical_weight_std(activation: ActivationLike, bias_std: float) -> float:
    """The σ_w at which gradients keep their length: χ = 1 at a stable fixed point q* of the length map.

    Gradients vanish below it and explode above it (Schoenholz et al. 2017). If there are several, this returns the one
    with the smallest q*. It is √2 for ReLU and activations that approach ReLU for large |z|, such as softplus; with
    biases their q* is infinite. A critical point may be useless: for the sigmoid it is near σ_w = 10, where neurons
    saturate and only one in five passes the gradient on (`MeanField.active`).

    Raises:
        TypeError: as `mean_field` does.
        ValueError: as `mean_field` does, and if there is no such σ_w.

    >>> from tinygrad_vg import nn
    >>> round(critical_weight_std(nn.ReLU, 0.0) ** 2, 12), round(critical_weight_std(nn.Sigmoid, 1.0), 2)
    (2.0, 10.26)
    >>> mean_field(nn.Sigmoid, 10.26, 1.0, width=30, depth=50, input_q=0.1).active[-1:].round(2)
    array([0.22])
    """
    function = _function(activation)
    offset = float(_checked("bias_std", bias_std)[0]) ** 2

    # By the length map a fixed point q* determines σ_w² = (q* − σ_b²)/E[φ²]. So all (σ_w², χ) lie on a curve with the
    # parameter q* − σ_b², which is followed upwards from 0, without iteration.
    def point(excess: float) -> tuple[float, float]:
        second, slope, _ = _moments(function, offset + excess)
        return excess / second, excess / second * slope - 1

    grid = np.logspace(-14, 14, 281)
    with np.errstate(over="ignore", invalid="ignore"):  # a function may overflow far beyond its critical point
        variances, gains = np.array([point(excess) for excess in grid]).T
    # Where σ_w decreases along the curve, fixed points are unstable, and lengths do not converge to them.
    turns = np.flatnonzero(~(variances[1:] >= variances[:-1] * (1 - 1e-6)))
    end = turns[0] if len(turns) else len(grid) - 1
    rising = np.flatnonzero((gains[:end] < 0) & (gains[1 : end + 1] >= 0))
    if abs(gains[0]) < 1e-6:  # φ(0) = 0 and no biases: q* = 0, if it is stable
        if not len(turns) or variances[end] > variances[0] * (1 + 1e-6):
            return math.sqrt(variances[0])
    elif len(rising):
        low, high = grid[rising[0]], grid[rising[0] + 1]
        for _ in range(50):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if point(middle)[1] >= 0 else (middle, high)
        return math.sqrt(point(high)[0])
    elif not len(turns) and abs(gains[end]) < 1e-6:  # q* = ∞
        return math.sqrt(variances[end])
    raise ValueError(
        "no weight_std gives χ = 1 at a length that networks settle at: the stable fixed points of the length map end "
        f"at weight_std = {math.sqrt(variances[end]):.4g} with χ = {gains[end] + 1:.4g}, and beyond, the lengths jump"
    )


def _propagate(
    activations: Sequence[Function], weight_std: ArrayLike, bias_std: ArrayLike, width: ArrayLike, input_q: ArrayLike
) -> MeanField:
    """Apply the maps of `mean_field` from layer 1 up; there is one activation between each two layers."""
    depth = len(activations) + 1
    if np.asarray(width).dtype.kind not in "iu" or np.any(np.less(width, 1)):
        raise ValueError(f"width is a number of neurons, 1 or more, or one such number for each layer, not {width!r}")
    n, square = _checked("width", width, depth).astype(np.int64), _checked("input_q", input_q)[0]
    weight_stds, bias_stds = _checked("weight_std", weight_std, depth), _checked("bias_std", bias_std, depth)
    if not weight_stds.all():
        raise ValueError("weight_std is 0 in some layer: no gradient passes")
    q, chi, kappa = np.empty(depth), np.empty(depth - 1), np.empty(depth - 1)
    with np.errstate(over="ignore", invalid="ignore"):  # numbers that are not finite raise ValueError below
        for i in range(depth):
            q[i] = weight_stds[i] ** 2 * square + bias_stds[i] ** 2
            if i < depth - 1:
                square, slope, fourth = _moments(activations[i], q[i])
                chi[i], kappa[i] = weight_stds[i + 1] ** 2 * slope, 3 * (fourth / slope) / slope - 1
            if not np.isfinite([q[i], *chi[i : i + 1], *kappa[i : i + 1]]).all():
                raise ValueError(f"lengths overflow in layer {i + 1}, where q = {q[i]:.3g}")
    return MeanField(tuple(range(1, depth + 1)), n, weight_stds, bias_stds, q, chi, kappa)


def _checked(name: str, values: ArrayLike, depth: int = 1) -> Floats:
    """The values as (depth,) floats. Raise ValueError unless they are finite and not negative."""
    array = np.asarray(values, np.float64)
    if array.shape not in ((), (depth,)) or not (np.isfinite(array) & (array >= 0)).all():
        per_layer = f", or {depth} of them, one for each layer" if depth > 1 else ""
        raise ValueError(f"{name} is a finite number, 0 or more{per_layer}, not {values!r}")
    return np.broadcast_to(array, (depth,)).copy()


def _moments(function: Function, q: float) -> tuple[float, float, float]:
    """E[φ²], E[φ′²] and E[φ′⁴] over N(0, q)."""
    z, weights = _normal_rule()
    x = Tensor(math.sqrt(q) * z, requires_grad=True)
    y = function(x)
    slope = np.asarray(cotangents(y, np.ones(x.shape), of=[x])[x])  # no listener is told
    if not slope.any():
        raise ValueError(f"the activation passes no gradient: it is constant where q = {q:.3g}")
    return float(weights @ y.data**2), float(weights @ slope**2), float(weights @ slope**4)


@functools.cache
def _normal_rule() -> tuple[Floats, Floats]:
    """Points and weights of quadrature over N(0, 1)."""
    # 200 Gauss-Hermite points, 0.2 apart, are too few for a tanh′ of width 1/√q: the error of E[tanh′⁴] is 2 % at
    # q = 10 and 64 % at q = 50, and a kink costs digits at every q. So each half line is divided into panels, smaller
    # towards 0, with Gauss-Legendre points on each.
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-16, 0), np.arange(1, 13)])
    nodes, weights = np.polynomial.legendre.leggauss(64)
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (1 + nodes)).ravel()
    weights = (half * weights).ravel() * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return np.concatenate([-z, z]), np.concatenate([weights, weights])


def _function(activation: ActivationLike) -> Function:
    """The activation as a function of Tensors; it is checked that it is elementwise and passes gradients."""
    function: Any = activation() if isinstance(activation, type) and issubclass(activation, Module) else activation
    if not callable(function):
        raise TypeError(f"an activation is a module or a function of Tensors, as nn.Tanh() or np.sin, not {function!r}")
    z = Tensor([-1.0, 0.5, 2.0], requires_grad=True)
    y = function(z)
    if not (isinstance(y, Tensor) and y.requires_grad):
        raise ValueError("the activation passes no gradient (inside no_grad none does)")
    if y.shape != z.shape or not np.isclose(y.data[0], function(z[:1]).data[0]):
        raise ValueError("the activation is not elementwise: its value at one point depends on the other points")
    return function  # type: ignore[no-any-return]


def _composed(low: Unit, units: Sequence[Unit]) -> Function:
    """All units between a layer and the next one as one function of z; TypeError if the theory does not cover them."""
    below = low.output
    for unit in units:
        if unit.module is not None and next(unit.module.parameters(), None) is not None:
            raise TypeError(f"the theory knows Linear and activations; this model has {unit.label} between them")
        if unit.module is None and any(source is not below for _, source, _ in unit.output.node.edges):  # type: ignore[union-attr]
            raise TypeError(
                f"{unit.label} is part of an activation of several operations: write it as an nn.Activation"
            )
        below = unit.output

    def function(z: Any) -> Any:
        below = low.output
        for unit in units:
            if unit.module is not None:
                z = unit.module.forward(z)
            else:
                node: Any = unit.output.node  # type: ignore[union-attr]
                z = Tensor.record(node.function, tuple(z if x is below else x for x in node.inputs), node.kwargs)
            below = unit.output
        return z

    return function


def _mean_square(array: NDArray[Any]) -> float:
    return float(np.mean(np.square(array), dtype=np.float64))


def _from_the_top(steps: Floats) -> Floats:
    """The sums of the steps (L−1,) from the top layer to each layer: (L,), with 0 for the top layer."""
    return np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
