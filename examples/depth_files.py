"""The files of a run of examples/mnist_depth.py: its results, and what each file says about its origin."""

import csv
import json
import platform
import shlex
from importlib.metadata import PackageNotFoundError, version

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.storage import replacing

TABLE, HISTORIES, REPORT = "results.csv", "history.npz", "report.html"
PICTURES = ("accuracy", "ladder", "learning_speed")
WRITTEN = {TABLE, HISTORIES, REPORT, *(f"{name}.{suffix}" for name in PICTURES for suffix in ("png", "svg"))}


def about(args, data):
    """What the results depend on, as texts by name: versions, arguments, data. Runs that are alike have it alike."""
    versions = {"tinygrad_vg": tg.__version__, "NumPy": np.__version__, "Python": platform.python_version()}
    try:
        versions["Numba"] = version("numba")  # machine code adds in another order
    except PackageNotFoundError:
        versions["Numba"] = "not installed"
    return versions | {
        "command": command(args),
        "data": f"{args.data or 'MNIST, as it is in tinygrad_vg'}: {len(data.images)} images to train, "
                f"{len(data.validation)} to validate",
    }  # fmt: skip


def command(args):
    """The command that gives the same results, with the values of all options that they depend on."""
    chosen = {name: value for name, value in vars(args).items() if name in args.options and value is not None}
    words = []
    for name, value in chosen.items():
        values = [] if value is True else value if isinstance(value, list) else [value]
        words += [f"--{name}", *map(str, values)] if value is not False else []
    return shlex.join(["mnist_depth.py", *words])


def save(args, results, origin):
    """Write all results so far to results.csv and history.npz; each file is replaced atomically.

    The table begins with lines "# name: text" about its origin. The file of arrays has them in the array "about".
    """
    with replacing(args.out / TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        file.writelines(
            f"# {name}: {json.dumps(text, ensure_ascii=False)[1:-1]}\n" for name, text in origin.items()
        )  # each in one line
        rows = csv.writer(file)
        rows.writerow(["depth", "seed", "epoch", "validation_accuracy"])
        for (name, depth), result in sorted(results.items()):
            if name == "training":
                for (epoch, member), accuracy in np.ndenumerate(result["accuracies"]):
                    rows.writerow([depth, args.seed + member, epoch + 1, accuracy])
    arrays = {"about": np.array(json.dumps(origin))}
    for (name, depth), result in sorted(results.items()):
        for part, key in {"initial": "initial", name: "history"}.items():
            if key in result:
                arrays |= result[key].arrays(prefix=f"{part}_{depth}_")
    tg.save(arrays, args.out / HISTORIES)


def save_picture(figure, name, args, origin):
    """Write a figure as PNG and SVG, each with its origin; the same figure gives the same bytes."""
    import matplotlib

    program = ", ".join(f"{name} {origin[name]}" for name in ("tinygrad_vg", "NumPy", "Python"))
    facts = "\n".join(f"{name}: {text}" for name, text in origin.items())
    metadata = {"png": {"Title": name, **origin},
                "svg": {"Title": name, "Creator": program, "Description": facts, "Date": None}}  # fmt: skip
    with matplotlib.rc_context({"svg.hashsalt": name}):  # otherwise the names inside are random
        for suffix, texts in metadata.items():
            with replacing(args.out / f"{name}.{suffix}") as temporary:
                figure.savefig(temporary, dpi=150, metadata=texts)
