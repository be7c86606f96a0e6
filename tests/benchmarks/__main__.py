"""The benchmarks: what tinygrad_vg takes beside other libraries and beside NumPy by hand, as ratios of one run.

    python -m tests.benchmarks [--only A B ...] [--repeats N] [--out FILE] [--markdown]

The sides of a work train the same network from the same start on the same batches; that they reach the same losses and
parameters is checked first, and a difference is an error. Then they are timed in turn, on one thread each, in float32.
A bar that is not met is no error: bars are for people. The peers come with the extra "bench"; docs/performance.md says
what each is, and has the table of a run.
"""

import os

# Before NumPy, PyTorch or XLA is imported: none of them changes its number of threads later.
os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"], "1")
os.environ |= {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1", "JAX_PLATFORMS": "cpu"}

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from time import perf_counter

from tests.benchmarks import chain, compiling, footprint, growth, recording, recording_torch, roofline, works
from tests.benchmarks.jobs import DisagreementError
from tests.benchmarks.report import LIBRARIES, machine, markdown, table


def measurements(repeats: int) -> dict:
    """What measures each work, by the name that --only takes."""
    return {
        **{name: partial(works.measure, work, repeats) for name, work in works.WORKS.items()},
        "E": partial(chain.measure, repeats),
        "F": recording.measure,
        "bridge": recording_torch.measure,
        "compile": compiling.measure,
        "limit": partial(roofline.measure, repeats),
        "import": partial(footprint.measure_import, repeats),
        "memory": footprint.measure_memory,
        "G": growth.measure,
    }


def parse():
    names = list(measurements(0))
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--only", nargs="+", choices=names, default=names, metavar="WORK", help=f"some of {', '.join(names)} (all)")
    add("--repeats", type=int, default=9, metavar="N", help="of every side, at least 7 (9)")
    add("--out", type=Path, default=Path("runs/benchmarks.json"), help="where all times go (runs/benchmarks.json)")
    add("--markdown", action="store_true", help="print the table as docs/performance.md has it")
    args = parser.parse_args()
    if args.repeats < 7:
        parser.error("quartiles of fewer than 7 repeats say little; give --repeats 7 or more")
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(str(error))
    if args.out.is_dir() or not os.access(args.out.parent, os.W_OK):  # said now, not after minutes
        parser.error(f"{args.out} cannot be written")
    return args


def main():
    args = parse()
    start, results = perf_counter(), {}
    run = {name: measure for name, measure in measurements(args.repeats).items() if name in args.only}
    for i, (name, measure) in enumerate(run.items(), 1):
        print(f"\r{i} of {len(run)}: {name:8} {perf_counter() - start:5.0f} s", end="", file=sys.stderr, flush=True)
        results[name] = measure()
    print(f"\r{'':40}\r", end="", file=sys.stderr)
    about = machine()
    print((markdown if args.markdown else table)(results))
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "numpy", "blas", *LIBRARIES) if about[name])
    print(f"\n{about['cpu']}, {about['cores']} cores; {versions}")
    content = {"machine": about, "repeats": args.repeats, "works": {k: r.for_json() for k, r in results.items()}}
    args.out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{perf_counter() - start:.0f} s; all times are in {args.out}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except DisagreementError as error:
        sys.exit(f"\n{error}")
