"""The arrangement of a plan for machine code: its groups in their order, and the arrays that they need, and when."""

from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_vg.compiler.buffers import Arena, Life
from tinygrad_vg.compiler.copies import copies_of
from tinygrad_vg.compiler.generated import Text
from tinygrad_vg.compiler.layout import Access, Group, Kind, accesses, grouped, is_product, is_sum, replaced
from tinygrad_vg.compiler.passes import DESCENT, folded_updates, made_late
from tinygrad_vg.compiler.places import Constant
from tinygrad_vg.compiler.plan import Plan, Value, is_number
from tinygrad_vg.compiler.templates import is_by_row, is_written

KINDS: dict[Kind, Any] = {"rows": is_by_row, "copies": lambda i, found: copies_of(i), "product": is_product}


def arranged(
    plan: Plan, changed: dict[Value, Value], is_looked_at: bool
) -> tuple[Plan, list[Group], dict[Value, Value]]:
    """The plan with its products folded into the descents, its groups, and the outputs that are written in place."""
    while True:
        short = folded_updates(plan, changed)
        found = accesses(short, {})
        groups = grouped(short, found, is_written, KINDS, made_late(short, changed) if is_looked_at else ())
        into = replaced(groups, changed, found, short.outputs)
        read = {i.out for i in short.instructions if i.operation is DESCENT} - into.keys()
        if not read:  # a product can be folded into the descent of a weight that nobody reads later
            return short, as_early(groups, into, found), into
        changed = {new: old for new, old in changed.items() if new not in read}


def as_early(groups: list[Group], into: dict[Value, Value], found: dict[Value, Access]) -> list[Group]:
    """The groups, those that change an input as early as possible, so that their arguments need no memory later."""
    order: list[Group] = []
    for group in groups:
        changed = {into[i.out] for i in group.instructions if i.out in into}
        if not changed:
            order.append(group)
            continue
        needed = changed | {found[value].root for i in group.instructions for value in i.reads}
        last = -1
        for number, earlier in enumerate(order):
            roots = {found[value].root for i in earlier.instructions for value in (i.out, *i.reads)}
            roots |= {into[i.out] for i in earlier.instructions if i.out in into}
            if any(found[i.out].root in needed for i in earlier.instructions) or roots & changed:
                last = number
        order.insert(last + 1, group)
    return order


def lives_of(groups: list[Group], found: dict[Value, Access], text: Text, outputs: set[Value]) -> list[Life]:
    """The groups between which each intermediate array needs its memory."""
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for number, group in enumerate(groups):
        for i in group.instructions:
            if group.kind != "loop" or text.is_stored(i.out, number) or is_sum(i):
                first.setdefault(found[i.out].root, number)
            for value in (i.out, *i.reads):
                last[found[value].root] = number
    last |= {found[value].root: len(groups) for value in outputs}
    return [Life(root, number, last[root]) for root, number in first.items()]


def with_places(
    plan: Plan, groups: list[Group], found: dict[Value, Access], arena: Arena, into: dict[Value, Value]
) -> Plan:
    """The plan as it runs, with the place of each array."""
    calls = {i.out for group in groups if group.kind == "call" for i in group.instructions}
    buffers = {}
    for i in plan.instructions:
        root = found[i.out].root
        place = f"{arena.places[root]:,}" if root in arena.places else ""
        if i.out in into:
            buffers[i.out] = f"in {into[i.out].name}"
        elif i.out in calls:
            buffers[i.out] = f"{place} NumPy call"
        elif root is not i.out:
            buffers[i.out] = "view"
        else:
            buffers[i.out] = place or "register"
    return Plan(plan.instructions, plan.outputs, buffers)


def with_constants(plan: Plan) -> tuple[Plan, dict[Value, Any]]:
    """The plan with a Value for each array that never changes, and these arrays."""
    values: dict[int, Value] = {}
    arrays: dict[Value, Any] = {}

    def of(argument: Any) -> Any:
        if not isinstance(argument, np.ndarray) or is_number(argument):
            return argument
        if id(argument) not in values:
            value = values[id(argument)] = Value(argument.shape, argument.dtype, Constant("constant"), "constant")
            arrays[value] = argument
        return values[id(argument)]

    new = tuple(replace(i, args=tuple(map(of, i.args))) for i in plan.instructions)
    return Plan(new, plan.outputs), arrays
