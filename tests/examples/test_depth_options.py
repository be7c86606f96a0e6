"""The names that the options of the main job take are names that a study takes, and the network is made of them."""

import numpy as np

import tinygrad_vg as tg


def test_each_initializer_and_each_activation_is_one(script):
    experiment = script("depth_experiment")
    assert len(experiment.INITS) > 5
    for name, init in experiment.INITS.items():
        assert tg.study.Trial((784, 10), init=name).init == name
        weight = tg.nn.Parameter(np.zeros((30, 20)))
        init(weight, rng=0)
        assert weight.data.std() > 0
    for name in experiment.ACTIVATIONS.values():
        assert tg.study.Trial((784, 10), activation=name).activation == name
