"""Each public function, class and method is shown by an example that runs: its own, or one of its class."""

import importlib
import inspect
import re
from functools import cached_property

import pytest

PACKAGES = ["", *(f".{name}" for name in (
    "compiler", "datasets", "draw", "engine", "engine.ops", "instruments", "nn", "nn.init", "optim",
    "optim.lr_scheduler", "plots", "study",
))]  # fmt: skip
# What they need need not be there; each has a test of its own.
WITHOUT = {
    "tinygrad_vg.instruments.history.History.to_dataframe",
    "tinygrad_vg.study.study.Study.report",
    "tinygrad_vg.study.table.Table.to_pandas",
    "tinygrad_vg.study.table.Table.to_parquet",
    "tinygrad_vg.study.table.Table.to_polars",
}


def public(module):
    """The names of a module's `__all__`; of a module without it, what it defines itself."""
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__)
    return getattr(module, "__all__", [name for name in own if not name.startswith("_")])


def objects():
    """All public functions and classes of the package, each once, by their full names."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(f"tinygrad_vg{package}")
        for name in public(module):
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


def examples(value):
    """The lines of the examples in a docstring."""
    lines = (getattr(value, "__doc__", None) or "").splitlines()
    return [line for line in lines if line.strip().startswith((">>>", "..."))]


def function_in(attribute):
    """The function behind a method or property; None for any other attribute."""
    if isinstance(attribute, staticmethod | classmethod):
        attribute = attribute.__func__
    elif isinstance(attribute, property):
        attribute = attribute.fget
    elif isinstance(attribute, cached_property):
        attribute = attribute.func
    return attribute if inspect.isfunction(attribute) else None


def methods(kind):
    """The public methods and properties of a class, also inherited ones, by name."""
    own = (base for base in kind.__mro__ if base.__module__.startswith("tinygrad_vg"))
    return {name for base in own for name, value in vars(base).items() if name[0] != "_" and function_in(value)}


def is_shown(kind, method):
    """Whether an example uses a method: that of a class that has it, or of another method there."""
    for base in kind.__mro__:
        if method in vars(base) and examples(function_in(vars(base)[method])):
            return True
        lines = [*examples(base), *(line for value in vars(base).values() for line in examples(function_in(value)))]
        if any(re.search(rf"\b{method}\b", line) for line in lines):
            return True
    return False


@pytest.mark.parametrize("name", objects())
def test_every_public_name_has_an_example(name):
    value = objects()[name]
    assert examples(value), f"{name} has no example"
    if inspect.isclass(value):
        missing = {f"{name}.{method}" for method in methods(value) if not is_shown(value, method)}
        assert missing <= WITHOUT, f"no example uses {sorted(missing - WITHOUT)}"


def test_what_is_left_out_is_still_there():
    for name in WITHOUT:
        kind, _, method = name.rpartition(".")
        assert not is_shown(objects()[kind], method), f"{name} has an example now"


def test_a_method_without_an_example_is_found():
    class Silent:
        """A class.

        >>> Silent().told
        """

        told = property(lambda self: 1)

        def untold(self):
            """Nothing."""

    Silent.__module__ = "tinygrad_vg.made_up"
    assert {method for method in methods(Silent) if not is_shown(Silent, method)} == {"untold"}
