"""Which calls are recorded: those that need gradients, none, or all. Each thread has its own state."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Recording(threading.local):
    """The state of this thread.

    Attributes:
        enabled: whether calls that need gradients are recorded.
        everything: whether all other calls are recorded too.
    """

    enabled = True
    everything = False


recording = Recording()


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing in this thread inside this context, or inside a function that it decorates.

    >>> import tinygrad_vg as tg
    >>> t = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     (t * t).requires_grad
    False
    """
    before, recording.enabled = recording.enabled, False
    try:
        yield
    finally:
        recording.enabled = before


@contextmanager
def enable_grad() -> Iterator[None]:
    """Record calls in this thread inside this context, also inside a `no_grad`.

    >>> import tinygrad_vg as tg
    >>> t = tg.Tensor(2.0, requires_grad=True)
    >>> with tg.no_grad(), tg.enable_grad():
    ...     (t * t).requires_grad
    True
    """
    before, recording.enabled = recording.enabled, True
    try:
        yield
    finally:
        recording.enabled = before


def is_grad_enabled() -> bool:
    """Whether this thread records: False inside `no_grad`.

    >>> import tinygrad_vg as tg
    >>> with tg.no_grad():
    ...     tg.is_grad_enabled()
    False
    """
    return recording.enabled


@contextmanager
def record_everything() -> Iterator[None]:
    """Record also calls that have no gradient inside this context, such as comparisons and operations on data.

    A graph recorded in this way holds every array that depends on a Tensor, and can be run again on other arrays.

    >>> import numpy as np, tinygrad_vg as tg
    >>> with record_everything():
    ...     positive = tg.Tensor([-1.0, 2.0]) > 0
    >>> positive.node.operation.kernel(np.array([3.0, -4.0]), *positive.node.values[1:])
    array([ True, False])
    """
    before, recording.everything = recording.everything, True
    try:
        yield
    finally:
        recording.everything = before
