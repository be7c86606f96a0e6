"""A job as the documentation of PyTorch, MyGrad and HIPS autograd writes it: what a user gets without tuning.

`tuned` has the same libraries in the fastest way that was found, and JAX. All import the libraries when they are used.
"""

from itertools import cycle

import numpy as np

from tests.benchmarks.jobs import Job, Training


def torch_net(start: list[tuple[np.ndarray, np.ndarray]]):
    """A `torch.nn.Sequential` with these weights and biases."""
    import torch

    torch.set_num_threads(1)
    modules = []
    for weight, bias in start:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        modules += [layer, torch.nn.Sigmoid()]
    return torch.nn.Sequential(*modules[:-1])


def torch_layers(start: list[tuple[np.ndarray, np.ndarray]]):
    """An ensemble's (weight, bias) as PyTorch's products of batches take them: (R, in, out) and (R, 1, out)."""
    import torch

    torch.set_num_threads(1)
    return [
        (torch.from_numpy(weight.mT.copy()).requires_grad_(), torch.from_numpy(bias[:, None].copy()).requires_grad_())
        for weight, bias in start
    ]


def arrays_of(layers) -> list[np.ndarray]:
    """Copies of what `torch_layers` has made, laid out as in the job."""
    arrays = [(weight.detach().numpy(), bias.detach().numpy()) for weight, bias in layers]
    return [array for weight, bias in arrays for array in (weight.mT.copy(), bias[:, 0].copy())]


def pytorch(job: Job) -> Training:
    """PyTorch, eager: the five lines of its tutorials, on batches by index instead of their DataLoader."""
    import torch

    net = torch_net(job.start)
    cost = torch.nn.BCEWithLogitsLoss(reduction="sum")
    sgd = torch.optim.SGD(net.parameters(), lr=job.lr, weight_decay=job.weight_decay)
    images, targets = torch.from_numpy(job.images), torch.from_numpy(job.targets)

    def step(batch):
        loss = cost(net(images[batch]), targets[batch]) / job.batch
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss

    batches = [torch.from_numpy(batch) for batch in job.batches]
    return Training(step, cycle(batches), lambda: [p.detach().numpy().copy() for p in net.parameters()])


def pytorch_ensemble(job: Job) -> Training:
    """PyTorch, eager, with the parameters of all members in one tensor, and `bmm`."""
    import torch

    layers = torch_layers(job.start)
    cost = torch.nn.BCEWithLogitsLoss(reduction="sum")
    sgd = torch.optim.SGD([p for layer in layers for p in layer], lr=job.lr, weight_decay=job.weight_decay)
    images, targets = torch.from_numpy(job.images), torch.from_numpy(job.targets)

    def step(batch):
        y = images[batch].expand(job.members, -1, -1)
        for weight, bias in layers[:-1]:
            y = torch.sigmoid(torch.bmm(y, weight) + bias)
        weight, bias = layers[-1]
        z = torch.bmm(y, weight) + bias
        loss = cost(z, targets[batch].expand_as(z)) / job.batch
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss

    return Training(step, cycle([torch.from_numpy(batch) for batch in job.batches]), lambda: arrays_of(layers))


def pytorch_vmap(job: Job) -> Training:
    """PyTorch, eager, as its tutorial on ensembles has it: modules, their parameters stacked, and `vmap`."""
    import torch
    from torch.func import functional_call, stack_module_state, vmap

    nets = [torch_net(job.member(i).start) for i in range(job.members)]
    parameters, _ = stack_module_state(nets)
    base = nets[0].to("meta")
    cost = torch.nn.BCEWithLogitsLoss(reduction="sum")
    sgd = torch.optim.SGD(parameters.values(), lr=job.lr, weight_decay=job.weight_decay)
    images, targets = torch.from_numpy(job.images), torch.from_numpy(job.targets)
    outputs = vmap(lambda parameters, x: functional_call(base, parameters, (x,)), in_dims=(0, None))

    def step(batch):
        z = outputs(parameters, images[batch])
        loss = cost(z, targets[batch].expand_as(z)) / job.batch
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss

    batches = [torch.from_numpy(batch) for batch in job.batches]
    return Training(step, cycle(batches), lambda: [p.detach().numpy().copy() for p in parameters.values()])


def mygrad(job: Job) -> Training:
    """MyGrad, its guard against writing into arrays on as by default; layers and descent as in MyNN, built on it."""
    import mygrad as mg
    from mygrad.nnet.activations import sigmoid

    parameters = [mg.tensor(array.T.copy()) for layer in job.start for array in layer]
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))

    def step(batch):
        y, t = job.images.take(batch, axis=0), job.targets.take(batch, axis=0)
        for weight, bias in layers[:-1]:
            y = sigmoid(mg.matmul(y, weight) + bias)
        weight, bias = layers[-1]
        z = mg.matmul(y, weight) + bias
        loss = mg.sum(mg.logaddexp(0, z) - z * t) / job.batch
        loss.backward()
        for p in parameters:
            p.data -= job.lr * (p.grad + job.weight_decay * p.data)
        return loss

    return Training(step, cycle(job.batches), lambda: [p.data.T.copy() for p in parameters])


def hips(job: Job) -> Training:
    """HIPS autograd, as its example of a neural network: a list of (W, b), and new parameters after each step."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    parameters = [(weight.T.copy(), bias.copy()) for weight, bias in job.start]

    def cost(parameters, y, t):
        for weight, bias in parameters[:-1]:
            z = anp.dot(y, weight) + bias
            y = 0.5 * (anp.tanh(0.5 * z) + 1)
        weight, bias = parameters[-1]
        z = anp.dot(y, weight) + bias
        return anp.sum(anp.logaddexp(0, z) - z * t) / job.batch

    cost_and_gradients = value_and_grad(cost)

    def step(batch):
        nonlocal parameters
        x, t = job.images.take(batch, axis=0), job.targets.take(batch, axis=0)
        loss, gradients = cost_and_gradients(parameters, x, t)
        parameters = [
            tuple(p - job.lr * (g + job.weight_decay * p) for p, g in zip(layer, slopes, strict=True))
            for layer, slopes in zip(parameters, gradients, strict=True)
        ]
        return loss

    return Training(step, cycle(job.batches), lambda: [array.T.copy() for layer in parameters for array in layer])
