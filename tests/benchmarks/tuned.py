"""A job as PyTorch, MyGrad, HIPS autograd and JAX do it fastest, tuned by hand.

What the functions take beside the job are ways that `works` tries first. `plain` has the same libraries as their
documentation writes them; JAX is here only, as its documentation too compiles whole steps.
"""

from functools import partial
from itertools import cycle

import numpy as np

from tests.benchmarks.jobs import Job, ManyAtOnce, Training
from tests.benchmarks.plain import arrays_of, torch_layers, torch_net


def pytorch(job: Job, **sgd_options) -> Training:
    """PyTorch, eager: a batch by `index_select`, and an optimizer with these options."""
    import torch

    net = torch_net(job.start)
    cost = torch.nn.BCEWithLogitsLoss(reduction="sum")
    sgd = torch.optim.SGD(net.parameters(), lr=job.lr, weight_decay=job.weight_decay, **sgd_options)
    images, targets = torch.from_numpy(job.images), torch.from_numpy(job.targets)

    def step(batch):
        sgd.zero_grad()
        # index_select: on batches of 1,000 a step takes a fifth less than with images[batch].
        loss = cost(net(images.index_select(0, batch)), targets.index_select(0, batch)) / job.batch
        loss.backward()
        sgd.step()
        return loss

    batches = [torch.from_numpy(batch) for batch in job.batches]
    return Training(step, cycle(batches), lambda: [p.detach().numpy().copy() for p in net.parameters()])


def pytorch_ensemble(job: Job, product: str, **sgd_options) -> Training:
    """PyTorch, eager, with the parameters of all members in one tensor, by one of three products."""
    import torch

    layers = torch_layers(job.start)
    sgd = torch.optim.SGD(
        [p for layer in layers for p in layer], lr=job.lr, weight_decay=job.weight_decay, **sgd_options
    )
    images, targets = torch.from_numpy(job.images), torch.from_numpy(job.targets)
    linear = {
        "baddbmm": lambda x, weight, bias: torch.baddbmm(bias, x, weight),
        "bmm": lambda x, weight, bias: torch.bmm(x, weight) + bias,
        "einsum": lambda x, weight, bias: torch.einsum("rbi,rio->rbo", x, weight) + bias,
    }[product]
    cost = torch.nn.BCEWithLogitsLoss(reduction="sum")

    def step(batch):
        sgd.zero_grad()
        z = linear(images.index_select(0, batch).expand(job.members, -1, -1), *layers[0])
        for weight, bias in layers[1:]:
            z = linear(torch.sigmoid(z), weight, bias)
        loss = cost(z, targets.index_select(0, batch).expand_as(z)) / job.batch
        loss.backward()
        sgd.step()
        return loss

    return Training(step, cycle([torch.from_numpy(batch) for batch in job.batches]), lambda: arrays_of(layers))


def mygrad(job: Job) -> Training:
    """MyGrad without its guard against writing into arrays, and with a descent in place."""
    import mygrad as mg
    from mygrad.nnet.activations import sigmoid

    layers = [(mg.tensor(weight.T.copy()), mg.tensor(bias.copy())) for weight, bias in job.start]
    parameters = [p for layer in layers for p in layer]
    keep = 1 - job.lr * job.weight_decay

    def step(batch):
        x, t = job.images.take(batch, axis=0), job.targets.take(batch, axis=0)
        z = mg.matmul(x, layers[0][0]) + layers[0][1]
        for weight, bias in layers[1:]:
            z = mg.matmul(sigmoid(z), weight) + bias
        loss = mg.sum(mg.logaddexp(0, z) - z * t) / job.batch
        loss.backward()
        for p in parameters:
            data = p.data
            data *= keep
            data -= job.lr * p.grad
        return loss

    def arrays():
        return [array.copy() for weight, bias in layers for array in (weight.data.T, bias.data)]

    return Training(step, cycle(job.batches), arrays, around=mg.mem_guard_off)


def hips(job: Job) -> Training:
    """HIPS autograd: the parameters as a flat list, and a descent in place."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    parameters = [array.copy() for weight, bias in job.start for array in (weight.T, bias)]
    keep = 1 - job.lr * job.weight_decay

    def cost(parameters, x, t):
        z = anp.dot(x, parameters[0]) + parameters[1]
        for i in range(2, len(parameters), 2):
            y = 1 / (1 + anp.exp(-z))
            z = anp.dot(y, parameters[i]) + parameters[i + 1]
        return anp.sum(anp.logaddexp(0, z) - z * t) / job.batch

    cost_and_gradients = value_and_grad(cost)

    def step(batch):
        x, t = job.images.take(batch, axis=0), job.targets.take(batch, axis=0)
        loss, gradients = cost_and_gradients(parameters, x, t)
        for p, g in zip(parameters, gradients, strict=True):
            p *= keep
            p -= job.lr * g
        return loss

    return Training(step, cycle(job.batches), lambda: [p.T.copy() for p in parameters])


def jax_step(job: Job):
    """A step as a pure function for JAX: (layers, images, targets, batch) to new layers and the loss."""
    import jax
    import jax.numpy as jnp

    def cost(layers, x, t):
        z = x @ layers[0][0].T + layers[0][1]
        for weight, bias in layers[1:]:
            z = jax.nn.sigmoid(z) @ weight.T + bias
        return jnp.sum(jnp.logaddexp(0, z) - z * t) / job.batch

    cost_and_gradients = jax.value_and_grad(cost)
    if job.members is not None:
        cost_and_gradients = jax.vmap(cost_and_gradients, in_axes=(0, None, None))
    keep = 1 - job.lr * job.weight_decay

    def updated(layers, images, targets, batch):
        losses, gradients = cost_and_gradients(layers, images[batch], targets[batch])
        return jax.tree.map(lambda p, g: keep * p - job.lr * g, layers, gradients), jnp.sum(losses)

    return updated


def jax_arrays(job: Job):
    """The start, images and targets on the device. The start is a copy: what is donated is overwritten."""
    import jax
    import jax.numpy as jnp

    return jax.tree.map(jnp.array, job.start), jnp.asarray(job.images), jnp.asarray(job.targets)


def jax(job: Job) -> Training:
    """JAX: value, gradients and update in one compiled function, whose parameters are donated, over members by vmap.

    Dispatch stays as it comes, in a thread of its own: JAX is the only side that uses more than one.
    """
    import jax
    import jax.numpy as jnp

    updated = jax.jit(jax_step(job), donate_argnums=0)
    layers, images, targets = jax_arrays(job)

    def step(batch):
        nonlocal layers
        layers, loss = updated(layers, images, targets, batch)
        return loss

    batches = [jnp.asarray(batch.astype(np.int32)) for batch in job.batches]
    return Training(step, cycle(batches), lambda: [np.array(array) for layer in layers for array in layer])


def jax_scan(job: Job) -> ManyAtOnce:
    """JAX, many steps in one call: `lax.scan` of the step over the rows of indices, compiled as one function."""
    import jax

    updated = jax_step(job)
    layers, images, targets = jax_arrays(job)

    @partial(jax.jit, donate_argnums=0)
    def scanned(layers, images, targets, rows):
        return jax.lax.scan(lambda layers, batch: updated(layers, images, targets, batch), layers, rows)

    def many(rows):
        nonlocal layers
        layers, losses = scanned(layers, images, targets, rows)
        return losses

    return ManyAtOnce(
        many, job.batches.astype(np.int32), lambda: [np.array(array) for layer in layers for array in layer]
    )
