"""The outline of a network: its modules with their parameters, as a table."""

from collections.abc import Iterator, Mapping
from typing import Any

from tinygrad_vg.nn.parameter import Parameter
from tinygrad_vg.tables import TextTable, shortened

MOST = 20  # rows that a notebook shows of a network


def own_parameters(network: Any) -> Iterator[tuple[str, Any, list[Parameter]]]:
    """(name, module, its own parameters) for each module inside; a shared parameter is that of its first module."""
    seen: set[int] = set()
    for name, module in network.named_modules():
        own = {id(p): p for _, p in module._parts() if isinstance(p, Parameter) and id(p) not in seen}
        seen |= own.keys()
        yield name, module, [*own.values()]


def counted(parameters: list[Parameter]) -> str:
    """How many numbers the parameters hold; nothing for none.

    >>> counted([Parameter([[1.0, 2.0]])]), counted([])
    ('2', '')
    """
    return f"{sum(p.size for p in parameters):,}" if parameters else ""


def headline(network: Any) -> str:
    """A sentence: how many parameters a network has, of which type, and how many of them are frozen.

    >>> from tinygrad_vg import nn
    >>> headline(nn.stack([nn.mlp([4, 3, 2], rng=seed) for seed in range(5)]))
    'Sequential of 115 parameters in float64, in 5 networks'
    """
    parameters = [p for _, _, own in own_parameters(network) for p in own]
    count = sum(p.size for p in parameters)
    frozen = sum(p.size for p in parameters if not p.requires_grad)
    dtypes = " and ".join(dict.fromkeys(str(p.dtype) for p in parameters))
    members = max((p.members for p in parameters), default=0)
    return (
        f"{type(network).__name__} of {count:,} parameter{'s' * (count != 1)}"
        + (f" in {dtypes}" if dtypes else "")
        + (f", {frozen:,} of them frozen" if frozen else "")
        + (f", in {members} networks" if members else "")
    )


def outline(network: Any, outputs: Mapping[Any, str] | None = None, most: int | None = MOST) -> TextTable:
    """A table with a row for each module inside.

    Args:
        network: a module.
        outputs: the shape of the output of each module, in words, if it is known.
        most: the largest number of rows; None for all.

    >>> from tinygrad_vg import nn
    >>> print(outline(nn.mlp([4, 3, 2], rng=0)))
    Sequential of 23 parameters in float64
    name  module        parameters
    0     Linear(4, 3)          15
    1     Sigmoid()
    2     Linear(3, 2)           8
    """
    rows = []
    for name, module, own in own_parameters(network):
        children = any(True for _ in module.named_children())
        if name or not children:
            kind = type(module).__name__ if children else repr(module)
            rows.append([name, kind, *([outputs.get(module, "")] if outputs is not None else []), counted(own)])
    header = ["name", "module", *(["output"] if outputs is not None else []), "parameters"]
    left = (0, 1, 2) if outputs is not None else (0, 1)
    return TextTable(headline(network), header, rows if most is None else shortened(rows, most), left)
