"""Study: a list of trials and the directory that keeps their results."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from functools import cached_property

from tinygrad_vg.study.comparison import compare
from tinygrad_vg.study.executors import executor_of
from tinygrad_vg.study.monitor import LiveTable, Monitor
from tinygrad_vg.study.report import written
from tinygrad_vg.study.running import Outcome, Running
from tinygrad_vg.study.state import Result, State, joined
from tinygrad_vg.study.store import Store
from tinygrad_vg.study.table import Table, table_of
from tinygrad_vg.study.trial import Trial, differing, label_beside


class Study:
    """Trials and a directory. `run` trains what is not finished there, in processes, and may be interrupted.

    A finished part of a trial is never trained again. A part that was interrupted goes on from its last checkpoint, and
    gives the same bits as if it had never been interrupted. Checkpoints are written at the ends of epochs, at most
    every 30 seconds, and when Ctrl-C or SIGTERM ends a run.

    The directory may hold trials of other lists too: a study may be made again with more trials. Several processes may
    run a study in one directory at the same time, also on several machines that share a file system with locks. Each
    takes parts that no other trains, and waits at the end for the others' parts.

    Args:
        trials: the trials, in the order in which they are begun. Long ones first end earlier on the whole.
        directory: where results are kept. It is made by `run`, or is empty, or holds a study.

    Raises:
        TypeError: if something else than a Trial is among the trials.
        ValueError: if there is no trial, or two are equal.

    >>> import tempfile, tinygrad_vg as tg
    >>> trials = [tg.study.Trial((784, 5, 10), images=100, epochs=2, seeds=(0, 1), lr=lr) for lr in (0.1, 0.5)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     study = tg.study.Study(trials, folder)
    ...     outcome = study.run(1, progress=False)
    ...     study.results()["validation_accuracy"].shape, study.result(trials[0]).history.log10_norm.shape
    ...     len(study.compare("lr"))
    ((8,), (2, 2, 2))
    1
    >>> print(outcome)
    2 of 2 trials are done
    """

    def __init__(self, trials: Iterable[Trial], directory: str | os.PathLike[str]) -> None:
        self.trials = (trials,) if isinstance(trials, Trial) else tuple(trials)
        if strange := [trial for trial in self.trials if not isinstance(trial, Trial)]:
            raise TypeError(f"a study is made of Trials, not of {strange[0]!r}")
        self._by_key = {trial.key: trial for trial in self.trials}
        if not self.trials:
            raise ValueError("a study has no trials: give it one or more")
        if len(self._by_key) < len(self.trials):
            twice = next(trial for i, trial in enumerate(self.trials) if trial in self.trials[:i])
            raise ValueError(
                f"the trial {twice.label} with seeds {twice.seeds} is there twice: give it once, or other seeds"
            )
        self._store = Store(directory)
        self.directory = self._store.directory

    def run(self, executor: Executor | int | None = None, progress: bool = True) -> Outcome:
        """Train everything that is not finished.

        An exception in a part of a trial is recorded with its traceback, and the others go on. Ctrl-C and SIGTERM ask
        the running parts to write a checkpoint of their last epoch and to end; after the third signal they are not
        waited for. If a worker of the default pool is killed, the pool is made anew and its parts go on from their
        checkpoints; a part that was running in three broken pools has failed.

        Args:
            executor: a `concurrent.futures.Executor`, such as Dask's `client.get_executor()`; or a number of processes
                of this machine. None: as many as there are cores. These processes use one BLAS thread each; those of
                an executor of your own should do the same, by `OMP_NUM_THREADS=1`.
            progress: whether to show a table while it runs, with Rich: of each running part the epoch, the accuracy so
                far, by how many decades the gradient changes on its way to the first layer, and the time left.

        Returns:
            What is done and what has failed; print it.

        Raises:
            ValueError: if the directory is no study, or holds a damaged file or one that does not belong there. The
                message names it. Nothing is deleted.
            ModuleNotFoundError: if Rich is missing; the message names the extra that installs it.
            OSError: if the directory cannot be written.
            Exception: if the executor takes no parts any more. Its note says how many trials are done.
        """
        chosen = executor_of(executor)
        parts = sum(len(trial.parts) for trial in self.trials)
        monitor = LiveTable(self._by_key, parts) if progress else Monitor()
        self._store.prepare()
        self._store.check(self.trials)
        with monitor:
            return Running(self._store, self.trials, os.urandom(8).hex()).drive(chosen, monitor)

    def results(self) -> Table:
        """The table of all finished parts: a row for each trial, member and epoch.

        Raises:
            ValueError: if a file is damaged; the message names it.
        """
        return table_of(self._finished())

    def result(self, trial: Trial) -> Result:
        """Everything that is kept of a finished trial: accuracies, recorded gradients, weights.

        Raises:
            ValueError: if the trial is not one of the study, or is not finished, or a file is damaged.
        """
        label = self.label(trial)
        places = [self._store.place(trial, number) for number in range(len(trial.parts))]
        if missing := [place.number for place in places if not place.finished.exists()]:
            raise ValueError(
                f"the trial {label} is not finished: {len(missing)} of its {len(places)} parts are missing; "
                "run the study"
            )
        return joined(trial, [place.load() for place in places])

    def label(self, trial: Trial) -> str:
        """A trial in words: `trial.label`, and each setting in which the trials of the study differ.

        Raises:
            ValueError: if the trial is not one of the study.

        >>> trials = [Trial((784, 30, 10), lr=lr) for lr in (0.1, 0.5)]
        >>> Study(trials, "runs/two").label(trials[0]), trials[0].label
        ('784-30-10 Sigmoid, lr=0.1', '784-30-10 Sigmoid')
        """
        if self._by_key.get(trial.key) != trial:
            raise ValueError(f"the trial {trial.label} is not one of this study")
        return label_beside(trial, self._differing)

    @cached_property
    def _differing(self) -> set[str]:
        return differing(self.trials)

    def so_far(self, trial: Trial) -> Result | None:
        """What is kept of a trial, finished or not: the finished parts, and the last checkpoints of the others.

        If parts have come to different epochs, the result ends with the epoch that all of them have finished; the
        weights are then those of different epochs.

        Returns:
            None if a part has no checkpoint yet.

        Raises:
            ValueError: if a file is damaged.

        >>> import tempfile, tinygrad_vg as tg
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(tg.study.Study(tg.study.Trial((784, 30, 10)), folder).so_far(tg.study.Trial((784, 30, 10))))
        None
        """
        parts = []
        for number in range(len(trial.parts)):
            place = self._store.place(trial, number)
            part = place.load() if place.finished.exists() else place.last()
            if part is None:
                return None
            parts.append(part)
        return joined(trial, parts)

    def compare(self, by: str = "sizes") -> Table:
        """Compare the last accuracies of the finished trials, for each pair of values of a setting, such as `sizes`.

        The test is paired over the seeds and exact; see `tg.study.compare`, which also says what is raised.
        """
        return compare(self.results(), by)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML page that shows the finished trials; it needs no network and no other file.

        It has the accuracies against depth, the comparison of depths, and for up to six trials, evenly spaced in their
        order, the gradients at the start with their causes and verdict, and the gradients over the training; the
        microscope of the deepest of these; all settings and versions; and each table as CSV. What the directory does
        not keep is computed again from the settings: one backward of the untrained networks, and for the microscope
        the training of one seed, up to 200,000 steps.

        Raises:
            ValueError: if no trial is finished, or a file is damaged.
            ModuleNotFoundError: if Jinja2 or Matplotlib is missing; the message names the extra that installs it.
            OSError: if the page cannot be written.
        """
        written([self.result(trial) for trial in self.trials if self._is_done(trial)], self.trials, path)

    def _is_done(self, trial: Trial) -> bool:
        return all(self._store.is_done(trial, number) for number in range(len(trial.parts)))

    def _finished(self) -> Iterator[tuple[Trial, tuple[int, ...], State]]:
        for trial in self.trials:
            for number, seeds in enumerate(trial.parts):
                if self._store.is_done(trial, number):
                    yield trial, seeds, self._store.place(trial, number).load()

    def __repr__(self) -> str:
        return f"Study({len(self.trials)} trials, {os.fspath(self.directory)!r})"
