"""Studies: many trainings at once, over the cores of a machine."""

from tinygrad_vg.study.tasks import Report as Report
from tinygrad_vg.study.tasks import run_tasks as run_tasks
