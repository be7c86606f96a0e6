"""The steps of a module: the calls of its `forward` in a row, and the ways around some of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tinygrad_vg import nn
from tinygrad_vg.bridges.torch.calls import Call
from tinygrad_vg.bridges.torch.installed import pytorch


class Residual(nn.Residual):
    """x + the modules inside, one after the other; a module keeps the name that it has in PyTorch.

    >>> import numpy as np
    >>> block = Residual()
    >>> block.body = nn.ReLU()
    >>> block(np.array([-1.0, 2.0])), block
    (array([-1.,  4.]), Residual(
      (body): ReLU()
    ))
    """

    def __init__(self) -> None:
        """The modules are set as attributes."""

    def forward(self, x: Any) -> Any:
        """x + y, where y of the shape of x is what the modules make of x."""
        y = x
        for _, module in self.named_children():
            y = module(y)
        return x + y


@dataclass(frozen=True)
class Around:
    """Some steps, and x added to what they make of x."""

    steps: list["Step"]


Step = Call | Around


def steps_of(call: Call, title: str) -> list[Step]:
    """The steps of a call, in order: the calls inside, of which those with a way around them are one step.

    Args:
        call: the call of a module that is no layer.
        title: the module in a message.

    Raises:
        TypeError: if something else is computed between two calls, or after the last one, or if a call has not one
            tensor as its only argument.
    """
    values, steps = [call.x], list[Step]()
    for inner in [*call.inner, None]:
        if inner is not None and inner.x is None:
            name = name_in(call.module, inner.module)
            raise TypeError(f"twin of {title}: {name!r} is not called with one tensor alone; write twin of the modules "
                            "inside that are")  # fmt: skip
        value = call.output if inner is None else inner.x
        if value is not values[-1]:
            begin = next((i for i in reversed(range(len(steps))) if is_sum(value, values[i], values[-1])), None)
            if begin is None:
                raise TypeError(refusal(call, inner, steps, title))
            steps[begin:] = [Around(steps[begin:])]
            values[begin + 1 :] = [value]
        if inner is not None:
            steps.append(inner)
            values.append(inner.output)
    return steps


def is_sum(value: Any, x: Any, y: Any) -> bool:
    """Whether a value is x + y."""
    torch = pytorch()
    tensors = [each for each in (value, x, y) if isinstance(each, torch.Tensor)]
    return len(tensors) == 3 and x.shape == y.shape and torch.equal(value, x + y)


def refusal(call: Call, inner: Call | None, steps: list[Step], title: str) -> str:
    """The message about a module that computes something else than calls of modules before the call `inner`."""
    calls = [name_in(call.module, step.module) for step in steps if isinstance(step, Call)]
    begin = f"the call of {calls[-1]!r}" if calls else "its begin"
    end = "its end" if inner is None else f"the call of {name_in(call.module, inner.module)!r}"
    return (
        f"twin of {title}: between {begin} and {end} its forward computes something that is no call of a module, and "
        "no sum x + y around such calls. Write each step as a module, such as nn.ReLU() for F.relu(x), or nn.Flatten() "
        f"for x.view(len(x), -1). Or write the class {type(call.module).__name__} in tinygrad_vg, with the same names, "
        "and copy the weights by load_state_dict"
    )


def name_in(outer: Any, module: Any) -> str:
    """The name of a module of PyTorch in another one; its class if it is held elsewhere and only called there."""
    return next((name for name, each in outer.named_modules() if each is module), type(module).__name__)


def put(container: nn.Module, parts: Iterable[tuple[str, nn.Module]]) -> nn.Module:
    """Set modules as attributes of a container in the order of their calls; a name that comes again gets a number."""
    for name, part in parts:
        names = (f"{name}:{i}" if i > 1 else name for i in range(1, len(vars(container)) + 2))
        setattr(container, next(each for each in names if each not in vars(container)), part)
    return container
