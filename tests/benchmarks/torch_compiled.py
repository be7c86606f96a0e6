"""A job as PyTorch compiles it: `torch.compile`, as its documentation has it, around the network or around more."""

from itertools import cycle

from tests.benchmarks.jobs import Job, Training, UnavailableError
from tests.benchmarks.plain import arrays_of, torch_layers, torch_net

AROUND = ("the network", "network and cost", "network, cost and SGD")


def torch_that_compiles():
    """The library, with nothing compiled.

    What it has compiled before goes: it compiles a function anew for each network, and gives up after eight.

    Raises:
        ImportError: if it is not installed.
        UnavailableError: if it cannot compile here, mostly because there is no C++ compiler.
    """
    import torch

    torch.compiler.reset()
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2))
    except Exception as error:  # of many classes, none of them public
        reason = str(error).strip().partition("\n")[0]
        raise UnavailableError(f"it does not compile here: {type(error).__name__}: {reason}") from error
    return torch


def torch_compiled(job: Job, around: str) -> Training:
    """PyTorch, with a part of the step compiled: one of AROUND."""
    torch = torch_that_compiles()
    net, parameters, arrays = ensemble(job) if job.members else single(job)
    cost = torch.nn.BCEWithLogitsLoss(reduction="sum")
    sgd = torch.optim.SGD(parameters, lr=job.lr, weight_decay=job.weight_decay)
    images, targets = torch.from_numpy(job.images), torch.from_numpy(job.targets)
    forward = torch.compile(net) if around == AROUND[0] else net

    def loss_of(x, t):
        z = forward(x)
        return cost(z, t.expand_as(z)) / job.batch

    if around != AROUND[0]:
        loss_of = torch.compile(loss_of)
    descend = torch.compile(sgd.step) if around == AROUND[2] else sgd.step

    def step(batch):
        loss = loss_of(images[batch], targets[batch])
        sgd.zero_grad()
        loss.backward()
        descend()
        return loss

    return Training(step, cycle([torch.from_numpy(batch) for batch in job.batches]), arrays)


def single(job: Job):
    """A network as a function, its parameters, and what copies their arrays."""
    net = torch_net(job.start)
    return net, [*net.parameters()], lambda: [p.detach().numpy().copy() for p in net.parameters()]


def ensemble(job: Job):
    """The same with the parameters of all members in one tensor."""
    import torch

    layers = torch_layers(job.start)

    def net(x):
        y = x.expand(job.members, -1, -1)
        for weight, bias in layers[:-1]:
            y = torch.sigmoid(torch.bmm(y, weight) + bias)
        weight, bias = layers[-1]
        return torch.bmm(y, weight) + bias

    return net, [p for layer in layers for p in layer], lambda: arrays_of(layers)
