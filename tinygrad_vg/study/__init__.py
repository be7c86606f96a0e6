"""Studies: many trainings at once, over the cores of a machine."""

from tinygrad_vg.study.tasks import Report, run_tasks

__all__ = ["Report", "run_tasks"]
