"""BLAS: the address of gemm in the library that SciPy brings."""

import ctypes
from functools import cache

GEMM = {"float32": "sgemm", "float64": "dgemm"}


@cache
def address_of(dtype: str) -> int:
    """The address of gemm for numbers of a dtype. SciPy publishes it in a capsule, for Cython."""
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__[GEMM[dtype]]
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer(capsule, name(capsule)))
