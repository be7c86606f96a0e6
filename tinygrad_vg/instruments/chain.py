"""The chain of modules that a Sequential is, nested ones taken apart: what ledger, theory and what-if look at."""

from collections.abc import Iterator

from tinygrad_vg.nn import Module, Sequential


def units_of(module: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    """What nested Sequentials apply one after the other, with their names in the outermost."""
    if isinstance(module, Sequential) and type(module).forward is Sequential.forward:
        for name, part in module.named_children():
            yield from units_of(part, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, module
