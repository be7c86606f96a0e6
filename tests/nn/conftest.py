"""What all tests of networks share."""

from collections.abc import Iterator

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _global_random_state_stays() -> Iterator[None]:
    """Whatever a test of this folder does with networks, NumPy's global random state is as it was before."""
    before = np.random.get_state()  # noqa: NPY002 - the old state is the subject
    yield
    after = np.random.get_state()  # noqa: NPY002
    assert before[2:] == after[2:]
    assert np.array_equal(before[1], after[1])
