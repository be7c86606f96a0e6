"""What is recorded: calls that ask for gradients, none, or all. The state is each thread's own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Recording(threading.local):
    """What this thread records.

    Attributes:
        enabled: whether calls are recorded for the sake of gradients.
        everything: whether calls without a gradient are recorded too.
    """

    enabled = True
    everything = False


recording = Recording()


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside this context (or a function it decorates) nothing is recorded in this thread.

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
    """Inside this context calls are recorded, also inside a `no_grad`.

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
    """Inside this context calls that have no gradient are recorded too, comparisons and data among them.

    A graph that is recorded so holds every array that depends on a Tensor: it can be run again on other numbers.

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
