"""The labels of a study tell its trials apart, whichever settings those differ in."""

from dataclasses import fields

import pytest

from tests.study.small import Here, trial
from tinygrad_vg.study import Study, Trial
from tinygrad_vg.study.trial import labels

OTHER = dict(sizes=(784, 20, 10), activation="Tanh", init="xavier_normal", data="elsewhere", images=100,
             validation_images=50, optimizer="Adam", lr=0.5, momentum=0.9, weight_decay=1.0, cost="CrossEntropyLoss",
             batch=20, epochs=2, seeds=(1, 2), order_seed=1, every=10, dtype="float64", members_at_once=1)  # fmt: skip


@pytest.mark.parametrize("setting", [field.name for field in fields(Trial)])
def test_trials_that_differ_in_one_setting_have_labels_that_say_so(setting):
    usual = Trial((784, 30, 10))
    other = Trial(**{"sizes": (784, 30, 10), setting: OTHER[setting]})
    one, two = labels([usual, other]).values()
    assert one != two
    assert labels([usual])[usual.key] == usual.label == "784-30-10 Sigmoid"
    if setting not in ("sizes", "activation"):
        for told in (one, two):
            assert told.startswith(f"784-30-10 Sigmoid, {setting}")


def test_the_study_its_failures_and_its_errors_name_what_differs(tmp_path, digits):
    trials = [trial(digits, lr=0.1, epochs=1), trial(tmp_path / "none", lr=0.5, epochs=1)]
    study = Study(trials, tmp_path / "study")
    assert [study.label(each).count("lr=") for each in trials] == [1, 1]
    assert "lr=" not in trials[0].label
    outcome = study.run(Here(), progress=False)
    assert str(outcome).splitlines()[1].startswith(f"  {study.label(trials[1])}, seeds 3 to 4: ")
    with pytest.raises(ValueError, match=r"lr=0\.5.* is not finished"):
        study.result(trials[1])
    with pytest.raises(ValueError, match="is not one of this study"):
        study.label(Trial((784, 10)))
