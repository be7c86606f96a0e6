"""A job as tinygrad_vg does it, by its public names."""

from itertools import cycle

import numpy as np

import tinygrad_vg as tg
from tests.benchmarks.jobs import Job, Training


def network(start: list[tuple[np.ndarray, np.ndarray]]) -> tg.nn.Sequential:
    """Linear and Sigmoid layers with these weights and biases; the last Linear gives logits."""
    net = tg.nn.mlp([start[0][0].shape[1], *(len(weight) for weight, _ in start)], dtype=np.float32)
    for layer, (weight, bias) in zip(net[::2], start, strict=True):
        layer.weight.data, layer.bias.data = weight.copy(), bias.copy()
    return net


def ours(job: Job) -> Training:
    if job.members is None:
        net = network(job.start)
    else:
        net = tg.nn.stack([network(job.member(i).start) for i in range(job.members)])
    cost = tg.nn.BCEWithLogitsLoss("batchmean")
    sgd = tg.optim.SGD(net.parameters(), lr=job.lr, weight_decay=job.weight_decay)
    images, targets = job.images, job.targets

    def step(batch):
        sgd.zero_grad()
        loss = cost(net(images.take(batch, axis=0)), targets.take(batch, axis=0))
        loss.backward()
        loss = loss.data  # the graph goes, as in `cost(net(x), y).backward()`
        sgd.step()
        return loss

    return Training(step, cycle(job.batches), lambda: [p.data.copy() for p in net.parameters()])
