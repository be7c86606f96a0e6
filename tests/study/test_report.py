"""The report: one page with the study's numbers, that a browser shows without an error and without a network."""

import base64
import csv
import io
import json
import re
import sys
from html import escape, unescape

import numpy as np
import pytest

from tests.browser import EARS, ask, needs_chromium
from tests.study.small import Here, trial
from tinygrad_vg import extras
from tinygrad_vg.study import Study, Trial, again, figures, report
from tinygrad_vg.study.state import Result
from tinygrad_vg.study.trial import labels

pytest.importorskip("jinja2", reason="jinja2 is not installed: the extra `report` brings it")


@pytest.fixture(scope="module")
def study(tmp_path_factory, digits):
    depths = [trial(digits, sizes=(16, *[5] * depth, 10), seeds=range(3), epochs=2) for depth in (2, 1)]
    study = Study([*depths, trial(digits, sizes=(16, 10), seeds=range(3), epochs=2)], tmp_path_factory.mktemp("study"))
    study.run(Here(), progress=False)
    return study


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    study.report(path)
    assert path.stat().st_size < 3e6
    return path.read_text(encoding="utf-8")


def tables(page):
    """The CSV files of the page, by name."""
    found = re.findall(r'href="data:text/csv;charset=utf-8;base64,([^"]*)" download="([\w.]+)"', page)
    return {name: [*csv.DictReader(io.StringIO(base64.b64decode(data).decode()))] for data, name in found}


@pytest.mark.long
def test_the_files_hold_the_results_of_the_study(page, study):
    files = tables(page)
    assert files.keys() == {"accuracies.csv", "comparison.csv", "gradients.csv", "settings.csv", "versions.csv",
                            "results.csv"}  # fmt: skip
    for row, each in zip(files["accuracies.csv"], study.trials, strict=True):
        assert float(row["accuracy, %"]) == pytest.approx(100 * study.result(each).accuracy[-1].mean())
    found = study.compare()
    np.testing.assert_array_equal([float(row["p"]) for row in files["comparison.csv"]], found["p"])
    table = study.results()
    assert [row["trial"] for row in files["results.csv"]] == table["trial"].tolist()
    for name in ("validation_accuracy", "validation_cost"):
        np.testing.assert_array_equal([float(row[name]) for row in files["results.csv"]], table[name])
    for row, each in zip(files["settings.csv"], study.trials, strict=True):
        assert row.pop("hash") == each.key
        assert {name: json.loads(value) if value.startswith("[") else value for name, value in row.items()} == {
            name: value if isinstance(value, list) else "" if value is None else str(value)
            for name, value in each.settings.items()
        }


@pytest.mark.long
def test_the_page_is_one_file_without_a_network_and_its_names_are_its_own(page):
    text = re.sub(r"xmlns(:\w+)?=\"[^\"]*\"", "", page.replace(unescape("&quot;"), '"'))
    assert not re.search(r"""(\bsrc|href)=["'](?!data:|#)|@import|url\((?!#)""", text)
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names)) > 100
    assert {*re.findall(r'(?:url\(|href=")#([^")]+)', page)} <= {*names}


@pytest.mark.parametrize("most", [1000, 7])
def test_frames_are_those_of_the_training(study, monkeypatch, most):
    """Alone the network is the same, but for rounding."""
    monkeypatch.setattr(again, "FRAMES", most)
    result = study.result(study.trials[0])
    history, ledger = again.frames(result.trial)
    every = 1 if most == 1000 else 5  # of 34 steps
    assert history.steps.tolist() == ledger.steps.tolist() == [*range(0, 34, every)]
    common = np.intersect1d(history.steps, result.history.steps, return_indices=True)[1:]
    assert len(common[0]) == (8 if every == 1 else 4)
    np.testing.assert_allclose(history.log10_norm[common[0]], result.history.log10_norm[common[1]][:, :, :1], atol=1e-4)


def test_a_training_that_is_too_long_is_shown_in_part(study, monkeypatch):
    monkeypatch.setattr(again, "STEPS", 20)
    monkeypatch.setattr(report, "STEPS", 20)
    assert again.frames(study.trials[0])[0].steps.tolist() == [*range(20)]
    assert report._span(34) == "the first 20 of 34 steps"
    assert report._span(20) == "all 20 steps"


def test_the_start_is_the_first_record_of_the_training_but_for_the_images(study):
    start = again.start_of(study.trials[0])
    assert start.history.log10_norm.shape == (1, 3, 3)
    assert start.ledger.at_start
    assert start.theory.layers == (1, 2, 3)
    assert start.steps == 17


def test_the_books_figures_are_beside_the_chapters_trainings_only():
    chapter = Trial((784, 30, 30, 10), weight_decay=5.0, seeds=range(16))
    assert again.book_accuracies(chapter) == {2: 0.9690}
    for change in ({"lr": 0.2}, {"epochs": 1}, {"images": 500}, {"activation": "Tanh"}, {"sizes": (784, 31, 10)}):
        assert again.book_accuracies(Trial(**(chapter.settings | change))) == {}


@pytest.mark.long
def test_trials_that_cannot_be_compared_are_reported_with_the_reason(study, tmp_path):
    one = Study(study.trials[2:], study.directory)  # with a single layer, and so without a way for a gradient
    one.report(tmp_path / "one.html")
    assert "The depths are not compared: all finished trials have sizes=" in unescape(
        (tmp_path / "one.html").read_text()
    )


def test_the_page_says_where_there_are_too_few_seeds(study, page):
    results = [study.result(each) for each in study.trials]
    few = "These are too few seeds"
    assert (report._least_p(results) > 0.05) == (few in page)
    assert min(study.compare()["p_holm"]) >= report._least_p(results) == pytest.approx(3 * 2 / 2**3)
    assert report._least_p(chapters_results()) < 0.05


def test_what_is_missing_is_named(study, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no trial of the study is finished"):
        Study(study.trials, tmp_path / "new").report(tmp_path / "page.html")
    for name in ("jinja2", "matplotlib"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(ModuleNotFoundError, match=re.escape(extras.install("report"))):
                study.report(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def chapters_results():
    """The chapter's trainings with 24 seeds, with drawn accuracies."""
    rng = np.random.default_rng(0)
    trials = [Trial((784, *[30] * depth, 10), weight_decay=5.0, seeds=range(24)) for depth in (1, 2, 3, 4, 5)]
    shares, costs = rng.integers(9000, 9700, (30, 24)) / 10_000, rng.uniform(0.1, 0.5, (30, 24))
    return [Result(each, shares, costs, None, {}, ()) for each in trials]


def test_the_chapters_study_makes_a_page_of_less_than_3_mb():
    """Its results.csv is the largest part that grows with seeds and epochs; figures and microscope have 1.1 MB."""
    assert len(report._epochs(chapters_results())) < 0.6e6


def test_the_books_figures_are_shown_beside_the_chapters_trainings():
    results = chapters_results()
    book = {depth: share for each in results for depth, share in again.book_accuracies(each.trial).items()}
    assert [row[-1] for row in report._accuracies(results, labels([each.trial for each in results]), book).rows] == [
        "96.48",
        "96.90",
        "96.57",
        "96.53",
        "",
    ]
    assert "the book's network" in unescape(figures.accuracy(figures.series_of(results), book))
    assert "the book's network" not in unescape(figures.accuracy(figures.series_of(results), {}))


def test_seeds_that_learn_nothing_are_counted_and_do_not_hide_the_others():
    results = chapters_results()
    assert " of 24:" not in figures.accuracy(figures.series_of(results), {})
    results[-1].accuracy[-1, :3] = 0.1064
    svg = figures.accuracy(figures.series_of(results), {})
    assert "3 of 24:" in svg
    assert "10.6 %" in svg
    assert not {">20<", ">40<", ">60<", ">80<"} & {*re.findall(r">\d+<", svg)}  # the ticks are those of the others


@needs_chromium
@pytest.mark.long
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_a_browser_shows_the_page_and_the_microscope_in_it(page, tmp_path, width, dark):
    question = """
    const frame = document.querySelector("iframe");
    if (!frame.contentWindow.microscope) await new Promise((then) => frame.addEventListener("load", then));
    const inner = frame.contentWindow;
    inner.microscope.show(3);
    return {
      svg: [...document.querySelectorAll("figure svg")].map((svg) => svg.getBoundingClientRect().width),
      step: inner.document.getElementById("step").textContent,
      needed: inner.document.documentElement.scrollWidth - inner.innerWidth,
      errors: inner.errors,
    };"""
    inside = escape("<head>" + EARS)
    page = page.replace(escape("<head>"), inside)
    assert inside in page
    asked = ask(tmp_path, page, question, width=width, dark=dark)
    assert asked["errors"] == []
    assert asked["width"] == width >= asked["needed"]
    found = asked["answer"]
    assert "failed" not in found, found
    assert min(found["svg"]) > 100
    assert found["step"].startswith("step 3 (4 of 34)")
    assert found["errors"] == []
    assert found["needed"] <= 0
