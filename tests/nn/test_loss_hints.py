"""What the costs say to write for a target that does not fit."""

import numpy as np
import pytest

from tinygrad_vg import Tensor, nn

ROWS = Tensor(np.zeros((5, 3)), requires_grad=True)
COLUMN = Tensor(np.zeros((5, 1)), requires_grad=True)


@pytest.mark.parametrize(
    ("cost", "input", "target", "words"),
    [
        (
            nn.CrossEntropyLoss(),
            ROWS,
            np.zeros(5),
            r"integers, not float64; write target.astype\(int\)",
        ),
        (nn.CrossEntropyLoss(), ROWS, np.zeros(5, bool), "integers, not bool"),
        (nn.CrossEntropyLoss(), ROWS, np.zeros(4, int), "there are 4 class indices, and 5 rows"),
        (nn.CrossEntropyLoss(), ROWS, np.zeros((5, 3), int), "pass probabilities"),
        (nn.MSELoss(), COLUMN, np.zeros(5), r"write target\[:, None\]"),
        (nn.BCEWithLogitsLoss(), COLUMN, np.zeros(5, int), r"write target\[:, None\]"),
        (nn.BCEWithLogitsLoss(), ROWS, np.zeros(5, int), r"np.eye\(classes\)\[indices\]"),
        (nn.MSELoss(), np.zeros(5), ROWS * 1.0, "the input, with its gradient, comes first"),
        (nn.MSELoss(), ROWS, np.zeros((5, 4)), "a row for each sample"),
    ],
)
def test_the_hint_fits_the_mistake(cost, input, target, words):
    with pytest.raises(ValueError, match=words):
        cost(input, target)
