"""Studies: many trainings at once, on all cores of a machine or on many machines, that survive interruptions."""

from tinygrad_vg.study.comparison import compare
from tinygrad_vg.study.running import Failure, Outcome
from tinygrad_vg.study.state import Result
from tinygrad_vg.study.study import Study
from tinygrad_vg.study.table import Table
from tinygrad_vg.study.tasks import Report, run_tasks
from tinygrad_vg.study.trial import Trial

__all__ = ["Failure", "Outcome", "Report", "Result", "Study", "Table", "Trial", "compare", "run_tasks"]
