"""All functions of NumPy: importing this module enters them in the registry."""

from tinygrad_vg.engine import calculus as calculus
from tinygrad_vg.engine import composites as composites
from tinygrad_vg.engine import constants as constants
from tinygrad_vg.engine import factorizations as factorizations
from tinygrad_vg.engine import linalg as linalg
from tinygrad_vg.engine import norms as norms
from tinygrad_vg.engine import products as products
from tinygrad_vg.engine import rules as rules
from tinygrad_vg.engine import selecting as selecting
from tinygrad_vg.engine import shaping as shaping
from tinygrad_vg.engine import statistics as statistics
