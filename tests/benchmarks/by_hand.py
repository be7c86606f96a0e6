"""A job in NumPy by hand: the floor, what training costs where nothing but arithmetic is left.

Every array lies ready before the first step, and every operation writes into one. All parameters are one vector and
all gradients another, so that the descent is three operations whatever the depth. The formulas are the short ones,
σ = 1/(1 + exp(−z)) and σ′ = σ(1 − σ), without care for |z| beyond 80.
"""

from itertools import cycle

import numpy as np

from tests.benchmarks.jobs import Job, Training


def vector_and_views(shapes: list[tuple[int, ...]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """A vector of float32, and its parts as arrays of these shapes."""
    ends = np.cumsum([0, *map(np.prod, shapes)])
    vector = np.zeros(ends[-1], np.float32)
    return vector, [vector[ends[i] : ends[i + 1]].reshape(shape) for i, shape in enumerate(shapes)]


def by_hand(job: Job) -> Training:
    arrays = [array for layer in job.start for array in layer]
    parameters, views = vector_and_views([array.shape for array in arrays])
    gradients, gradient_views = vector_and_views([array.shape for array in arrays])
    for view, array in zip(views, arrays, strict=True):
        view[...] = array
    weights, biases = views[::2], views[1::2]
    transposed = [weight.mT for weight in weights]
    bias_rows = [bias[..., None, :] for bias in biases]  # of an ensemble (R, 1, out): added to each row of a batch
    weight_gradients, bias_gradients = gradient_views[::2], gradient_views[1::2]

    x = np.empty((job.batch, job.images.shape[1]), np.float32)
    t = np.empty((job.batch, job.targets.shape[1]), np.float32)
    outputs = [np.empty((*bias.shape[:-1], job.batch, bias.shape[-1]), np.float32) for bias in biases]
    errors = [np.empty_like(output) for output in outputs]
    turned_errors = [error.mT for error in errors]
    spare = np.empty_like(outputs[-1])
    inputs = [x, *outputs[:-1]]
    last = len(weights) - 1
    lr, keep, share = job.lr, 1 - job.lr * job.weight_decay, 1 / job.batch

    def step(batch):
        # mode="clip": by default NumPy fills a buffer of its own first, in case an index is wrong.
        np.take(job.images, batch, axis=0, out=x, mode="clip")
        np.take(job.targets, batch, axis=0, out=t, mode="clip")
        for i, z in enumerate(outputs):
            np.matmul(inputs[i], transposed[i], out=z)
            np.add(z, bias_rows[i], out=z)
            if i < last:
                np.negative(z, out=z)
                np.exp(z, out=z)
                np.add(z, 1, out=z)
                np.reciprocal(z, out=z)

        # With s = 1 + exp(−z), the loss is Σ (z + ln s − t z) and its slope in z is 1/s − t.
        z, error = outputs[last], errors[last]
        np.negative(z, out=spare)
        np.exp(spare, out=spare)
        np.add(spare, 1, out=spare)
        np.reciprocal(spare, out=error)
        np.subtract(error, t, out=error)
        np.multiply(error, share, out=error)
        np.log(spare, out=spare)
        np.add(spare, z, out=spare)
        np.multiply(z, t, out=z)
        np.subtract(spare, z, out=spare)
        loss = np.add.reduce(spare, axis=None) * share

        for i in range(last, -1, -1):
            np.matmul(turned_errors[i], inputs[i], out=weight_gradients[i])
            np.add.reduce(errors[i], axis=-2, out=bias_gradients[i])
            if i:
                error, y = errors[i - 1], inputs[i]
                np.matmul(errors[i], weights[i], out=error)
                np.multiply(error, y, out=error)
                np.subtract(1, y, out=y)
                np.multiply(error, y, out=error)

        np.multiply(gradients, lr, out=gradients)
        np.multiply(parameters, keep, out=parameters)
        np.subtract(parameters, gradients, out=parameters)
        return loss

    return Training(step, cycle(job.batches), lambda: [view.copy() for view in views])
