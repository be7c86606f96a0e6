"""One neuron in each layer: the factors of Eq. 122, the cascade of Eqs. 114-121, and ∂C/∂b₁ beside ∂C/∂b₃.

The book's chain has no numbers: weights and biases are drawn from N(0, 1), a₀ = 0.8, and the cost is (1 − a₄)²/2. What
the book says of typical chains is counted over 100,000 of them.
"""

import chapter
import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import cascade, chain_factors


def chain(weights, biases, x=0.8):
    """(1 − a₄)²/2 of a chain a_j = σ(w_j a_{j−1} + b_j), its biases b and activations a. Arrays are many chains."""
    b = [tg.Tensor(bias, requires_grad=True) for bias in biases]
    a = [x]
    for w, bias in zip(weights, b, strict=True):
        a.append(tg.ops.sigmoid(w * a[-1] + bias))
    return (1.0 - a[-1]) ** 2 / 2, b, a[1:]


def steps_by_jvp(weights, biases, x=0.8):
    """The changes that Δb₁ = 1 causes to first order: Δa₁, Δz₂, Δa₂, ..., Δa₄, ΔC; one forward-mode sweep."""
    b1 = tg.Tensor(biases[0], requires_grad=True)
    moved = {"Δa₁": tg.ops.sigmoid(weights[0] * x + b1)}
    a = moved["Δa₁"]
    for j, (w, b) in enumerate(zip(weights[1:], biases[1:], strict=True), 2):
        z = w * a + b
        a = tg.ops.sigmoid(z)
        moved |= {f"Δz{'₀₁₂₃₄'[j]}": z, f"Δa{'₀₁₂₃₄'[j]}": a}
    moved["ΔC"] = (1.0 - a) ** 2 / 2
    return dict(zip(moved, (float(value) for value in tg.jvp(list(moved.values()), b1, 1.0)), strict=True))


def typical(n=100_000, rng=0):
    """Of n chains the shares with |w| < 1, with |wσ′| < 1/4 and with |∂C/∂b₃ : ∂C/∂b₁| ≥ 16, and its median."""
    w, b = np.random.default_rng(rng).normal(size=(2, 4, n))
    cost, biases, activations = chain(w, b)
    slopes = [tg.grad(np.sum(a), bias)[0] for a, bias in zip(activations, biases, strict=True)]  # σ′(z_j) = ∂a_j/∂b_j
    of_b1, of_b3 = tg.grad(np.sum(cost), [biases[0], biases[2]])
    ratio = np.abs(of_b3 / of_b1)
    return {"|w| < 1": np.mean(np.abs(w) < 1), "|wσ′| < 1/4": np.mean(np.abs(w * slopes) < 0.25),
            "median": np.median(ratio), "16 or more": np.mean(ratio >= 16)}  # fmt: skip


def main():
    args = chapter.options(__doc__)
    rng = np.random.default_rng(1)
    w, b = rng.normal(size=4), rng.normal(size=4)
    cost, biases, _ = chain(w, b)
    cost.backward()
    factors = chain_factors(cost, biases[0])
    print("Eq. 122:", " · ".join(f"{factor.label}" for factor in factors))
    print(*(f"    {factor}" for factor in factors), sep="\n")
    print(f"    product {np.prod([f.value for f in factors]):.6e}, by backpropagation {biases[0].grad:.6e}")
    print("Eqs. 114-121, Δb₁ = 1:", ", ".join(f"{label} = {value:.3g}" for label, value in steps_by_jvp(w, b).items()))
    print(f"    the instrument `cascade` ends with ΔC = {cascade(cost, biases[0])[-1].value:.3g}")
    print(f"∂C/∂b₁ = {biases[0].grad:.2e}, ∂C/∂b₃ = {biases[2].grad:.2e}: ÷ {biases[2].grad / biases[0].grad:.0f}")
    numbers = typical()
    print("Of 100,000 such chains (book: usually):")
    print(f"    |w| < 1 in {numbers['|w| < 1']:.1%}, |w_j σ′(z_j)| < 1/4 in {numbers['|wσ′| < 1/4']:.1%}")
    print(f"    |∂C/∂b₃ : ∂C/∂b₁| ≥ 16 in {numbers['16 or more']:.1%}, its median is {numbers['median']:.0f}")
    drawn, (left, right) = chapter.figure(2, width=9)
    tg.plots.slope_curve(tg.nn.Sigmoid, left)
    left.set_title("The slope of σ is never above 1/4")
    left.legend().remove()
    values = [abs(factor.value) for factor in factors]
    right.bar([f.label for f in factors], values, color=[chapter.BLUE if "′" in f.label else "gray" for f in factors])
    right.set(yscale="log", title="The factors of Eq. 122, one chain", ylabel="|factor|", ylim=(0.1, 2))
    right.set_yticks([0.1, 0.25, 0.5, 1, 2], ["0.1", "1/4", "0.5", "1", "2"])
    right.minorticks_off()
    right.tick_params(axis="x", rotation=45)
    chapter.write(drawn, args.out, "single_neuron_chain")


if __name__ == "__main__":
    main()
