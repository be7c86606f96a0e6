"""Where |wσ′(wa+b)| ≥ 1: the chapter's first problem. Large weights help only for few input activations a.

(1) It needs |w| ≥ 4. (2) The activations for which it holds are an interval no wider than (2/|w|) ln(|w|(1 +
√(1 − 4/|w|))/2 − 1). (3) This width is greatest at |w| ≈ 6.9, where it is about 0.45.
"""

import chapter
import numpy as np

import tinygrad_vg as tg


def gain(w, a, b=0.0):
    """|wσ′(wa+b)|; the engine computes σ′."""
    z = tg.Tensor(np.asarray(w * a + b, float), requires_grad=True)
    return np.abs(w * tg.grad(np.sum(tg.ops.sigmoid(z)), z)[0])


def width(w):
    """Eq. 123 for |w| ≥ 4."""
    w = np.abs(w)
    return 2 / w * np.log(w * (1 + np.sqrt(1 - 4 / w)) / 2 - 1)


def measured_width(w, b=0.0, points=400_001):
    """The length of the set of a with |wσ′(wa+b)| ≥ 1, on a fine grid around a = −b/w, where wa+b is 0."""
    a = np.linspace(-1, 1, points) - b / w
    return np.mean(gain(w, a, b) >= 1) * 2


def widest(low=4.0, high=20.0):
    """The |w| of the greatest width: the zero of the derivative of Eq. 123, by Newton's method from a grid's best."""
    grid = np.linspace(low, high, 1001)
    w = tg.Tensor(grid[np.argmax(width(grid))], requires_grad=True)
    for _ in range(20):
        (slope,) = tg.grad(width(w), w, create_graph=True)
        (curvature,) = tg.grad(slope, w)
        w = tg.Tensor(w.data - slope.item() / curvature.item(), requires_grad=True)
    return w.item()


def main():
    args = chapter.options(__doc__)
    a, weights = np.linspace(-3, 3, 1201), np.linspace(-12, 12, 2401)
    largest = gain(weights[:, None], a).max(axis=1)
    smallest = np.abs(weights[largest >= 1 - 1e-12]).min()
    print(f"(1) the smallest |w| of the grid with |wσ′(wa)| ≥ 1 for some a: {smallest:.2f} (book: 4)")
    print("(2) the width of the interval of a, on a grid, and by Eq. 123:")
    for w, b in ((4.5, 0.0), (6.9, -2.0), (10.0, 3.0), (-20.0, 1.0)):
        print(f"    w = {w:5}, b = {b:4}: {measured_width(w, b):.5f}, {width(w):.5f}")
    best = widest()
    print(f"(3) greatest at |w| = {best:.4f}, where it is {width(best):.5f} (book: 6.9 and 0.45)")
    drawn, (left, right) = chapter.figure(2, width=9)
    drawn.get_layout_engine().set(wspace=0.06)
    w = np.linspace(-25, 25, 1501)
    a = np.linspace(-1, 1, 801)
    lines = left.contourf(w, a, gain(w, a[:, None]), levels=[0, 0.25, 0.5, 1, 2, 4, 8],
                          colors=["#f4f4f4", "#dcdcdc", "#bdbdbd", "#f6c58f", "#ea9244", "#c75a10"])  # fmt: skip
    drawn.colorbar(lines, ax=left, label="|wσ′(wa)|; orange: 1 and more")
    left.set(title="The gradient survives in the orange", xlabel="weight w", ylabel="a, measured from −b/w")
    w = np.linspace(4, 40, 2000)
    right.plot(w, width(w), color=chapter.BLUE)
    right.plot([best], [width(best)], "o", color=chapter.ORANGE)
    right.annotate(f"|w| = {best:.4f}\nwidth {width(best):.5f}", (best, width(best)), (8, 4),
                   textcoords="offset points")  # fmt: skip
    right.set(title="Width of the orange, along a (Eq. 123)", xlabel="|w|", ylim=(0, 0.52))
    right.grid(alpha=0.3)
    chapter.write(drawn, args.out, "where_gradients_survive")


if __name__ == "__main__":
    main()
