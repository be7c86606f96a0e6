"""Skansi's worked example: six weights after one step of gradient descent, to the book's own rounding.

The excerpt leaves out inputs, target and learning rate. The six new weights belong to inputs 0.23 and 0.82, target 1,
E = (t − y)²/2 and η = 0.7, in a network of two inputs, two hidden sigmoids and one output sigmoid, without biases.
"""

import chapter
import numpy as np

import tinygrad_vg as tg

OLD = np.array([0.1, 0.5, 0.4, 0.3, 0.2, 0.6])
BOOK = ("0.1007", "0.502", "0.4024", "0.307", "0.2373", "0.6374")


def step(weights=OLD, x=(0.23, 0.82), target=1.0, eta=0.7):
    """The weights after one step. w1, w3 lead to the first hidden neuron, w2, w4 to the second, w5, w6 to the output.

    Returns also the derivatives σ′ of the three neurons.
    """
    w = tg.nn.Parameter(weights)
    zs = [w[0] * x[0] + w[2] * x[1], w[1] * x[0] + w[3] * x[1]]
    zs.append(w[4] * tg.ops.sigmoid(zs[0]) + w[5] * tg.ops.sigmoid(zs[1]))
    y = tg.ops.sigmoid(zs[2])
    slopes = [float(tg.grad(tg.ops.sigmoid(z), z)[0]) for z in zs]
    ((target - y) ** 2 / 2).backward()
    tg.optim.SGD([w], lr=eta).step()
    return w.data, slopes


def off(value, printed):
    """By how many units of its last printed digit the book's number is off."""
    digits = len(printed.partition(".")[2])
    return abs(value - float(printed)) * 10**digits


def main():
    args = chapter.options(__doc__)
    new, slopes = step()
    moved = new - OLD
    print("weight  before  after     the book's  off by, in units of its last digit")
    for i, printed in enumerate(BOOK):
        print(f"w{i + 1}      {OLD[i]:<7} {new[i]:.5f}   {printed:<11} {off(new[i], printed):.1f}")
    print(f"w5 and w6 move by {moved[4]:.4f} and {moved[5]:.4f}, the others by {moved[:4].mean():.4f} in the mean "
          f"and by {moved[:4].max():.4f} at most: {moved[4:].mean() / moved[:4].mean():.0f} times as far")  # fmt: skip
    print(f"σ′ of the three neurons: {', '.join(f'{slope:.3f}' for slope in slopes)}: all between 0 and 1, and at most "
          "1/4")  # fmt: skip
    drawn, ax = chapter.figure(width=7)
    ax.bar([f"w{i + 1}" for i in range(6)], moved, color=[chapter.BLUE] * 4 + [chapter.ORANGE] * 2)
    ax.set(title="One step: the two weights at the output move farthest", ylabel="change of the weight")
    ax.set_xlabel("w1 to w4 lead into the hidden layer, w5 and w6 to the output")
    ax.grid(alpha=0.3, axis="y")
    chapter.write(drawn, args.out, "worked_example")


if __name__ == "__main__":
    main()
