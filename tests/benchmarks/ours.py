"""A job as tinygrad_vg does it, by its public names."""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np

import tinygrad_vg as tg
from tests.benchmarks.jobs import Job, ManyAtOnce, Training, UnavailableError


def network(start: list[tuple[np.ndarray, np.ndarray]]) -> tg.nn.Sequential:
    """Linear and Sigmoid layers with these weights and biases; the last Linear gives logits."""
    net = tg.nn.mlp([start[0][0].shape[1], *(len(weight) for weight, _ in start)], dtype=np.float32)
    for layer, (weight, bias) in zip(net[::2], start, strict=True):
        layer.weight.data, layer.bias.data = weight.copy(), bias.copy()
    return net


def drawn(job: Job) -> tg.nn.Module:
    """A job's network, or the stack of its networks."""
    if job.members is None:
        return network(job.start)
    return tg.nn.stack([network(job.member(i).start) for i in range(job.members)])


def descent(net: tg.nn.Module, job: Job) -> tg.optim.SGD:
    return tg.optim.SGD(net.parameters(), lr=job.lr, weight_decay=job.weight_decay)


def arrays_of(net: tg.nn.Module) -> list[np.ndarray]:
    return [p.data.copy() for p in net.parameters()]


def ours(job: Job) -> Training:
    """Eager."""
    net, cost = drawn(job), tg.nn.BCEWithLogitsLoss("batchmean")
    sgd = descent(net, job)
    images, targets = job.images, job.targets

    def step(batch):
        sgd.zero_grad()
        loss = cost(net(images.take(batch, axis=0)), targets.take(batch, axis=0))
        loss.backward()
        loss = loss.data  # the graph goes, as in `cost(net(x), y).backward()`
        sgd.step()
        return loss

    return Training(step, cycle(job.batches), lambda: arrays_of(net))


def compiled_step(job: Job, backend: str) -> tuple[tg.nn.Module, Callable[..., Any]]:
    """The network and its step on a batch, compiled.

    Raises:
        UnavailableError: if the backend is not installed.
    """
    net, cost = drawn(job), tg.nn.BCEWithLogitsLoss("batchmean")
    sgd = descent(net, job)

    def step(x, t):
        sgd.zero_grad()
        loss = cost(net(x), t)
        loss.backward()
        sgd.step()
        return loss

    try:
        return net, tg.compile(step, backend=backend)
    except ModuleNotFoundError as error:
        raise UnavailableError(str(error)) from error


def compiled(job: Job, backend: str = "numba") -> Training:
    """Compiled; the batch is fetched outside, as a user does it whose data come from anywhere."""
    net, step = compiled_step(job, backend)
    images, targets = job.images, job.targets

    def fetched(batch):
        return step(images.take(batch, axis=0), targets.take(batch, axis=0))

    return Training(fetched, cycle(job.batches), lambda: arrays_of(net))


def over(job: Job, backend: str = "numba") -> ManyAtOnce:
    """Compiled, and many steps in one call."""
    net, step = compiled_step(job, backend)
    return ManyAtOnce(lambda rows: step.over(rows, job.images, job.targets).data, job.batches, lambda: arrays_of(net))
