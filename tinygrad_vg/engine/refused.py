"""Functions of NumPy that take no Tensor, each with the reason and what to write instead.

The error at the call is "np.f takes no Tensor: " and the reason. `docs/functions.md` lists them.
"""

from typing import Any

import numpy as np

_SCIMATH = f"np.{np.emath.sqrt.__module__.removeprefix('numpy.')}."  # NumPy 2.0 has another name for np.lib.scimath
_IN_PLACE = "it changes an array in place, and gradients cannot pass through such a change; write "
_COMPLEX = "its result is complex, and only real floating-point numbers have gradients; "
_MAKES = "it makes an array of numbers; pass the Tensor's .data, or np.zeros_like(t.data) for its shape and dtype"
_FILES = "it writes a file; pass .data, or write tinygrad_vg.save"
_INTEGERS = "it works on integers, which have no gradients; pass .data"
_DATES = "it works on dates, which have no gradients"
_TEXT = "it works on text, which has no gradients"
_COUNTS = "counts have no derivative, and it takes lists of arrays; pass .data"
_POLYNOMIALS = "it works on the coefficients of a polynomial; write "

REASONS: dict[str, str] = {
    # In place.
    "np.copyto": _IN_PLACE + "t = np.where(mask, value, t)",
    "np.place": _IN_PLACE + "t = np.where(mask, value, t)",
    "np.putmask": _IN_PLACE + "t = np.where(mask, value, t)",
    "np.put": _IN_PLACE + "np.where, or tinygrad_vg.ops.scatter",
    "np.put_along_axis": _IN_PLACE + "np.where, or tinygrad_vg.ops.scatter",
    "np.fill_diagonal": _IN_PLACE + "np.where(np.eye(n, dtype=bool), value, t)",
    # Complex numbers.
    "np.sort_complex": _COMPLEX + "write np.sort",
    "np.fft.fftshift": "it has no rule; write np.roll(t, n // 2)",
    "np.fft.ifftshift": "it has no rule; write np.roll(t, -(n // 2))",
    "np.roots": _COMPLEX + "pass .data",
    "np.linalg.eig": _COMPLEX + "write np.linalg.eigh for a symmetric matrix, or pass .data",
    "np.linalg.eigvals": _COMPLEX + "write np.linalg.eigvalsh for a symmetric matrix, or pass .data",
    # A shape, or a choice of Python, that depends on the values.
    "np.trim_zeros": "the shape of its result depends on the values; write t[first:last]",
    "np.linalg.lstsq": "the shape of its residuals depends on the rank; write np.linalg.pinv(a) @ b",
    "np.piecewise": "it calls each function on a part whose shape depends on the values; write np.where",
    "np.choose": "it takes its choices as a list; write np.select, np.where or np.take_along_axis",
    "np.lexsort": "it takes its keys as a list; write np.argsort, or pass .data",
    # Python functions.
    "np.apply_along_axis": "it calls a Python function for each row; call the function once, with axis=",
    "np.fromfunction": _MAKES,
    # Polynomials and special functions.
    "np.poly": _POLYNOMIALS + "np.convolve of the factors",
    "np.polyadd": _POLYNOMIALS + "t + u, of equal lengths",
    "np.polysub": _POLYNOMIALS + "t - u, of equal lengths",
    "np.polymul": _POLYNOMIALS + "np.convolve",
    "np.polydiv": _POLYNOMIALS + "t / u of the values, by np.polyval",
    "np.polyder": _POLYNOMIALS + "t[:-1] * np.arange(n, 0, -1)",
    "np.polyint": _POLYNOMIALS + "t / np.arange(n, 0, -1)",
    "np.polyfit": _POLYNOMIALS + "np.linalg.pinv(np.vander(x, n + 1)) @ y",
    "np.i0": "its slope is the Bessel function I₁, which NumPy lacks; define a rule for scipy.special.i0 by defvjp",
    "np.nextafter": "the distance to the next number has no derivative; pass .data",
    "np.geomspace": "write np.exp(np.linspace(np.log(start), np.log(stop), num))",
    "np.logspace": "write base ** np.linspace(start, stop, num)",
    # Names that NumPy has deprecated.
    "np.in1d": "NumPy has deprecated it; write np.isin",
    "np.row_stack": "NumPy has deprecated it; write np.vstack",
    "np.trapz": "NumPy has deprecated it; write np.trapezoid",
    # Ufuncs behind functions of the same name.
    "clip": "it is private to NumPy; write np.clip",
    "_ones_like": "it is private to NumPy; write np.ones_like",
    # Counts.
    "np.histogram_bin_edges": "the edges of bins have no derivative; pass .data",
    "np.histogram2d": _COUNTS,
    "np.histogramdd": _COUNTS,
    # Integers, dates, files.
    **dict.fromkeys(("np.packbits", "np.unpackbits", "np.ravel_multi_index", "np.unravel_index"), _INTEGERS),
    **dict.fromkeys(("np.busday_count", "np.busday_offset", "np.is_busday", "np.datetime_as_string"), _DATES),
    **dict.fromkeys(("np.save", "np.savetxt", "np.savez", "np.savez_compressed"), _FILES),
    # Functions that a Tensor reaches as like= alone.
    **dict.fromkeys(
        (
            "np.arange", "np.array", "np.asanyarray", "np.asarray", "np.ascontiguousarray", "np.asfortranarray",
            "np.empty", "np.eye", "np.frombuffer", "np.fromfile", "np.fromiter", "np.fromstring", "np.full",
            "np.genfromtxt", "np.identity", "np.loadtxt", "np.ones", "np.require", "np.tri", "np.zeros",
        ),
        _MAKES,
    ),
}  # fmt: skip
# The functions of whole modules.
PREFIXES = {
    "np.char.": _TEXT,
    "np.strings.": _TEXT,
    "np.fft.": "it computes with complex numbers, and only real floating-point numbers have gradients; write "
    "tinygrad_vg.ops.rfft and irfft, which hold real and imaginary parts side by side",
    "np.polynomial.": "it converts its arguments to arrays, which loses the gradient; write np.polyval or np.einsum",
    "np.lib.recfunctions.": "it works on structured arrays, which have no gradients",
    _SCIMATH: "its result may be complex; write the function of the same name in np",
}


def why_refused(function: Any, name: str) -> str | None:
    """The reason why a function takes no Tensor; None if there is none in this file.

    >>> import numpy as np
    >>> why_refused(np.gcd, "np.gcd")
    'it works on integers, which have no gradients; pass .data'
    """
    if name in REASONS:
        return REASONS[name]
    for prefix, reason in PREFIXES.items():
        if name.startswith(prefix):
            return reason
    types: list[str] | None = getattr(function, "types", None)
    if types is None:
        return None
    letters = {letter for loop in types for letter in loop.partition("->")[0]}
    if not types:  # a loop of its own for every length of text
        return _TEXT
    if letters <= set("mM"):
        return _DATES
    return _INTEGERS if letters - set("O") <= set("?bBhHiIlLqQ") and letters != {"O"} else None
