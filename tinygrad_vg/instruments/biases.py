"""Biases: which modules a recorder takes for layers, and the gradient of a bias that a layer does not have."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tinygrad_vg.engine import ExtendedArray
from tinygrad_vg.instruments.magnitude import array_of
from tinygrad_vg.nn import Layer, Module, Parameter, Recurrence, feature_axis, member_axis, members_of


def bias_of(module: Module) -> Parameter | None:
    """The module's own bias; None if it has none, or one that requires no gradients."""
    bias = vars(module).get("bias")
    return bias if isinstance(bias, Parameter) and bias.requires_grad else None


def is_layer(module: Module) -> bool:
    """Whether a module is a layer for the recorder: it has a bias, or is a Linear or Conv2d without one."""
    return bias_of(module) is not None or (isinstance(module, Layer) and module.bias is None)


def layers_in(model: Module) -> Iterator[tuple[str, Module, Parameter | None]]:
    """The layers of a model for the recorder: name, module, and bias, None for a Linear or Conv2d without one.

    Each layer of a recurrent module counts, with its bias b_ih; the gradient of b_ih is the sum of ∂C/∂z over time.
    """
    for name, module in model.named_modules():
        if isinstance(module, Recurrence):
            for own, part in vars(module).items():
                if own.startswith("bias_ih") and isinstance(part, Parameter) and part.requires_grad:
                    yield f"{name}.{own}".removeprefix("."), module, part
        elif is_layer(module):
            yield name, module, bias_of(module)


def bias_form(module: Any, bias: Parameter | None) -> tuple[tuple[int, ...], Any]:
    """The shape and dtype of a layer's bias, or of the bias that a Linear or Conv2d without one would have."""
    if bias is not None:
        return bias.shape, bias.dtype
    return (*members_of(module), module.width[1]), module.weight.dtype


def summed(delta: Any, members: tuple[int, ...], channels_first: bool) -> Any:
    """∂C/∂z summed over all samples, and positions: (out,), or (R, out) for an ensemble.

    Args:
        delta: (..., B, out), or (..., R, B, out); where `channels_first` is true (B, out, ...), or (R, B, out, ...).
        members: (R,), or ().
        channels_first: the attribute of the layer.
    """
    count = len(delta.shape)
    kept = {feature_axis(count, members, channels_first)} | ({member_axis(count, channels_first)} if members else set())
    axes = tuple(axis for axis in range(count) if axis not in kept)
    if isinstance(delta, ExtendedArray):
        return ExtendedArray(delta.mantissa.sum(axis=axes), delta.exponent)
    return array_of(delta).sum(axis=axes)


def warn_of_order(names: Sequence[str], biases: Sequence[Parameter | None], gradients: Mapping[Any, Any]) -> None:
    """Warn if the layers are not called in the order of their numbers.

    Args:
        names, biases: those of the layers, layer 1 first.
        gradients: those of a walk, in which a leaf with younger consumers comes first.
    """
    places = {bias: i for i, bias in enumerate(biases) if bias is not None}
    called = [places[vertex] for vertex in gradients if vertex in places][::-1]
    if called != sorted(called):
        warnings.warn(
            f"the layers are called in the order {', '.join(names[i] for i in called)}, but numbered in that of the "
            f"attributes, {', '.join(names[i] for i in sorted(called))}: set the attributes in the order of the calls",
            stacklevel=2,
        )
