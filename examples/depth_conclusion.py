"""What a run of examples/mnist_depth.py says about depth, in sentences made of its accuracies and verdicts."""

from functools import cache
from itertools import pairwise

import numpy as np
from depth_experiment import has_accuracies_of_book

import tinygrad_vg as tg
from tinygrad_vg.notation import decades
from tinygrad_vg.study.comparison import MOST_SEEDS

LEVEL = 0.95  # of the intervals
ILL = {
    "vanishing": "vanishes on its way to the input",
    "shrinking": "vanishes on its way to the input",
    "exploding": "explodes on its way to the input",
    "growing": "explodes on its way to the input",
    "underflow": "becomes too small for its type",
    "dead": "arrives nowhere",
    "no gradient": "arrives nowhere",
    "not finite": "is no finite number any more",
}


@cache
def student(n, level=LEVEL):
    """The factor t of the interval mean ± t sd/√n of n ≥ 2 normal numbers: a quantile of Student's distribution.

    With t = √ν tan θ and ν = n − 1 its density is proportional to cos^(ν−1) θ, which is summed here.
    """
    edges = np.linspace(-np.pi / 2, np.pi / 2, 100_001)
    shares = np.cumsum(np.cos((edges[1:] + edges[:-1]) / 2) ** (n - 2))
    return np.sqrt(n - 1) * np.tan(np.interp((1 + level) / 2, shares / shares[-1], edges[1:]))


def half_width(values):
    """Half the interval of the mean of some seeds; NaN for one seed."""
    n = len(values)
    return student(n) * np.std(values, ddof=1) / np.sqrt(n) if n > 1 else np.nan


def final(results, args):
    """{depth: accuracies in % after the last epoch, (seed,)} of the trainings that came to their end."""
    ended = {depth: result["accuracies"] for (name, depth), result in results.items() if name == "training"}
    return {depth: 100 * ended[depth][-1] for depth in sorted(ended) if len(ended[depth]) == args.epochs}


def unfinished(results, args):
    """The depths that were asked for and whose training did not come to its end."""
    return [depth for depth in args.depths if depth not in final(results, args)]


def chance(results):
    """The accuracy in % of naming always the most frequent digit, and what chance explains at most: 3 sd more."""
    shares = [(result["chance"], result["validated"]) for (name, _), result in results.items() if name == "training"]
    share, n = shares[0]
    return 100 * share, 100 * (share + 3 * np.sqrt(share * (1 - share) / n))


def learners(results, args):
    """The depths at which all seeds are better than chance, those at which none is, and the others."""
    accuracies, limit = final(results, args), chance(results)[1]
    learned = {depth: (values > limit).mean() for depth, values in accuracies.items()}
    return (
        [depth for depth in learned if learned[depth] == 1],
        [depth for depth in learned if learned[depth] == 0],
        [depth for depth in learned if 0 < learned[depth] < 1],
    )


def headline(results, args):
    """The conclusion in a line, for a title, and in a second one what is not finished; an empty text if nothing is."""
    if not final(results, args):
        return ""
    all_learn, lost, _ = learners(results, args)
    parts = []
    if len(all_learn) > 1:
        enough, gain, half = gain_by_depth(final(results, args), all_learn)
        helps = f"depth helps up to {layers(enough)}" if gain > half else "no gain by depth is certain"
        parts.append("depth does not help" if gain <= 0 else helps)
    if lost:
        parts.append(f"{where(lost, results, args)} nothing is learned")
    text = "; ".join(parts)
    gaps = unfinished(results, args)
    return text[:1].upper() + text[1:] + (f"\n(not finished: {several_layers(gaps)})" if gaps else "")


def conclusion(results, args):
    """Whether depth helps, where nothing is learned, and the cause, as ledger and verdict have it: sentences."""
    accuracies = final(results, args)
    if not accuracies:
        return ["No training came to its end: there is nothing to conclude about depth."]
    all_learn, lost, some = learners(results, args)
    sentences = []
    if gaps := unfinished(results, args):
        sentences.append(f"Training with {several_layers(gaps)} is not finished, and the conclusion is without it.")
    sentences += of_depth(accuracies, all_learn) + of_pairs(accuracies, all_learn, has_accuracies_of_book(args))
    for depth in some:
        count = int((accuracies[depth] > chance(results)[1]).sum())
        sentences.append(f"With {layers(depth)} {count} of {len(accuracies[depth])} seeds learn.")
    if lost:
        deeper = [depth for depth in all_learn if depth < lost[0]]
        sentences += of_lost(results, args, lost, deeper[-1] if deeper else None)
    return sentences


def of_depth(accuracies, depths):
    """Sentences about the depths at which all seeds learn."""
    if not depths:
        return []
    means = {depth: f"{accuracies[depth].mean():.2f} %" for depth in depths}
    first, *deeper = depths
    if not deeper:
        return [f"Only with {layers(first)} all seeds learn ({means[first]}): there is no depth to compare."]
    enough, gain, half = gain_by_depth(accuracies, depths)
    if gain <= 0:
        return [f"Depth does not help: {means[first]} with {layers(first)}, {at(means, deeper)}."]
    seeds = len(accuracies[enough])
    points = f"{gain:.2f} points" + (f" ± {half:.2f}, the {LEVEL:.0%} interval of {seeds} seeds" if seeds > 1 else "")
    if not gain > half:  # as with one seed, which has no interval
        return [f"No gain by depth is certain: {at(means, depths)}, at most {points} more."]
    sentences = [f"Depth helps up to {layers(enough)}: {means[enough]}, with {first} {means[first]} (gain {points})."]
    if more := [depth for depth in depths if depth > enough]:
        sentences.append(f"More layers help no more: {at(means, more)}.")
    return sentences


def of_pairs(accuracies, depths, has_book):
    """Sentences about the steps from one depth to the next, by an exact test that is corrected for all pairs.

    There are none if there are so few seeds that no difference could be significant.
    """
    if len(depths) < 2:
        return []
    seeds, pairs = len(accuracies[depths[0]]), len(depths) * (len(depths) - 1) // 2
    if pairs * 2 / 2**seeds > 1 - LEVEL or seeds > MOST_SEEDS:
        return []
    found = tg.study.compare(tg.study.Table({
        "hidden_layers": np.repeat(depths, seeds), "seed": np.tile(np.arange(seeds), len(depths)),
        "epoch": np.ones(len(depths) * seeds, int),
        "validation_accuracy": np.concatenate([accuracies[depth] for depth in depths]) / 100,
    }), "hidden_layers")  # fmt: skip
    rows = zip(*(found[name].tolist() for name in ("first", "second", "difference", "p_holm")), strict=True)
    tested = {(first, second): (f"{decades(100 * gain)} points from {first} to {second}", p)
              for first, second, gain, p in rows}  # fmt: skip
    told = listed("{} (p = {:.2g})".format(*tested[pair]) for pair in pairwise(depths))
    corrected = f", p corrected for {pairs} pairs of depths" if pairs > 1 else ""
    sentences = [f"By a paired test over {seeds} seeds{corrected}: {told}."]
    if has_book and (3, 4) in tested:
        said = "is significant" if tested[3, 4][1] < 1 - LEVEL else "is not shown to be significant"
        sentences.append(f'The step from 3 to 4, in the book "probably not a statistically significant drop", {said}.')
    return sentences


def gain_by_depth(accuracies, depths):
    """The depth from which on no gain is certain, its mean gain over the first depth, and half the interval of that.

    If no gain is certain at all, it is the depth of the highest mean.
    """
    best = max(depths, key=lambda depth: accuracies[depth].mean())
    left = {depth: accuracies[best] - accuracies[depth] for depth in depths if depth <= best}  # still to be gained
    enough = next(depth for depth, gains in left.items() if not gains.mean() > half_width(gains))
    enough = best if enough == depths[0] else enough
    gains = accuracies[enough] - accuracies[depths[0]]
    return enough, gains.mean(), half_width(gains)


def at(means, depths):
    """The means of some depths, in words."""
    return listed(f"{means[depth]} with {depth}" for depth in depths)


def of_lost(results, args, lost, deepest):
    """Sentences about the depths at which no seed learns; `deepest` is the deepest one that learns."""
    depth, values = lost[0], final(results, args)[lost[0]]
    text = f"{where(lost, results, args)} nothing is learned: the accuracy of {values.mean():.2f} % is chance "
    text += f"(naming always the most frequent digit gives {chance(results)[0]:.2f} %)"
    verdicts = verdicts_of(results, args, depth)
    ill = [verdict.state for verdict in verdicts.values() if is_ill(verdict)]
    of = f"of {layers(depth)}, " if len(lost) > 1 else ""
    if not ill:
        return [f"{text[:1].upper()}{text[1:]}.",
                f"The gradient is not the cause: {of}{way(verdicts)}. Try another learning rate (--lr)."]  # fmt: skip
    sentences = [f"{text[:1].upper()}{text[1:]}, because the gradient {ILL[ill[0]]}: {of}{way(verdicts)}."]
    if deepest is not None:
        sentences.append(f"With {layers(deepest)}, which learn, {way(verdicts_of(results, args, deepest))}.")
    return sentences


def verdicts_of(results, args, depth):
    """The verdicts of a depth that there are, by the time that they are of."""
    times = {"at the start": ("descent", depth), f"after {args.epochs} epochs": ("training", depth)}
    return {when: results[key]["verdict"] for when, key in times.items() if key in results}


def way(verdicts):
    """What becomes of the gradient from the last layer to the first, at each time."""
    return ", ".join(f"{when} it {change(verdict)}" for when, verdict in verdicts.items())


def is_ill(verdict):
    """Whether a verdict names a gradient that can keep a network from learning: by a decade and more, or by its end."""
    return verdict.state in ILL and (verdict.severity is not None or not np.isfinite(verdict.total))


def change(verdict):
    """What becomes of a gradient, in decades, and by what."""
    if not np.isfinite(verdict.total):
        return f"is lost ({verdict})"
    if verdict.severity is None:
        return f"keeps its size to a decade ({decades(verdict.total, 1)})"
    cause = {"activation": f" (by the slopes of {verdict.between})", "weights": " (by the weights)"}
    size = f"{decades(abs(verdict.total), 1).removeprefix('+')} decades"
    return f"{'shrinks' if verdict.total < 0 else 'grows'} by {size}{cause.get(verdict.cause, '')}"


def where(lost, results, args):
    """The depths at which nothing is learned, in words."""
    onwards = lost == [depth for depth in final(results, args) if depth >= lost[0]] and len(lost) > 1
    if onwards:
        return f"from {layers(lost[0])} on"
    return f"with {several_layers(lost)}"


def layers(depth):
    return f"{depth} hidden layer{'s' * (depth > 1)}"


def several_layers(depths):
    return f"{listed(map(str, depths))} hidden layer{'s' * (depths != [1])}"


def listed(words):
    """Words as a list in a sentence: a, b and c."""
    *some, last = words
    return f"{', '.join(some)} and {last}" if some else last


def words(value):
    """A number, or a list of numbers, in words."""
    return listed(map(str, value)) if isinstance(value, list) else str(value)
