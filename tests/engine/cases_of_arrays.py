"""Further calls for the laws of the table: linear algebra, sums of products, running products, Fourier sums."""

import numpy as np

from tests.engine.cases import ANY, CUBE, MASK, OTHER, POINT, ROW, case, numbers
from tinygrad_vg import ops
from tinygrad_vg.engine import calculus, factorizations, linalg, norms, products

SQUARE = np.array([[1.9, 0.4, -0.7], [-0.3, 1.3, 0.6], [0.8, -0.5, 2.4]])
SQUARES = np.stack([SQUARE, SQUARE[::-1] + 0.2])
SINGULAR = np.array([[1.0, 2.0, 0.5], [2.0, 4.0, 1.0], [0.3, -0.7, 1.1]])
TALL, WIDE = np.concatenate([SQUARE, ROW[None]]), numbers(2, 3) + np.array([[0.0, 0.5, 1.0]])
SYMMETRIC = SQUARE @ SQUARE.T  # positive definite, with distinct eigenvalues
SYMMETRICS = np.stack([SYMMETRIC, SYMMETRIC[::-1, ::-1] * 1.5])
RIGHT_SIDES = numbers(3, 2)

# NumPy's linear algebra takes no float16 and no long double.
LAPACK = {
    np.linalg.inv, np.linalg.solve, np.linalg.det, linalg.cofactors, linalg.log_abs_det, linalg.pseudo_inverse,
    factorizations.lower_cholesky, factorizations.packed_eigh, factorizations.packed_svd, factorizations.packed_qr,
}  # fmt: skip

CASES = [
    *(case(f, a) for f in (np.linalg.inv, np.linalg.det, linalg.cofactors, linalg.log_abs_det)
      for a in (SQUARE, SQUARES)),
    *(case(np.linalg.solve, a, b) for a, b in (
        (SQUARE, RIGHT_SIDES), (SQUARE, ROW), (SQUARES, RIGHT_SIDES), (SQUARES, ROW),
        (SQUARE, np.stack([RIGHT_SIDES, RIGHT_SIDES[::-1]])))),
    *(case(linalg.pseudo_inverse, a, 1e-15) for a in (SQUARE, TALL, WIDE, np.stack([TALL, TALL[::-1]]))),
    *(case(factorizations.lower_cholesky, a) for a in (SYMMETRIC, SYMMETRICS)),
    *(case(factorizations.packed_eigh, a, uplo) for a, uplo in ((SYMMETRIC, "L"), (SYMMETRICS, "U"))),
    *(case(factorizations.packed_svd, a) for a in (SQUARE, SQUARES, TALL, WIDE)),
    *(case(factorizations.packed_qr, a) for a in (SQUARE, SQUARES, TALL)),
    *(case(norms.length, a, axes) for a, axes in ((CUBE, (0, 1, 2)), (CUBE, (1,)), (ANY, (0, 1)), (POINT, ()))),

    *(case(products.contract, *arrays, inputs=inputs, output=output, optimize=optimize)
      for arrays, inputs, output, optimize in (
        ((ANY, OTHER.T), ("ij", "jk"), "ik", False), ((ANY,), ("ij",), "j", False), ((ANY, ROW), ("ij", "k"), "", True),
        ((ANY, OTHER, SQUARE), ("ij", "ik", "jk"), "i", True), ((CUBE, ROW), ("ijk", "j"), "kji", False),
        ((ROW[:1], ROW), ("i", "i"), "i", False))),
    *(case(products.convolved, a, v) for a, v in ((ROW, ANY[0, :2]), (ANY[0], OTHER.ravel()), (ROW[:1], ROW))),

    case(np.cumprod, ROW), case(np.cumprod, CUBE), case(np.cumprod, CUBE, axis=1), case(np.cumprod, CUBE, -1),
    *(case(np.cumprod, np.where(MASK, 0.0, ANY), **options) for options in ({}, {"axis": 1})),
    case(np.unwrap, 5 * ANY), case(np.unwrap, 5 * CUBE, axis=0), case(np.unwrap, 5 * ANY, period=4.0),
    case(np.sinc, ANY), case(np.sinc, 0.01 * ANY), case(np.sinc, np.zeros(2)),
    *(case(calculus.sinc_slope, a, order) for a, order in ((ANY, 1), (0.3 * ANY, 2), (2 * ANY, 3))),

    *(case(ops.rfft, a) for a in (ROW[:1], ANY, numbers(2, 1, 4))),
    *(case(ops.irfft, numbers(*shape, 2), n) for shape, n in (((3,), 4), ((2, 3), 5), ((1,), 1))),
]  # fmt: skip
