"""Generators of random numbers: a trace must notice a draw that a later run would not repeat."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_vg.nn import Module


def states_of(generators: Iterable[Any]) -> list[str]:
    """The states of generators of random numbers, and of NumPy's own."""
    own: Any = np.random.get_state()  # noqa: NPY002 - users may draw from NumPy's global generator
    return [repr((own[1].tobytes(), own[2])), *(repr(g.bit_generator.state) for g in generators)]


def generators_in(values: Iterable[Any]) -> list[Any]:
    """The generators of random numbers among some objects, and in the modules among them."""
    found = []
    for value in values:
        if isinstance(value, np.random.Generator):
            found.append(value)
        elif isinstance(value, Module):
            parts = [part for _, module in value.named_modules() for part in vars(module).values()]
            found += [part for part in parts if isinstance(part, np.random.Generator)]
    return found
