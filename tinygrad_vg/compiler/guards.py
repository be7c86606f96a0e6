"""Guards: the facts of a trace that must still hold for a program to be right. They are compared before each run."""

from tinygrad_vg.compiler.outside import Elements
from tinygrad_vg.compiler.shown import signature_of
from tinygrad_vg.compiler.trace import Trace
from tinygrad_vg.engine.recording import changes
from tinygrad_vg.nn import Module


class Guards:
    """The facts of a trace that must still hold.

    Attributes of modules, hooks and `requires_grad` are compared if the engine has counted a change. Elements of lists,
    and objects that the function's own code uses from outside, are always compared.
    """

    def __init__(self, trace: Trace) -> None:
        self.leaves = tuple(trace.leaves)
        self.asks = tuple(tensor._asks for tensor in self.leaves)
        used = dict.fromkeys([*trace.modules, *(m for m in trace.outside.objects.values() if isinstance(m, Module))])
        self.attributes = [Elements(f"an attribute of {type(m).__name__}", vars(m)) for m in used]
        self.containers = [each for module in trace.modules for each in containers_of(module)]
        for optimizer in trace.optimizers:
            self.containers.append(Elements("the groups of the optimizer", optimizer.param_groups))
            self.containers += [
                Elements("the parameters of the optimizer", group["params"]) for group in optimizer.param_groups
            ]
        self.outside = trace.outside
        self.modules = tuple(trace.modules)
        self.signature = signature_of(self.modules, self.leaves)
        self.count = changes.count

    def changed(self) -> str | None:
        """The change since the trace, in words; None if there is none."""
        for each in self.containers:
            if each.changed():
                return each.name
        if (name := self.outside.changed()) is not None:
            return name
        return None if changes.count == self.count else self.looked_closer()

    def looked_closer(self) -> str | None:
        """The same, for the facts whose changes the engine counts."""
        for tensor, asks in zip(self.leaves, self.asks, strict=True):
            if tensor._asks is not asks:
                return f"requires_grad of {tensor.label}"
        for each in self.attributes:
            if each.changed():
                return each.name
        if signature_of(self.modules, self.leaves) != self.signature:
            return "the hooks"
        self.count = changes.count
        return None


def containers_of(module: Module) -> list[Elements]:
    """The lists, tuples and dicts among a module's attributes, and those in them."""
    found = []
    unseen = [(key, value) for key, value in vars(module).items() if key != "_forward_hooks"]
    seen: set[int] = set()
    while unseen:
        key, value = unseen.pop()
        if isinstance(value, list | tuple | dict) and id(value) not in seen:
            seen.add(id(value))
            found.append(Elements(f"{type(module).__name__}.{key}", value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            unseen += [(f"{key}[{k!r}]", v) for k, v in items]
    return found
