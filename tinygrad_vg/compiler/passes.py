"""The passes: functions plan → plan. Each returns a plan that computes the same with less work."""

from collections.abc import Container
from typing import Any

import numpy as np

from tinygrad_vg.compiler.plan import Instruction, Plan, Value, is_number
from tinygrad_vg.engine import Operation
from tinygrad_vg.engine.kernels import sum_of_outer


def simplified(plan: Plan) -> Plan:
    """All passes that every backend uses, in their order."""
    for each in (folded, merged, without_unused):
        plan = each(plan)
    return plan


def folded(plan: Plan) -> Plan:
    """Compute values that depend on numbers alone. Arrays are left out, because the user may write into them."""
    constants: dict[Value, Any] = {}
    kept = []
    for i in plan.instructions:
        args = tuple(constants.get(a, a) if isinstance(a, Value) else a for a in i.args)
        if i.operation.kind == "random" or not all(map(is_number, args)):
            kept.append(i)
        else:
            constants[i.out] = np.array(i.operation.kernel(*args, **i.kwargs))
            constants[i.out].flags.writeable = False
    return plan.replaced(constants, kept)


def merged(plan: Plan) -> Plan:
    """Compute equal calls once."""
    first: dict[Any, Value] = {}
    same: dict[Value, Any] = {}
    kept = []
    for i in plan.instructions:
        args = [same.get(a, a) if isinstance(a, Value) else a for a in i.args]
        key = (id(i.operation), *map(identity_of, args), *((n, identity_of(v)) for n, v in sorted(i.kwargs.items())))
        if key in first and i.operation.kind != "random":
            same[i.out] = first[key]
        else:
            first[key] = i.out
            kept.append(i)
    return plan.replaced(same, kept)


def identity_of(argument: Any) -> Any:
    """A key that is the same for equal arguments."""
    if isinstance(argument, Value):
        return "value", id(argument)
    if isinstance(argument, np.ndarray):
        return argument.dtype.str, argument.shape, argument.tobytes() if is_number(argument) else id(argument)
    if isinstance(argument, tuple | list):
        return type(argument).__name__, tuple(map(identity_of, argument))
    return type(argument).__name__, repr(argument)


def without_unused(plan: Plan) -> Plan:
    """Leave out the instructions that no output needs."""
    needed = {value for value in plan.outputs if isinstance(value, Value)}
    kept: list[Instruction] = []
    for i in reversed(plan.instructions):
        if i.out in needed:
            needed.update(i.reads)
            kept.append(i)
    return Plan(tuple(reversed(kept)), plan.outputs)


def in_place(plan: Plan, changed: dict[Value, Value]) -> dict[Value, Value]:
    """The pairs of {output: input} in which the output may be written into the array of the input that it replaces.

    The instruction that computes the output must be elementwise, and the input may not be read after it.
    """
    made = {i.out: number for number, i in enumerate(plan.instructions)}
    last: dict[Value, int] = {}
    seen: dict[Value, list[Value]] = {}  # by value, the inputs that it may be a view of
    for number, i in enumerate(plan.instructions):
        for value in i.reads:
            for base in (value, *seen.get(value, ())):
                last[base] = number
        if not is_elementwise(i):
            seen[i.out] = [base for value in i.reads for base in (value, *seen.get(value, ()))]
    for value in plan.outputs:
        for base in (value, *seen.get(value, ())) if isinstance(value, Value) else ():
            last[base] = len(plan.instructions)
    return {
        new: old
        for new, old in changed.items()
        if new in made and is_elementwise(plan.instructions[made[new]]) and last.get(old, -1) <= made[new]
        and new.shape == old.shape and all(old not in seen.get(v, ()) for v in plan.instructions[made[new]].reads)
    }  # fmt: skip


def is_elementwise(i: Instruction) -> bool:
    """Whether each element of the output depends on one element of each argument."""
    function = i.operation.function
    return isinstance(function, np.ufunc) and function.signature is None and function.nout == 1


# The operations that make the gradient of a weight from the δ of its layer.
_PRODUCTS = {np.matmul, sum_of_outer, np.swapaxes, np.transpose, np.reshape}


def recipe_of(plan: Plan, value: Any) -> tuple[list[Instruction], list[Any]]:
    """The products and views that a value is made of, and their arguments.

    With this recipe the value can be computed later, when somebody asks for it.
    """
    made = {i.out: i for i in plan.instructions}
    needed: dict[Value, None] = {}
    rest: dict[Value, None] = {}
    unseen = [value]
    while unseen:
        now = unseen.pop()
        i = made.get(now)
        if i is None or i.operation.function not in _PRODUCTS:
            rest[now] = None
        elif now not in needed:
            needed[now] = None
            unseen += i.reads
    return [i for i in plan.instructions if i.out in needed], [*rest]


def followed(recipe: list[Instruction], value: Any, arrays: dict[Any, Any]) -> Any:
    """The array of a value, by its recipe."""
    arrays = dict(arrays)
    for i in recipe:
        args = [arrays[a] if isinstance(a, Value) else a for a in i.args]
        arrays[i.out] = i.operation.kernel(*args, **i.kwargs)
    return np.array(arrays[value])


def descended(p: Any, kept: Any, lr: Any, a: Any, b: Any) -> Any:
    """kept · p − lr · (a b), which BLAS computes in one pass over p."""
    return kept * p - lr * np.reshape(np.matmul(a, b), np.shape(p))


DESCENT = Operation(descended, descended, (), "plain")


def made_late(plan: Plan, changed: Container[Value]) -> set[Value]:
    """The values that are computed after the hooks were called: the new values of inputs, and all that needs them.

    Values that only an update needs, such as lr · g, are among them, so that the update is rounded as without hooks.
    """
    late: set[Value] = set()
    for i in plan.instructions:
        if i.out in changed or any(value in late for value in i.reads):
            late.add(i.out)
    early = {value for value in plan.outputs if isinstance(value, Value)} - late
    for i in reversed(plan.instructions):
        if i.out not in late and i.out not in early and is_elementwise(i):
            late.add(i.out)
        if i.out not in late:
            early.update(i.reads)
    return late


def folded_updates(plan: Plan, changed: dict[Value, Value]) -> Plan:
    """Write the product that is a weight's gradient and the weight's descent as one instruction, if nothing else needs
    either of them.
    """
    made = {i.out: i for i in plan.instructions}
    uses = plan.uses()

    def alone(value: Any, function: Any) -> Instruction | None:
        i = made.get(value) if isinstance(value, Value) and uses[value] == 1 else None
        return i if i is not None and i.operation.function is function else None

    def scaled(value: Any, inside: Any) -> tuple[Any, Any]:
        """(factor, the other argument) of a product with a number and, if given, with `inside`."""
        i = alone(value, np.multiply)
        for factor, other in (i.args, i.args[::-1]) if i is not None else ():
            if getattr(factor, "shape", ()) == () and isinstance(other, Value) and inside in (None, other):
                return factor, other
        return None, None

    new: dict[Value, Instruction] = {}
    for out, old in changed.items():
        i = made.get(out)
        if i is None or i.operation.function is not np.subtract:
            continue
        kept, _ = (1.0, old) if i.args[0] is old else scaled(i.args[0], old)
        lr, gradient = scaled(i.args[1], None)
        shaped = alone(gradient, np.reshape)
        product = alone(shaped.args[0] if shaped else gradient, np.matmul)
        if kept is None or product is None or (shaped is None and product.out.shape != old.shape):
            continue
        new[out] = Instruction(DESCENT, (old, kept, lr, *product.args), {}, out, i.line)
    return without_unused(Plan(tuple(new.get(i.out, i) for i in plan.instructions), plan.outputs))
