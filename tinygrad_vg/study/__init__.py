"""Studies: many trainings at once, on all cores of a machine."""

from tinygrad_vg.study.tasks import Report, run_tasks

__all__ = ["Report", "run_tasks"]
