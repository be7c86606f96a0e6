"""Gradient graphs: pictures of networks with the factors of the chain rule on their edges.

    strip       Eq. 122 of Nielsen's chapter 5 on his chain of four neurons: pairs, products, and the curve of σ′;
    pair        this chain, and below it one with w = 100 and biases that make every z 0, on one scale;
    chain       the first of them by operation: the factor of the chain rule on every edge;
    exploding   the second of them by operation: each w σ′(z) is 25;
    layers      [784, 30, 30, 30, 30, 10] on 1,000 digits: the decades lost in each step, by σ′ and by weights;
    path        the strongest path through this network for one digit, neuron by neuron;
    neurons     [784, 30, 30, 10]: six neurons of each layer with their bars of ∂C/∂b, and the strongest path.

The pictures are written to runs/gradient_graph/ as SVG; --out names another folder, --format another format.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg import draw
from tinygrad_vg.instruments import Ledger, chain_factors, diagnose

OUT = Path("runs/gradient_graph")


def parameter(value, name):
    return tg.Tensor(value, requires_grad=True, name=name)


def chain(weights, biases, x):
    """One neuron in each layer, z_j = w_j a_{j−1} + b_j and a_j = σ(z_j): the cost (1 − a₄)²/2, and b₁."""
    w = [parameter(value, f"w{j}") for j, value in enumerate(weights, 1)]
    b = [parameter(value, f"b{j}") for j, value in enumerate(biases, 1)]
    a = x
    for j in range(len(w)):
        a = tg.ops.sigmoid(w[j] * a + b[j])
    cost = (1.0 - a) ** 2 / 2
    cost.backward()
    print(*chain_factors(cost, b[0]), f"product: ∂C/∂b₁ = {b[0].grad:.3g}", sep="\n  ")
    return cost, b[0]


def exploding_biases(weights, x):
    """Biases that make every z_j 0, where σ′ is largest."""
    activations = [x] + [0.5] * (len(weights) - 1)
    return [-w * a for w, a in zip(weights, activations, strict=True)]


def cost_on_digits(net, n):
    images, labels = tg.datasets.mnist("train", dtype=np.float64)
    cost = tg.nn.BCEWithLogitsLoss("batchmean")(net(images[:n]), np.eye(10)[labels[:n]])
    cost.backward()
    return cost


def pictures():
    rng = np.random.default_rng(1)
    vanishing, b1 = chain(rng.normal(size=4), rng.normal(size=4), 0.8)
    exploding, large_b1 = chain([100.0] * 4, exploding_biases([100.0] * 4, 0.8), 0.8)
    yield "strip", draw.chain(vanishing, b1)
    yield "pair", draw.chain([vanishing, exploding], [b1, large_b1])
    yield "chain", draw.graph(vanishing)
    yield "exploding", draw.graph(exploding)
    net = tg.nn.mlp([784, 30, 30, 30, 30, 10], rng=0)
    cost = cost_on_digits(net, 1000)
    print(diagnose(Ledger.of(net, cost)))
    yield "layers", draw.layers(net, cost, expand=True)
    yield "path", draw.neurons(net, cost)
    net = tg.nn.mlp([784, 30, 30, 10], rng=0)
    yield "neurons", draw.neurons(net, cost_on_digits(net, 1000), first=6, rankdir="LR")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for the pictures, {OUT} by default")
    parser.add_argument("--format", choices=["svg", "png", "pdf", "dot"], default="svg")
    options = parser.parse_args()
    if sys.stdout:  # None where it is closed
        sys.stdout.reconfigure(errors="replace")  # not every terminal can show σ
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: {options.out} cannot be made: {error.strerror}; write the path of a folder")
    for name, picture in pictures():
        path = options.out / f"{name}.{options.format}"
        draw.save(picture, path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
