"""Does regularization make the vanishing gradient worse? Weight decay λ/n on sigmoid nets with 5 and 6 hidden layers.

Skansi (5.5) says that it does. Nielsen's nets, [784, 30, ..., 30, 10] at η = 0.1 and batches of 10, learn with five
hidden layers and do not with six, at λ = 5. This script trains both at λ = 0, 1, 5 and 25 and asks whether the cliff is
the work of λ. The figure has the accuracy of each net after each epoch.
"""

import chapter
import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder

LAMBDAS, DEPTHS, SEEDS, EPOCHS = (0.0, 1.0, 5.0, 25.0), (5, 6), 4, 30
LEARNED = 50  # from this accuracy on, in %, a net has left chance


def training(case, images=None, seeds=SEEDS, epochs=EPOCHS, report=lambda share: False):
    """Accuracy in % and log10‖∂C/∂b‖ of layer 1 after each epoch, (epoch, 2, seed); case = (hidden layers, λ).

    All λ have equal initial nets and batches. Accuracy is on 1,000 validation images, after the last epoch on all.
    """
    (depth, decay), (images, _, targets) = case, chapter.digits(images)
    net, n, rng, rows = chapter.ensemble(depth, range(seeds)), len(images), np.random.default_rng(0), []
    step = chapter.step_of(net, chapter.optimizer(net, n, decay))
    for epoch in range(1, epochs + 1):
        step.over(rng.permutation(n).reshape(-1, chapter.BATCH), images, targets)
        stop = report(epoch / epochs)
        accuracy = accuracy_of(net, *chapter.digits(None if stop or epoch == epochs else 1000, "validation"))
        rows.append([accuracy, first_layer(net, images[:1000], targets[:1000])])
        if stop:
            break
    return np.array(rows)


def accuracy_of(net, images, labels, _):
    """The share of images that are classified correctly, in %, (seed,)."""
    with tg.no_grad():
        return 100 * (np.argmax(net(images), axis=-1) == labels).mean(axis=-1)


def first_layer(net, images, targets):
    """log10‖∂C/∂b‖ of the first layer, (seed,)."""
    with GradientRecorder(net) as recorder:
        tg.nn.BCEWithLogitsLoss("batchmean")(net(images), targets).backward()
    net.zero_grad()
    return recorder.history.log10_norm[0, 0]


def row(case, curve):
    """A row of the table: accuracy, mean ± sd; nets that have left chance, and when; the last gradient of layer 1."""
    final, left = curve[-1, 0], curve[:, 0] > LEARNED
    began = 1 + left[:, left.any(axis=0)].argmax(axis=0)
    when = f"{began.min()} to {began.max()}" if began.size else "-"
    mean, share = f"{final.mean():.2f} ± {final.std(ddof=1):.2f}", f"{began.size} of {len(final)}"
    return f"{case[0]:6} {case[1]:4g} {len(curve):7} {mean:>16}   {share:>7}  {when:>10}   {curve[-1, 1].mean():13.2f}"


def main():
    args = chapter.options(__doc__, quick="5,000 images, 2 seeds and 2 epochs in place of 50,000, 4 and 30")
    cases = [(depth, decay) for decay in LAMBDAS[::-1] for depth in DEPTHS]
    results = chapter.in_processes(training, cases, *((5000, 2, 2) if args.quick else ()))
    print("hidden    λ  epochs    validation, %   learned  from epoch log10‖∂C/∂b₁‖")
    for case in sorted(results):
        print(row(case, results[case]))
    drawn, axes = chapter.figure(len(LAMBDAS), len(DEPTHS), width=11, height=5, sharex=True, sharey=True)
    for ax, (depth, decay) in zip(axes.flat, sorted(results), strict=True):
        curve = results[depth, decay][:, 0]
        ax.plot(range(1, len(curve) + 1), curve, color=chapter.BLUE, lw=1)
        ax.set_title(f"{depth} hidden layers, λ = {decay:g}", fontsize="medium")
        ax.grid(alpha=0.3)
    drawn.supxlabel("epoch")
    drawn.supylabel("validation accuracy, % (each seed)")
    chapter.write(drawn, args.out, "regularization_and_depth")


if __name__ == "__main__":
    main()
