"""Comparison: exact p-values against all signs one by one, Holm's correction, and what cannot be compared."""

from itertools import product

import numpy as np
import pytest

from tests.study.small import Here, trial
from tinygrad_vg.study import Study, Table
from tinygrad_vg.study.comparison import compare, holm, sign_flip_p


def by_brute_force(differences):
    """The share of all signs whose mean is at least as far from 0."""
    far = [abs(np.dot(signs, differences)) >= abs(sum(differences)) - 1e-9
           for signs in product([1, -1], repeat=len(differences))]  # fmt: skip
    return np.mean(far)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 11])
def test_p_is_the_share_of_all_signs(n):
    rng = np.random.default_rng(n)
    for shift in (0, 0.5, 3):
        drawn = rng.normal(shift, 1, n)
        assert sign_flip_p(drawn) == pytest.approx(by_brute_force(drawn), abs=1e-15)
        ties = rng.integers(-2, 3, n) / 1e4  # counts of images: many sums are equal
        assert sign_flip_p(ties) == pytest.approx(by_brute_force(ties * 1e4), abs=1e-15)


def test_p_of_differences_that_say_nothing_and_that_all_agree():
    assert sign_flip_p(np.zeros(6)) == 1
    assert sign_flip_p([1, -1]) == 1
    assert sign_flip_p(np.full(24, 0.01)) == 2 / 2**24
    assert sign_flip_p(np.arange(1, 41)) == 2 / 2**40


def test_the_order_and_the_unit_do_not_matter():
    d = np.random.default_rng(0).normal(0.4, 1, 14)
    assert sign_flip_p(d) == sign_flip_p(d[::-1]) == sign_flip_p(-d) == sign_flip_p(1e-9 * d)


def test_holm_is_the_closed_test():
    """A hypothesis is rejected if Bonferroni rejects every intersection that has it: the definition of closure."""
    rng = np.random.default_rng(1)
    for p in rng.uniform(0, 0.2, (20, 4)):
        subsets = [which for which in product([False, True], repeat=4) if any(which)]
        expected = [max(min(1, sum(which) * p[np.array(which)].min()) for which in subsets if which[i])
                    for i in range(4)]  # fmt: skip
        np.testing.assert_allclose(holm(p), expected)


def table_of(accuracies, **others):
    """A table of {sizes: accuracies of the seeds 0, 1, ...}."""
    rows = [(sizes, seed, value) for sizes, values in accuracies.items() for seed, value in enumerate(values)]
    sizes, seeds, values = (np.array(column) for column in zip(*rows, strict=True))
    columns = {"sizes": sizes, "seed": seeds, "epoch": np.ones(len(rows), int), "validation_accuracy": values}
    return Table(columns | {name: np.array(values) for name, values in others.items()})


def test_pairs_differences_and_effect():
    found = compare(table_of({"a": [0.1, 0.2, 0.3], "b": [0.2, 0.4, 0.3], "c": [0.1, 0.2, 0.3]}))
    assert [*zip(found["first"], found["second"], found["seeds"], strict=True)] == [
        ("a", "b", 3), ("a", "c", 3), ("b", "c", 3)]  # fmt: skip
    np.testing.assert_allclose(found["difference"], [0.1, 0, -0.1], atol=1e-15)
    np.testing.assert_allclose(found["deviation"], [0.1, 0, 0.1], atol=1e-15)
    np.testing.assert_allclose(found["d_z"], [1, np.nan, -1])
    np.testing.assert_allclose(found["p"], [0.5, 1, 0.5])
    np.testing.assert_allclose(found["p_holm"], [1, 1, 1])


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="no setting 'depth' to compare; the settings are sizes, lr"):
        compare(table_of({"a": [1, 2]}, lr=[1, 1]), "depth")
    with pytest.raises(ValueError, match="all finished trials have sizes='a'"):
        compare(table_of({"a": [1, 2]}))
    with pytest.raises(ValueError, match="differ in lr beside sizes"):
        compare(table_of({"a": [1, 2], "b": [1, 2]}, lr=[1, 1, 2, 2]))
    with pytest.raises(ValueError, match="two trials with hidden_layers=1 have the seed 0"):
        compare(table_of({"a": [1, 2], "b": [1, 2], "c": [1, 2]}, hidden_layers=[1, 1, 1, 1, 2, 2]), "hidden_layers")
    with pytest.raises(ValueError, match="have 1 seeds in common"):
        compare(table_of({"a": [1, 2], "b": [1]}))


def test_the_trials_of_a_study(tmp_path, digits):
    depths = [trial(digits, sizes=(16, *[5] * depth, 10), seeds=range(4), epochs=2) for depth in (2, 1)]
    study = Study(depths, tmp_path)
    study.run(Here(), progress=False)
    found = study.compare()
    one, two = (study.result(each).accuracy[-1] for each in depths)
    assert (found["first"][0], found["second"][0]) == ("16-5-5-10", "16-5-10")
    assert found["difference"][0] == pytest.approx((two - one).mean())
    assert found["p"][0] == by_brute_force(np.round((two - one) * 1e4))
    assert study.compare("hidden_layers")["p"] == found["p"]
