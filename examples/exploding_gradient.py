"""The exploding chain: w = 100, and biases b_j = −100 a_{j−1} that make every z_j 0; then every w_j σ′(z_j) is 25.

The picture has the gradients of a chain of 12 such neurons beside those of a chain with weights and biases of N(0, 1).
Skansi says that with large weights a step takes us farther from the solution than we were before: this is counted.
"""

import chapter
import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import chain_factors


def exploding(depth=4, x=0.8, weight=100.0):
    """The cost (1 − a_L)²/2 of the chain, and its biases, each −w a_{j−1}."""
    a, biases = tg.Tensor(x), []
    for _ in range(depth):
        biases.append(tg.Tensor(-weight * a.data, requires_grad=True))
        a = tg.ops.sigmoid(weight * a + biases[-1])
    return (1.0 - a) ** 2 / 2, biases


def gradients(cost, biases):
    """|∂C/∂b_j| from the first neuron to the last."""
    return np.abs([float(g) for g in tg.grad(cost, biases)])


def typical(depth, x=0.8, rng=0):
    """The cost of a chain with weights and biases of N(0, 1), and its biases."""
    a, biases = tg.Tensor(x), []
    for w, b in np.random.default_rng(rng).normal(size=(depth, 2)):
        biases.append(tg.Tensor(b, requires_grad=True))
        a = tg.ops.sigmoid(w * a + biases[-1])
    return (1.0 - a) ** 2 / 2, biases


def farther(scale, eta=0.1, n=10_000, rng=0):
    """Of n chains of four neurons with weights of ± scale, z = 0 and random targets from 0 to 1: after one step of
    gradient descent the share that is farther from its target, and the share whose last σ′ is below 1/400."""
    rng = np.random.default_rng(rng)
    targets, weights = rng.uniform(size=n), scale * rng.choice([-1.0, 1.0], size=(4, n))
    biases = [-w * a for w, a in zip(weights, (0.8, 0.5, 0.5, 0.5), strict=True)]

    def end(w, b):
        a = 0.8
        for each, bias in zip(w, b, strict=True):
            a = tg.ops.sigmoid(each * a + bias)
        return a

    parameters = [tg.Tensor(p, requires_grad=True) for p in (*weights, *biases)]
    gradients = tg.grad(np.sum((targets - end(parameters[:4], parameters[4:])) ** 2 / 2), parameters)
    moved = [p.data - eta * g for p, g in zip(parameters, gradients, strict=True)]
    last = end(moved[:4], moved[4:])
    return np.mean(np.abs(targets - last) > np.abs(targets - 0.5)), np.mean(last * (1 - last) < 1 / 400)


def main():
    args = chapter.options(__doc__)
    cost, biases = exploding()
    factors = chain_factors(cost, biases[0])
    print("∂C/∂b₁ =", " · ".join(str(factor) for factor in factors))
    pairs = [factors[i].value * factors[i + 1].value for i in range(1, len(factors) - 1, 2)]
    print(f"each w_j σ′(z_j): {', '.join(f'{pair:g}' for pair in pairs)} (book: 100 · 1/4 = 25)")
    found = gradients(cost, biases)
    for j, (g, ratio) in enumerate(zip(found, [*found[:-1] / found[1:], None], strict=True), 1):
        print(f"    |∂C/∂b_{j}| = {g:<12g}" + (f"{ratio:g} times the next" if ratio else ""))
    print("chains of 4 neurons, one step with η = 0.1: farther from the target than before; saturated after the step")
    for scale in (1.0, 5.0, 25.0, 100.0):
        print("    weights of ±{:<4g} {:.1%}, {:.1%}".format(scale, *farther(scale)))
    drawn, ax = chapter.figure(width=7)
    depth, neurons = 12, range(1, 13)
    ax.semilogy(neurons, gradients(*exploding(depth)), "o-", color=chapter.ORANGE, label="w = 100, every z = 0: × 25")
    ax.semilogy(neurons, gradients(*typical(depth)), "o-", color=chapter.BLUE, label="weights and biases of N(0, 1)")
    ax.set(title="Chains of 12 neurons: one explodes, one vanishes", xlabel="neuron (1 = input side)", ylabel="|∂C/∂b|")
    ax.set_xticks(neurons)
    chapter.write(drawn, args.out, "exploding_gradient", ax)


if __name__ == "__main__":
    main()
