"""Why depth should help: circuits that compute the parity of n bits, and the pieces of a network of ReLUs.

The circuits are built, and run on all 2ⁿ inputs. In two layers, of gates with many inputs, parity needs a gate for each
odd input. A deep circuit takes parities of pairs, and parities of these, four gates each. Zigzags, with two ReLUs in
each layer, double the pieces with every layer (Montúfar et al. 2014); in one layer a ReLU adds one piece at most.
"""

import chapter
import numpy as np

import tinygrad_vg as tg

BITS, LAYERS = range(2, 13), range(1, 9)


def all_inputs(n):
    """All 2ⁿ inputs of n bits, (2ⁿ, n) of bool."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def shallow(bits, wanted):
    """Any function in two layers of NANDs with many inputs, (2ⁿ,), and the number of gates.

    A NAND of the first layer is 0 for one input, and the NAND of these is 1 where one of them is 0. For parity there is
    no smaller circuit of this form: a gate that leaves out a bit is 0 for two inputs of different parity.
    """
    first = np.array([~np.all(bits == pattern, axis=1) for pattern in bits[wanted]])  # each bit as it is, or negated
    return ~np.all(first, axis=0), len(first) + 1


def deep(bits):
    """Parity by pairs, the number of gates of two inputs, and the number of layers of gates."""
    wires, gates, layers = list(bits.T), 0, 0
    while len(wires) > 1:
        pairs = [*zip(wires[:-1:2], wires[1::2], strict=True)]
        sides = [(~(a & ~(a & b)), ~(b & ~(a & b))) for a, b in pairs]  # XOR of four NANDs in three layers
        wires = [~(left & right) for left, right in sides] + wires[2 * len(pairs) :]
        gates, layers = gates + 4 * len(pairs), layers + 3
    return wires[0], gates, layers


def zigzag(layers):
    """A network (1, 2, ..., 2, 1) that folds [0, 1] in each layer of two ReLUs: 2 relu(x) − 4 relu(x − 1/2)."""
    net = tg.nn.mlp([1, *[2] * layers, 1], tg.nn.ReLU)
    for layer in net[::2]:
        n = layer.out_features
        layer.weight.data, layer.bias.data = np.array([[2.0, -4.0]] * n), np.array([0.0, -0.5])[:n]
    net[0].weight.data = np.ones((2, 1))
    return net


def pieces(net, points=2**15):
    """The number of linear pieces of a network on [0, 1]: where its slope changes, from the middles of a fine grid."""
    x = tg.Tensor((np.arange(points)[:, None] + 0.5) / points, requires_grad=True)
    (slope,) = tg.grad(np.sum(net(x)), x)
    return 1 + int(np.sum(np.abs(np.diff(slope[:, 0])) > 1e-9 * np.abs(slope).max()))


def main():
    args, counts = chapter.options(__doc__), []
    print("parity of n bits: gates (layers) with two layers, and with pairs of pairs; all outputs are right")
    for n in BITS:
        wanted = (bits := all_inputs(n)).sum(axis=1) % 2 == 1
        (flat, few), (tree, gates, layers) = shallow(bits, wanted), deep(bits)
        np.testing.assert_array_equal([flat, tree], [wanted, wanted])
        counts.append((few, gates))
        print(f"    {n:2} bits: {few:5} (2), {gates:3} ({layers})")
    found = [(pieces(zigzag(layers)), 2 * layers + 1) for layers in LAYERS]
    print("pieces on [0, 1] of a zigzag with two ReLUs a layer (and of as many ReLUs in one layer, at most)")
    print("   ", ", ".join(f"{folded} ({flat})" for folded, flat in found))
    drawn, (left, right) = chapter.figure(2, width=9)
    left.semilogy(BITS, counts, "o-", label=["two layers", "pairs of pairs"])
    left.set(title="Gates that compute parity", xlabel="bits", ylabel="gates")
    right.semilogy(LAYERS, found, "o-", label=["folded in each layer", "as many ReLUs in one layer, at most"])
    right.set(title="Linear pieces of networks of ReLUs", xlabel="layers of two ReLUs", ylabel="pieces on [0, 1]")
    chapter.write(drawn, args.out, "depth_as_power", left, right)


if __name__ == "__main__":
    main()
