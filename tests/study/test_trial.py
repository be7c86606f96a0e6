"""Trials: what they refuse, and that equal settings have equal names."""

import os
import pickle

import numpy as np
import pytest

from tinygrad_vg.study import Trial


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"activation": "Sigmoyd"}, ValueError, "activation is one of ELU, .*Sigmoid.*, not 'Sigmoyd'"),
        ({"activation": "Linear"}, ValueError, "activation is one of"),
        ({"init": "zeros"}, ValueError, "init is one of .*xavier_normal"),  # all networks would be the same
        ({"init": "xavier_normal_"}, ValueError, "init is one of .*xavier_normal"),
        ({"optimizer": "Optimizer"}, ValueError, "optimizer is one of Adam, AdamW, RMSprop, SGD, not"),
        ({"optimizer": "Adam", "momentum": 0.9}, ValueError, "Adam has no momentum, and momentum is 0.9"),
        ({"cost": "MSELoss"}, ValueError, "cost is one of BCEWithLogitsLoss, CrossEntropyLoss, not 'MSELoss'"),
        ({"dtype": "float16"}, ValueError, "dtype is one of float32, float64"),
        ({"lr": -1}, ValueError, "lr is a number from 0, not -1"),
        ({"lr": float("nan")}, ValueError, "lr is a number from 0, not nan"),
        ({"lr": "0.1"}, TypeError, "lr is a number, not '0.1'"),
        ({"epochs": 0}, ValueError, "epochs is a whole number from 1, not 0"),
        ({"epochs": 1.0}, TypeError, "epochs is a whole number, not 1.0"),
        ({"batch": True}, TypeError, "batch is a whole number, not True"),
        ({"images": 0}, ValueError, "images is a whole number from 1, not 0"),
        ({"members_at_once": 0}, ValueError, "members_at_once is a whole number from 1"),
        ({"seeds": ()}, ValueError, r"seeds names each network once, such as range\(4\), not \(\)"),
        ({"seeds": (1, 1)}, ValueError, r"seeds names each network once"),
        ({"seeds": (-1,)}, ValueError, "each of seeds is a whole number from 0, not -1"),
        ({"seeds": 3}, TypeError, "seeds is a tuple of whole numbers, not 3"),
        ({"sizes": (784,)}, ValueError, "sizes has the inputs first and the outputs last"),
        ({"sizes": (784, 0, 10)}, ValueError, "sizes has the inputs first and the outputs last"),
        ({"sizes": (16, 5, 10)}, ValueError, "MNIST has 784 pixels and 10 classes"),
        ({"every": 0}, ValueError, "every is a whole number from 1"),
    ],
)
def test_what_a_trial_refuses(settings, error, words):
    with pytest.raises(error, match=words):
        Trial(**{"sizes": (784, 30, 10)} | settings)


def test_equal_settings_have_equal_keys_however_they_are_written():
    trial = Trial((784, 30, 10), lr=1.0, seeds=(0, 1, 2))
    for twin in (
        Trial([784, np.int64(30), 10], lr=1, seeds=range(3)),
        Trial((784, 30, 10), lr=np.float64(1), seeds=np.arange(3)),
        Trial(**trial.settings),
        pickle.loads(pickle.dumps(trial)),
    ):
        assert twin == trial
        assert twin.key == trial.key
        assert hash(twin) == hash(trial)


def test_every_setting_is_in_the_key():
    others = {"sizes": (784, 31, 10), "activation": "Tanh", "init": "orthogonal", "data": "elsewhere", "images": 100,
              "validation_images": 50,
              "optimizer": "RMSprop", "lr": 0.2, "momentum": 0.5, "weight_decay": 5.0, "cost": "CrossEntropyLoss",
              "batch": 11, "epochs": 31, "seeds": (1,), "order_seed": 1, "every": 51, "dtype": "float64",
              "members_at_once": 9}  # fmt: skip
    assert others.keys() == Trial((784, 30, 10)).settings.keys()
    keys = {Trial(**{"sizes": (784, 30, 10)} | {name: value}).key for name, value in others.items()}
    assert len(keys | {Trial((784, 30, 10)).key}) == len(others) + 1


def test_a_directory_of_data_is_the_same_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Trial((16, 10), data="digits").data == os.path.join(tmp_path, "digits")
