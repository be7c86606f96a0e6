"""Does depth help? Nielsen's chapter 5.1 on the real MNIST, with a gradient recorder running.

Two experiments, each on ensembles of networks [784, 30, ..., 30, 10] with 1 to 6 hidden layers of sigmoids:

    training    30 epochs of stochastic gradient descent on 50,000 images, validated on 10,000 after each;
    descent     ‖∂C/∂b‖ of every layer at the start, over 200 seeds, and during 500 epochs of full-batch
                descent on the first 1,000 images.

Results go to runs/mnist_depth/, those of --quick to runs/mnist_depth_quick/: results.csv, history.npz, the pictures
accuracy, ladder and learning_speed as .png and .svg, and with --report a page. The folder `study` in it keeps every
training: the same command goes on where it was interrupted, and trains nothing twice; another --out starts anew.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

import signal
import sys
from contextlib import contextmanager
from importlib.util import find_spec

import depth_conclusion
import depth_experiment
from depth_files import REPORT, WRITTEN, about, save
from depth_options import arguments, options
from depth_pictures import draw
from depth_report import report

import tinygrad_vg as tg
from tinygrad_vg.extras import install


def begin(parser, line=None):
    """The arguments, the data, the trials by name and depth, and the study.

    Raises:
        OSError, ValueError: if that cannot be; the message says why.
    """
    args = arguments(parser, line)
    needs = {"matplotlib": "examples", "rich": "examples"}
    needs |= {"jinja2": "report"} if args.report else {}
    needs |= {"distributed": "dask"} if args.dask else {}
    for module, extra in needs.items():
        if find_spec(module) is None:
            raise ValueError(f"{module} is missing: {install(extra)} installs it")
    data = depth_experiment.read(args.data)
    if args.batch > len(data.images):
        raise ValueError(f"argument --batch: {args.batch} is more than the {len(data.images)} images there are")
    if any((args.out / name).exists() for name in WRITTEN) and not (args.out / "study").exists():
        raise ValueError(f"{args.out}/ has results that this program has not made: write --out and another folder")
    made = depth_experiment.trials(args, data)
    return args, data, made, tg.study.Study(made.values(), args.out / "study")


def say_if_slow():
    """One line if the steps cannot be machine code, before minutes are spent."""
    if missing := [name for name, module in (("Numba", "numba"), ("SciPy", "scipy")) if find_spec(module) is None]:
        words = f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} missing: training is several times slower"
        print(f"{words} ({install('fast')} installs what is missing).", file=sys.stderr)


@contextmanager
def executor(args):
    """What trains: the workers of a cluster, or processes of this machine."""
    if not args.dask:
        yield args.workers
        return
    from distributed import Client

    with Client(args.dask) as client:
        yield client.get_executor()


def show(study, made, args, data):
    """Write the files, draw the pictures and print the tables, of all results that there are."""
    results, origin = depth_experiment.results(study, made, args, data), about(args, data)
    save(args, results, origin)
    draw(results, args, origin)
    ended = [made["training", depth] for depth in depth_conclusion.final(results, args)]
    if args.report and ended:
        tg.study.Study(ended, study.directory).report(args.out / REPORT)
    report(results, args, origin, sorted(path.name for path in args.out.iterdir() if path.name in WRITTEN))


def end_interrupted(message):
    """End with the exit status of Ctrl-C, of which a further one changes nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(message, file=sys.stderr)
    sys.exit(130)


def main():
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None if it is closed
        stream.reconfigure(errors="replace")  # not every terminal can show ∂
    parser = options(__doc__)
    try:
        args, data, made, study = begin(parser)
        say_if_slow()
        with executor(args) as workers:
            outcome = study.run(workers)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    try:
        begun = {key: reached for key, trial in made.items() if (reached := study.so_far(trial)) is not None}
        if begun:
            show(study, made, args, data)
    except KeyboardInterrupt:
        end_interrupted(f"Interrupted while pictures and tables were made. All results are kept in {args.out}/.")
    if outcome.interrupted:
        done = [f"{name}, {depth} hidden: {len(reached.accuracy)} of {reached.trial.epochs} epochs"
                for (name, depth), reached in sorted(begun.items())]  # fmt: skip
        end_interrupted(f"Interrupted. The same command goes on from what is kept in {args.out}/: "
                        f"{'; '.join(done) or 'nothing yet'}.")  # fmt: skip
    if outcome.failed:
        sys.exit(str(outcome))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before the trainings: the study handles Ctrl-C itself
        end_interrupted("Interrupted before the first result.")
