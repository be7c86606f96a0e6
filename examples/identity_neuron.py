"""The identity neuron: w₂σ(w₁x + b) + b₂ ≈ x on [0, 1] for small w₁; the chapter's second problem.

With x = 1/2 + Δ and b = −w₁/2, Taylor's series in w₁Δ gives σ(w₁x + b) = 1/2 + w₁Δ/4 − (w₁Δ)³/48 + ... So w₂ = 4/w₁
makes w₂σ = 2/w₁ + Δ − w₁²Δ³/12 + ...: the error falls as w₁², if the bias of the next layer takes off 2/w₁ − 1/2.
"""

import chapter
import numpy as np

import tinygrad_vg as tg

X = np.linspace(0, 1, 1001)


def identity(w1):
    """The output on [0, 1] of the neuron followed by the bias 1/2 − 2/w₁."""
    return 4 / w1 * tg.ops.sigmoid(w1 * (X - 0.5)) + 0.5 - 2 / w1


def error(w1):
    """The largest error of this output, |identity(w₁) − x|."""
    return np.abs(identity(w1) - X).max()


def leading_term(w1):
    """The term w₁²Δ³/12 at Δ = 1/2, from the third derivative of σ at 0, which the engine computes."""
    z = tg.Tensor(0.0, requires_grad=True)
    derivative = tg.ops.sigmoid(z)
    for _ in range(3):
        derivative = tg.grad(derivative, z, create_graph=True)[0]
    return abs(4 / w1 * derivative.item() / 6 * (w1 / 2) ** 3)


def best_scales(w1, b, x=X[::10]):
    """For each pair (w₁, b) the w₂ with the least largest |w₂σ(w₁x + b) − x|, and this error."""
    a = tg.ops.sigmoid(w1[:, None] * x + b[:, None])
    low, high = np.zeros(len(a)), 2 / a[:, -1]
    for _ in range(60):  # the error is convex in w₂: of three parts of the range, one without the minimum is cut off
        third = (high - low) / 3
        left, right = (np.abs(w2[:, None] * a - x).max(axis=1) for w2 in (low + third, high - third))
        low, high = np.where(left < right, low, low + third), np.where(left < right, high - third, high)
    return low, np.abs(low[:, None] * a - x).max(axis=1)


def best_without_bias(rounds=14, points=25):
    """(error, w₁, b, w₂) of the best neuron without a bias after it, on a grid that closes in on its best point."""
    middle, reach = np.array([5.0, -4.0]), np.array([5.0, 4.0])
    for _ in range(rounds):
        axes = (np.linspace(m - r, m + r, points) for m, r in zip(middle, reach, strict=True))
        w1, b = (grid.ravel() for grid in np.meshgrid(*axes))
        w2, errors = best_scales(w1, b)
        i = np.argmin(errors)
        middle, reach = np.array([w1[i], b[i]]), 0.6 * reach
    return errors[i], w1[i], b[i], w2[i]


def main():
    args = chapter.options(__doc__)
    weights = np.array([0.8, 0.4, 0.2, 0.1, 0.05, 0.025])
    print("largest error on [0, 1], and Taylor's w₁²Δ³/12 at Δ = 1/2:")
    print(*(f"    w₁ = {w1:<5} {error(w1):.3e}, {leading_term(w1):.3e}" for w1 in weights), sep="\n")
    power = np.polyfit(*np.log([weights, errors := [error(w1) for w1 in weights]]), 1)[0]
    print(f"the error falls as w₁ to the power {power:.3f} (Taylor: 2)")
    least, w1, b, w2 = best_without_bias()
    print(f"without the next bias: w₁ = {w1:.3f}, b = {b:.3f}, w₂ = {w2:.3f} is best, and has an error of {least:.4f}")
    drawn, (left, right) = chapter.figure(2, width=9)
    left.loglog(weights, errors, "o-", color=chapter.BLUE, label="largest error, with the next bias")
    left.axhline(least, color=chapter.ORANGE, label="best without the next bias")
    left.set(title=f"The error falls as $w_1^{{{power:.2f}}}$", xlabel="$w_1$", ylabel="error on [0, 1]")
    left.set_xticks(weights, [f"{w:g}" for w in weights])
    left.minorticks_off()
    right.plot(X, X, color="gray", lw=4, alpha=0.4, label="x")
    right.plot(X, identity(0.4), color=chapter.BLUE, label="$w_1$ = 0.4, with the next bias")
    right.plot(X, w2 * tg.ops.sigmoid(w1 * X + b), color=chapter.ORANGE, label="the best without the next bias")
    right.set(title="What the neuron makes of x", xlabel="x", ylabel="output")
    chapter.write(drawn, args.out, "identity_neuron", left, right)


if __name__ == "__main__":
    main()
