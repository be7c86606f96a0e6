"""The parts of the main job, in one process: its arguments, networks, tables, pictures and folder."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.study.small import Here
from tinygrad_vg.instruments import GradientRecorder, History, Ledger, diagnose
from tinygrad_vg.study import training

pytest.importorskip("rich")
pytest.importorskip("matplotlib")


def test_pictures_are_there_whole_or_not_at_all(tmp_path, monkeypatch, script):
    files = script("depth_files")
    (tmp_path / "ladder.png").write_text("of before")

    def half(figure, path, **_):
        Path(path).write_text("half")
        raise KeyboardInterrupt

    figure = pytest.importorskip("matplotlib.figure").Figure
    monkeypatch.setattr(figure, "savefig", half)
    origin = dict.fromkeys(("tinygrad_vg", "NumPy", "Python"), "0")
    with pytest.raises(KeyboardInterrupt):
        files.save_picture(figure(), "ladder", SimpleNamespace(out=tmp_path), origin)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"ladder.png": "of before"}


def test_results_of_something_else_are_not_overwritten(tmp_path, script, arguments, small_data):
    """But those of the program itself are, in a folder with its study."""
    job, out = script("mnist_depth"), tmp_path / "mine"
    out.mkdir()
    parser = job.options(None)
    (out / "history.npz").write_text("of an earlier version")
    line = ["--data", str(small_data), "--out", str(out)]
    with pytest.raises(ValueError, match=r"mine/ has results that this program has not made: write --out and another"):
        job.begin(parser, line)
    assert (out / "history.npz").read_text() == "of an earlier version"
    (out / "study").mkdir()
    assert job.begin(parser, line)[0].out == out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depths", "0"], "'0' is not a positive whole number: write one, such as 1 or 30"),
        (["--depths", "two"], "'two' is not a positive whole number"),
        (["--members", "-1"], "--members"),
        (["--data", "missing"], "missing/train-images-idx3-ubyte"),
        (["--fast"], "unrecognized arguments: --fast"),
        (["--lr", "0"], "--lr: '0' is not a positive number: write one, such as 0.1"),
        (["--lr", "nan"], "'nan' is not a positive number"),
        (["--activation", "step"], "--activation: invalid choice: 'step' (choose from"),
        (["--init", "ones"], "--init: invalid choice: 'ones' (choose from"),
        (["--hidden", "0"], "--hidden: '0' is not a positive whole number"),
        (["--batch", "60000"], "--batch: 60000 is more than the 50000 images there are"),
    ],
)
def test_wrong_arguments_get_one_line(tmp_path, options, message, script, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mnist_depth.py", *options])
    with pytest.raises(SystemExit) as ended:
        script("mnist_depth").main()
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "norms", "accuracies"),
    [
        ([], True, True),
        (["--depths", "2", "--members", "8", "--seed", "5"], True, True),
        (["--lr", "0.5"], True, False),
        (["--batch", "20"], True, False),
        (["--epochs", "20"], True, False),
        (["--quick"], True, False),
        (["--activation", "tanh"], False, False),
        (["--init", "xavier_normal"], False, False),
        (["--hidden", "100"], False, False),
        (["--data", "elsewhere"], False, False),
    ],
    ids=str,
)
def test_the_book_is_beside_what_it_has_measured_only(script, arguments, words, norms, accuracies):
    """Its numbers are columns of the tables; in the pictures they follow the same functions."""
    report, args = script("depth_report"), arguments(*words)
    assert ("book" in [column.header for column in report.norms({}, args).columns]) == norms
    assert ("book" in [column.header for column in report.accuracies({}, args).columns]) == accuracies


def test_options_make_the_trials(script, arguments, small_data):
    experiment = script("depth_experiment")
    args = arguments("--activation", "relu", "--init", "kaiming_normal", "--hidden", "7", "--data", str(small_data),
                     "--depths", "1", "2", "--seed", "3", "--members", "5", "--lr", "0.2", "--batch", "20")  # fmt: skip
    data = experiment.read(args.data)
    made = experiment.trials(args, data)
    assert [*made] == [("training", 2), ("training", 1), ("descent", 2)]  # the book has a descent of 2
    trial = made["training", 2]
    assert (trial.sizes, trial.activation, trial.init) == ((20, 7, 7, 3), "ReLU", "kaiming_normal")
    assert (trial.seeds, trial.order_seed, trial.lr, trial.batch, trial.epochs) == ((3, 4, 5, 6, 7), 3, 0.2, 20, 30)
    descent = made["descent", 2]
    assert (descent.sizes, descent.images, descent.batch, descent.epochs, descent.every) == (
        trial.sizes, 1000, 1000, 500, 1)  # fmt: skip
    args.seed = -1
    with pytest.raises(ValueError, match="each of seeds is a whole number from 0, not -1"):
        experiment.trials(args, data)
    net = experiment.ensemble(trial, range(200))
    assert [type(module) for module in net] == [tg.nn.Linear, tg.nn.ReLU] * 2 + [tg.nn.Linear]
    assert net[2].weight.data.std() == pytest.approx((2 / 7) ** 0.5, rel=0.03)
    args.seed, args.seeds = 0, 3
    assert experiment.start(trial, args, data)["theory"].layers == (1, 2, 3)  # of ReLU, and so its line is drawn


def test_a_network_without_a_theory_has_no_line_of_it(script, arguments, small_data, monkeypatch):
    experiment, pictures = script("depth_experiment"), script("depth_pictures")
    args = arguments("--data", str(small_data), "--depths", "5")
    args.seeds, data = 3, experiment.read(args.data)

    def none(*_):
        raise ValueError("a length overflows")

    monkeypatch.setattr(experiment, "mean_field_of", none)
    trial = experiment.trials(args, data)["training", 5]
    figure = pictures.ladders({("descent", 5): experiment.start(trial, args, data)}, {5: "red"})
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["5 hidden"]


def test_a_learning_rate_that_is_too_high_is_told(script, arguments, small_data, tmp_path):
    experiment, conclusion = script("depth_experiment"), script("depth_conclusion")
    args = arguments(
        "--data", str(small_data), "--activation", "relu", "--lr", "1e20", "--epochs", "1", "--depths", "2"
    )
    args.seeds, data = 3, experiment.read(args.data)
    made = {key: trial for key, trial in experiment.trials(args, data).items() if key[0] == "training"}
    study = tg.study.Study(made.values(), tmp_path / "study")
    study.run(Here(), progress=False)
    results = experiment.results(study, made, args, data)
    assert "the gradient is no finite number any more" in " ".join(conclusion.conclusion(results, args))


def test_a_training_that_fails_is_told_and_the_others_are_shown(script, small_data, tmp_path, monkeypatch, capsys):
    job, epoch = script("mnist_depth"), training.Training.epoch

    def failing(self, *args):
        if len(self.trial.sizes) == 4:
            raise RuntimeError("the power fails")
        return epoch(self, *args)

    monkeypatch.setattr(training.Training, "epoch", failing)
    monkeypatch.setattr(job, "executor", lambda args: nullcontext(Here()))
    line = f"mnist_depth.py --quick --depths 1 2 --epochs 1 --members 2 --data {small_data} --out {tmp_path}"
    monkeypatch.setattr("sys.argv", line.split())
    with pytest.raises(SystemExit) as ended:
        job.main()
    assert ended.value.code.startswith("1 of 3 trials are done; 2 parts failed:")
    assert "RuntimeError: the power fails" in ended.value.code
    shown = capsys.readouterr().out
    assert "Training with 2 hidden layers is not finished" in " ".join(shown.split())
    assert (tmp_path / "results.csv").exists()


def test_quick_is_the_full_run_but_for_what_it_says(script, arguments):
    report, quick, full = script("depth_report"), arguments("--quick"), arguments()
    text = report.conditions(quick, {"data": "MNIST"}).splitlines()[1]
    same = {"activation", "init", "hidden", "lr", "batch", "seed", "data"}
    assert all(getattr(quick, name) == getattr(full, name) for name in same)
    assert "and 6 hidden layers in place of 1, 2, 3, 4, 5 and 6, " in text
    assert f"{quick.epochs} epochs in place of 30" in text
    assert set(quick.depths) < set(full.depths)
    assert quick.out != full.out


def test_the_tables_have_what_is_not_finished_and_one_minus(script, arguments):
    report, args = script("depth_report"), arguments("--depths", "1", "2", "3", "--epochs", "2")
    accuracies, net = np.array([[0.95, 0.96], [0.96, 0.97]]), tg.nn.mlp([8] * 6, rng=0)
    with Ledger(net) as ledger, GradientRecorder(net) as recorder:
        np.sum(net(np.random.default_rng(1).random((5, 8)))).backward()
    end = {"verdict": diagnose(ledger), "history": recorder.history}
    results = {
        ("training", 2): {"accuracies": accuracies, **end},
        ("training", 3): {"accuracies": accuracies[:1], **end},
    }
    rows = [list(column.cells) for column in report.accuracies(results, args).columns]
    assert rows == [["1", "2", "3"], ["0 of 2", "2", "1 of 2"], ["", "96.50 ± 0.71", "95.50 ± 0.71"]]
    verdicts = report.verdicts(results, args)
    assert [column.header.splitlines()[-1] for column in verdicts.columns[-2:]] == ["after descent", "end of training"]
    after = [*verdicts.columns[2].cells]
    assert "vanishing" in after[0]
    assert after[1] == ""  # one epoch is not the training
    cells = " ".join(cell for column in verdicts.columns for cell in column.cells)
    assert "−" in cells
    assert "-" not in cells


@pytest.mark.parametrize(
    ("absent", "line"),
    [((), ""), (("numba",), "Numba is missing"), (("numba", "scipy"), "Numba and SciPy are missing")],
    ids=str,
)
def test_a_slow_run_says_so_in_a_line(script, monkeypatch, capsys, absent, line):
    job = script("mnist_depth")
    monkeypatch.setattr(job, "find_spec", lambda name: None if name in absent else "there")
    job.say_if_slow()
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == bool(absent)
    assert ("several times slower" in said) == bool(absent)


def test_an_accuracy_near_chance_has_a_part_of_its_own(script, arguments):
    pictures, args = script("depth_pictures"), arguments("--depths", "1", "2", "6", "--epochs", "1")
    made = {("training", depth): {"accuracies": np.array([[mean, mean + 0.002]]), "chance": 0.1, "validated": 10_000}
            for depth, mean in {1: 0.96, 2: 0.97, 6: 0.1}.items()}  # fmt: skip
    figure = pictures.accuracy(made, args)
    zoomed, whole = figure.axes
    assert 94 < zoomed.get_ylim()[0] < 96
    assert whole.get_ylim() == (0, 100)
    assert all(zoomed.get_ylim()[0] < min(line.get_ydata()) for line in zoomed.lines)  # no line leaves it
    assert whole.get_xlim() == zoomed.get_xlim()
    assert max(max(line.get_xdata()) for line in whole.lines) >= 6
    assert zoomed.get_title() == "Depth helps up to 2 hidden layers; with 6 hidden layers nothing is learned"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one seed", "mean of 2 seeds, 95% interval"]
    del made["training", 6]
    assert len(pictures.accuracy(made, args).axes) == 1
    book = {line.get_label(): line for line in pictures.accuracy(
        {key: result | {"accuracies": result["accuracies"].repeat(30, axis=0)} for key, result in made.items()},
        arguments()).axes[0].lines}["the book's network"]  # fmt: skip
    assert dict(zip(book.get_xdata(), book.get_ydata(), strict=True)) == {1: 96.48, 2: 96.90}


def test_one_seed_near_chance_does_not_squash_the_others(script, arguments):
    pictures, args = script("depth_pictures"), arguments("--depths", "1", "5", "--epochs", "1")
    made = {("training", depth): {"accuracies": np.array([seeds]), "chance": 0.1, "validated": 10_000}
            for depth, seeds in {1: [0.96, 0.97], 5: [0.1, 0.96]}.items()}  # fmt: skip
    zoomed, whole = pictures.accuracy(made, args).axes
    assert zoomed.get_ylim()[0] > 80
    assert whole.get_ylim() == (0, 100)


def test_learning_speeds_share_one_legend_one_scale_and_one_unit(script, arguments):
    pictures = script("depth_pictures")

    def result(depth, steps):
        layers = range(1, depth + 2)
        norms = np.linspace(-3, -1, depth + 1)[:, None] + np.zeros((20, 1, 3))
        history = History(np.arange(20) * steps, tuple(layers), tuple(map(str, layers)), norms)
        return {"history": history, "steps_per_epoch": steps}

    results = {("descent", depth): result(depth, 1) for depth in (2, 3)}
    results |= {("training", depth): result(depth, 50) for depth in (2, 3, 5)}
    figure = pictures.learning_speeds(results)
    assert [ax.get_title() for ax in figure.axes] == [
        f"{name}, {depth} hidden layers"
        for name, depth in (("descent", 2), ("descent", 3), ("training", 2), ("training", 3), ("training", 5))
    ]
    assert {ax.get_xlabel() for ax in figure.axes} == {"epoch"}
    assert all(ax.get_legend() is None for ax in figure.axes)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"layer {layer}" for layer in range(1, 6)]
    assert legend.get_title().get_text() == "mean of 3 seeds; band: 5-95 % of them"
    for ax in figure.axes:  # a layer has one colour in all panels
        colors = {line.get_label(): line.get_color() for line in ax.lines}
        handles = dict(zip((text.get_text() for text in legend.get_texts()), legend.get_lines(), strict=True))
        assert all(np.array_equal(handles[name].get_color(), color) for name, color in colors.items())
