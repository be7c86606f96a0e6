"""The backends that can be tested here."""

from importlib.util import find_spec

BACKENDS = ["numpy", *(["numba"] if find_spec("numba") and find_spec("scipy") else [])]
