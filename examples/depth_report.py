"""What examples/mnist_depth.py prints: how it was trained, three tables, and the conclusion."""

import textwrap

from depth_conclusion import conclusion, final, listed, words
from depth_experiment import BOOK_ACCURACY, BOOK_NORMS, LAMBDA, has_accuracies_of_book, has_norms_of_book

from tinygrad_vg.notation import decades


def report(results, args, origin, files):
    """Print all tables that have a row, the conclusion, and where the files are.

    Words stay whole where the terminal has 60 columns.
    """
    from rich.console import Console

    console = Console(highlight=False)
    say(console, conditions(args, origin))
    console.print()
    for table in (accuracies(results, args), norms(results, args), verdicts(results, args)):
        if table.row_count:
            console.print(table)
            console.print()
    say(console, " ".join(conclusion(results, args)))
    console.print()
    say(console, f"{listed(files)} are in {args.out}/.")


def say(console, text):
    """Print paragraphs in lines of whole words."""
    for paragraph in text.splitlines():
        lines = textwrap.wrap(paragraph, console.width, break_long_words=False, break_on_hyphens=False)
        console.print("\n".join(lines), markup=False, soft_wrap=True)


def conditions(args, origin):
    """How the networks were trained, and in what a quick run differs from the full one."""
    text = f"[in, {args.hidden}, ..., {args.hidden}, out], {args.activation}, "
    text += f"weights {args.init}, " if args.init else "weights N(0, 1/n_in), "
    text += f"biases N(0, 1); η = {args.lr:g}, mini-batch {args.batch}, λ = {LAMBDA:g}; {args.epochs} epochs, "
    text += f"{args.members} seeds. Data: {origin['data']}."
    if args.quick:
        less = [f"{words(getattr(args, name))} {unit} in place of {words(full)}"
                for name, (unit, full) in args.full.items() if getattr(args, name) != full]  # fmt: skip
        text += f"\n--quick: {listed(less)}; all else is as in the full run."
    return text


def table_of(title, *columns):
    from rich.table import Table

    return Table(*columns, title=title, box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left",
                 title_style="bold", header_style="underline")  # fmt: skip


def accuracies(results, args):
    """Accuracy against depth, beside the book's where it is of the same training; a row for every depth asked for."""
    book = BOOK_ACCURACY if has_accuracies_of_book(args) else {}
    table = table_of("Validation accuracy in %, mean ± sd over seeds", "hidden", "epochs", "accuracy",
                     *["book"] * bool(book))  # fmt: skip
    for depth in args.depths:
        course = results["training", depth]["accuracies"] if ("training", depth) in results else ()
        epochs = str(args.epochs) if len(course) == args.epochs else f"{len(course)} of {args.epochs}"
        row = [str(depth), epochs, mean_and_spread(100 * course[-1]) if len(course) else ""]
        table.add_row(*row, *[f"{book[depth]:.2f}" if depth in book else ""] * bool(book))
    return table


def mean_and_spread(values):
    """Mean ± standard deviation of some seeds; of one seed its value."""
    return f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def norms(results, args):
    """‖∂C/∂b‖ of the hidden layers at the start, beside the book's where it is of the same networks."""
    from rich.text import Text

    book = BOOK_NORMS if has_norms_of_book(args) else {}
    title = f"‖∂C/∂b‖ at the start, geometric mean of {args.seeds} seeds"
    table = table_of(title, "hidden", "layer 1, 2, ...", *["book"] * bool(book))
    for (name, depth), result in sorted(results.items()):
        if name == "descent":
            speeds = " ".join(f"{10**decades:.3g}" for decades in result["initial"].log10_norm[0, :-1].mean(axis=1))
            table.add_row(str(depth), Text(speeds), *[book.get(depth, "")] * bool(book))
    return table


def verdicts(results, args):
    """The verdicts at the start and after the training, and how much slower the first layer is than the last one."""
    title = "The gradient on its way to layer 1, in decades. Last : first says how many times as fast as the first "
    title += "hidden layer the last one learns, after the descent and in the last tenth of the training"
    table = table_of(title, "hidden", "at the start", "after training", "last : first\nafter descent",
                     "last : first\nend of training")  # fmt: skip
    ended = final(results, args)
    for depth in sorted({depth for _, depth in results}):
        start, end = results.get(("descent", depth)), results["training", depth] if depth in ended else None
        done = start and "history" in start and len(start["history"].steps) == args.descent_epochs
        ratio = f"{last_to_first(start['history'][-1:]):.3g}" if done else ""
        late = end["history"][-len(end["history"].steps) // 10 :] if end and depth > 1 else None
        late_ratio = f"{last_to_first(late):.3g}" if late is not None and len(late.steps) else ""
        table.add_row(str(depth), brief(start), brief(end), ratio, late_ratio)
    return table


def last_to_first(history):
    """How many times as fast the last hidden layer learns as the first: the geometric mean over rows and seeds."""
    hidden = history[:, :-1].log10_norm
    return 10 ** (hidden[:, -1] - hidden[:, 0]).mean()


def brief(result):
    """A verdict in the cell of a table: state, decades from the last layer to the first, and cause."""
    if result is None:
        return ""
    verdict = result["verdict"]
    blame = {"activation": ", by σ′", "weights": ", by the weights"}.get(verdict.cause, "")
    severity = f" ({verdict.severity})" if verdict.forecast and verdict.severity else ""
    return f"{verdict.state}{severity} {decades(verdict.total, 1)}{blame}"
