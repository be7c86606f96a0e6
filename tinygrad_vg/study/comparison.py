"""Comparison: do networks of different depth differ in accuracy by more than chance? An exact test, paired by seeds."""

from itertools import combinations
from typing import Any

import numpy as np

from tinygrad_vg.study.table import Table

MOST_SEEDS = 40  # of the exact test: two halves of 2²⁰ sums
_MEASURED = ("seed", "epoch", "validation_accuracy", "validation_cost")
_DEPTH = {"sizes", "hidden_layers"}  # one setting under two names
_FREE = {"trial", "members_at_once", "every"}  # they change no accuracy, but for rounding


def compare(table: Table, by: str = "sizes") -> Table:
    """Compare the accuracies after the last epoch, for each pair of values of a setting.

    Trials are paired by their seeds: equal seeds have equal orders of the images. The test is exact. Under the
    hypothesis that the setting does not matter, each difference of a seed may have either sign; p is the share of all
    2ⁿ choices of signs whose mean is at least as far from 0 as the measured one (Fisher 1935; two-sided). With n seeds
    p is 2/2ⁿ or more. `p_holm` is corrected for the number of pairs by Holm's method (1979): if all that have p_holm
    below 0.05 are called different, the chance that any of these calls is wrong is at most 5 %.

    Args:
        table: the results of a study, with two or more seeds of each trial.
        by: the column whose values are compared, a setting of `Trial` or "hidden_layers".

    Returns:
        A row for each pair: `first` and `second`, the values; `seeds`, the number n of seeds that both have;
        `difference`, the mean of second − first; `deviation`, the standard deviation of the differences; `d_z`, their
        quotient, a size of the effect that does not grow with n (NaN if all differences are equal); `p`; and `p_holm`.

    Raises:
        ValueError: if there is no such column, it has one value, trials differ in another setting too, or a pair has
            fewer than 2 common seeds or more than 40.

    >>> columns = {"sizes": np.repeat(["784-10", "784-30-10"], 4), "seed": np.tile(np.arange(4), 2)}
    >>> accuracy = np.array([0.90, 0.91, 0.92, 0.90, 0.94, 0.96, 0.95, 0.95])
    >>> table = Table(columns | {"epoch": np.ones(8, int), "validation_accuracy": accuracy})
    >>> found = compare(table)
    >>> found["difference"].round(4), found["d_z"].round(2), found["p"]
    (array([0.0425]), array([4.44]), array([0.125]))
    """
    groups = _groups(table, by)
    columns: dict[str, list[Any]] = {"first": [], "second": [], "seeds": [], "difference": [], "deviation": [],
                                     "d_z": [], "p": []}  # fmt: skip
    for first, second in combinations(groups, 2):
        differences = _differences(groups, first, second, by)
        mean, deviation = differences.mean(), differences.std(ddof=1)
        same = np.ptp(differences) <= 1e-12  # of numbers that are shares
        row = (first, second, len(differences), mean, deviation, np.nan if same else mean / deviation,
               sign_flip_p(differences))  # fmt: skip
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    arrays = {name: np.array(column) for name, column in columns.items()}
    return Table(arrays | {"p_holm": holm(arrays["p"])})


def sign_flip_p(differences: Any) -> float:
    """Of all signs of n differences, the share whose sum is at least as far from 0 as that of the differences.

    The sums of all 2ⁿ signs are a sum of the first half and one of the second half, so that 2·2^(n/2) sums are enough:
    for each of one half the sorted other half tells how many are far enough.

    >>> sign_flip_p([1.0, 2.0, 3.0])
    0.25
    """
    d = np.asarray(differences, np.float64)
    one, other = _sums(d[: len(d) // 2]), np.sort(_sums(d[len(d) // 2 :]))
    least = abs(d.sum()) - 1e-9 * np.abs(d).sum()  # sums that are equal differ by rounding
    far = len(other) - np.searchsorted(other, least - one, "left") + np.searchsorted(other, -least - one, "right")
    return float(min(1.0, far.sum() / 2.0 ** len(d)))


def holm(p: Any) -> Any:
    """Holm's correction of m p-values: the smallest times m, the next times m − 1, ..., rising and at most 1.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def _sums(values: Any) -> Any:
    """The sums of all 2ⁿ choices of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _groups(table: Table, by: str) -> dict[Any, dict[int, float]]:
    """For each value of the column the last accuracy of each seed, in the order of the table."""
    settings = [name for name in table.columns if name not in _MEASURED]
    if by not in settings:
        raise ValueError(f"there is no setting {by!r} to compare; the settings are {', '.join(settings)}")
    values = [*dict.fromkeys(table[by].tolist())]
    if len(values) < 2:
        raise ValueError(f"all finished trials have {by}={values[0]!r}: nothing to compare" if values
                         else "no trial is finished: nothing to compare")  # fmt: skip
    same = [name for name in settings if name not in _FREE | (_DEPTH if by in _DEPTH else {by})]
    if differing := [name for name in same if len(dict.fromkeys(table[name].tolist())) > 1]:
        raise ValueError(
            f"the trials differ in {', '.join(differing)} beside {by}, and a difference could come from either: make "
            f"a Study of those with one {differing[0]}, in the same directory, and compare them"
        )
    groups: dict[Any, dict[int, float]] = {value: {} for value in values}
    last = table["epoch"] == table["epoch"].max()
    columns = (table[name][last].tolist() for name in (by, "seed", "validation_accuracy"))
    for value, seed, accuracy in zip(*columns, strict=True):
        if seed in groups[value]:
            raise ValueError(f"two trials with {by}={value!r} have the seed {seed}: compare a study with one of them")
        groups[value][seed] = accuracy
    return groups


def _differences(groups: dict[Any, dict[int, float]], first: Any, second: Any, by: str) -> Any:
    """second − first, of the seeds that both have."""
    seeds = sorted(groups[first].keys() & groups[second].keys())
    if not 2 <= len(seeds) <= MOST_SEEDS:
        raise ValueError(
            f"{by}={first!r} and {second!r} have {len(seeds)} seeds in common, and the paired test takes 2 to "
            f"{MOST_SEEDS}"
        )
    return np.array([groups[second][seed] - groups[first][seed] for seed in seeds])
