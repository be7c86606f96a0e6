"""The backward: which one runs, and what is called when it ends; and the hooks on the calls of a network's modules."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

from tinygrad_vg.bridges.torch.installed import pytorch


class Backward:
    """Tells backwards apart. A function is called at the end of each one that was noted.

    A backward that is stopped by an exception has no end; the next one begins with a fresh start.

    Raises:
        RuntimeError: in a backward inside which another one has run, for the two cannot be told apart.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        torch = pytorch()
        self._task = attrgetter("_C._current_graph_task_id")(torch)  # a later backward has a larger number; −1 outside
        self._at_end = attrgetter("_execution_engine.queue_callback")(torch.autograd.Variable)
        self._on_end = on_end
        self._now = -1

    def is_new(self) -> bool:
        """Whether the backward that runs is another one than at the last call."""
        task = self._task()
        if task == self._now:
            return False
        self._check(task)
        self._now = task
        return True

    def is_running(self) -> bool:
        """Whether a backward runs in this thread."""
        return bool(self._task() != -1)

    def call_at_end(self) -> None:
        """Call the function when the backward that runs has ended."""
        self._at_end(partial(self._end, self._now))

    def then(self, callback: Callable[[], None]) -> None:
        """Call another function when the backward that runs has ended."""
        self._at_end(callback)

    def _end(self, task: int) -> None:
        self._check(task)
        self._on_end()

    def _check(self, task: int) -> None:
        if task < self._now:
            raise RuntimeError(
                "a backward has run inside another one, as a reentrant checkpoint does, and the instrument cannot tell "
                "what belongs to which: torch.utils.checkpoint.checkpoint(..., use_reentrant=False) runs one backward"
            )


def on_calls(hook: Callable[[Any, Any, Any], None]) -> Any:
    """Call `hook(module, inputs, output)` after each call of any module, and return a handle.

    The hook is PyTorch's global one: nothing is left in the modules, so that a network can be copied and pickled while
    it is recorded, and a copy is not recorded.
    """
    torch = pytorch()
    return torch.nn.modules.module.register_module_forward_hook(hook)


def first_tensor(value: Any) -> Any:
    """The first tensor of what a module takes or returns that requires gradients: it may be a tuple, list or dict."""
    tensor = pytorch().Tensor
    if type(value) is tuple and value and type(value[0]) is tensor and value[0].requires_grad:
        return value[0]
    if isinstance(value, tensor):
        return value if value.requires_grad else None
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return next((found for part in value if (found := first_tensor(part)) is not None), None)
    return None
