"""Copies: operations that write their arguments into parts of a new array, and 0 into the rest."""

from typing import Any, NamedTuple

import numpy as np

from tinygrad_vg.compiler.layout import FLOATS
from tinygrad_vg.compiler.plan import Instruction, Value
from tinygrad_vg.engine import ops
from tinygrad_vg.engine.arrays import is_basic
from tinygrad_vg.engine.composites import join


class Copy(NamedTuple):
    """The place of an argument in the result: its elements begin at `offset`, and lie `strides` elements apart."""

    source: Value
    offset: int
    strides: tuple[int, ...]


def copies_of(i: Instruction) -> list[Copy]:
    """The copies of an instruction; none if it is of another kind.

    The rule of an index is such an operation, `scatter`, and so is `np.concatenate`.
    """
    if i.out.dtype.name not in FLOATS or not all(v.dtype == i.out.dtype for v in i.reads):
        return []
    memory = np.zeros(i.out.shape, np.int8)
    found = []
    for source, index in parts_of(i):
        part = memory[index]
        if not isinstance(source, Value) or part.shape != source.shape or 0 in part.shape:
            return []
        begin = part.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
        found.append(Copy(source, begin, part.strides))
    return found


def parts_of(i: Instruction) -> list[tuple[Any, Any]]:
    """Each argument that is written into the result, with the index of its part."""
    if i.operation.function is ops.scatter and not i.kwargs and is_basic(i.args[1]):
        index = i.args[1] if isinstance(i.args[1], tuple) else (i.args[1],)
        return [(i.args[0], index if ... in index else (*index, ...))]  # with ... the part is a view, not a number
    if i.operation.function is join:
        lead, ends = (slice(None),) * (i.kwargs["axis"] % i.out.ndim), i.kwargs["ends"]
        return [(a, (*lead, slice(*ends[n : n + 2]))) for n, a in enumerate(i.args)]
    return []


def covers(i: Instruction) -> bool:
    """Whether the copies of an instruction fill its result."""
    return i.operation.function is join
