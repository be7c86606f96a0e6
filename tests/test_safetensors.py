"""`.safetensors` files: arrays come back, weights of PyTorch load by their names, and what is damaged is refused."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.extras import install
from tinygrad_vg.safetensors_file import DTYPES


def test_without_the_package_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)  # what Python does where it is missing
    path = tmp_path / "a.safetensors"
    with pytest.raises(ModuleNotFoundError, match=re.escape(install("safetensors"))):
        tg.save({"a": np.ones(2)}, path)
    assert not path.exists()
    path.write_bytes(b"anything")
    with pytest.raises(ModuleNotFoundError, match=re.escape(install("safetensors"))):
        tg.load(path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
def test_a_pickle_of_pytorch_is_refused_with_what_to_write(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"loading one can run code: in PyTorch write safetensors\.torch\.save_file"):
        tg.load(path)


@pytest.mark.parametrize("code", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
def test_round_trip(tmp_path: Path, code: str, order: str) -> None:
    pytest.importorskip("safetensors")
    array = (np.arange(24).reshape(2, 3, 4) % 7).astype(np.dtype(code).newbyteorder(order))
    given = {"whole": array, "strided": array[:, ::2], "transposed": array.T, "none": array[:0], "one": array[0, 0, 1]}
    tg.save(given, tmp_path / "a.safetensors")
    loaded = tg.load(tmp_path / "a.safetensors")
    assert loaded.keys() == given.keys()
    for name, expected in given.items():
        np.testing.assert_array_equal(loaded[name], expected)
        assert loaded[name].shape == expected.shape
        assert loaded[name].dtype == np.dtype(code).newbyteorder("=")
        assert loaded[name].flags.writeable


def test_a_model_comes_back_whichever_the_file(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    net, other = (nn.Sequential(nn.Linear(4, 3, rng=i), nn.BatchNorm1d(3), nn.Tanh()) for i in range(2))
    for name in ("model.npz", "model.safetensors"):
        tg.save(net.state_dict(), tmp_path / name)
        other.load_state_dict(tg.load(tmp_path / name))
        assert all(np.array_equal(array, net.state_dict()[key]) for key, array in other.state_dict().items())
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["model.npz", "model.safetensors"]


def test_what_such_a_file_cannot_hold_is_refused_before_it_is_written(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "a.safetensors"
    for name, array, words in [
        ("a", np.array(["text"]), "'a' is <U4, which .safetensors files do not hold; save it as .npz"),
        ("a", np.ones(2, np.clongdouble), "do not hold"),
        ("__metadata__", np.ones(2), "cannot be the name of an array"),
    ]:
        with pytest.raises(ValueError, match=words):
            tg.save({name: array}, path)
    with pytest.raises(TypeError, match="masked"):
        tg.save({"a": np.ma.masked_invalid([np.nan])}, path)
    assert not path.exists()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "a.safetensors"
    tg.save({"a": np.arange(5.0), "b": np.ones((2, 3))}, path)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:-1], whole + b"more", whole[:20], b"\xff" * 8 + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.safetensors is not a whole \.safetensors file"):
            tg.load(path)
    with pytest.raises(FileNotFoundError):
        tg.load(tmp_path / "missing.safetensors")


@pytest.mark.torch
def test_weights_of_pytorch_load_by_their_names(tmp_path: Path) -> None:
    """Each layer that both have, written by PyTorch and loaded here, and the other way round."""
    torch, library = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    t, path = torch.nn, tmp_path / "net.safetensors"
    pairs: list[tuple[Any, nn.Module, tuple[int, ...]]] = [
        (t.Sequential(t.Linear(4, 5), t.LayerNorm(5), t.Sequential(t.GELU(), t.Linear(5, 2, bias=False))),
         nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Sequential(nn.GELU(), nn.Linear(5, 2, bias=False))),
         (6, 4)),
        (t.Sequential(t.Conv2d(2, 3, 3), t.Flatten(), t.BatchNorm1d(12)),
         nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.BatchNorm1d(12)), (6, 2, 4, 4)),
        (t.LSTM(4, 3, 2), nn.LSTM(4, 3, 2), (5, 6, 4)),
    ]  # fmt: skip
    for theirs, ours, shape in pairs:
        theirs.double()
        x = np.random.default_rng(0).normal(size=shape)
        theirs(torch.from_numpy(x))  # for the running means
        library.save_file(theirs.state_dict(), path)
        ours.load_state_dict(tg.load(path))
        outputs = [net(given) for net, given in ((ours.eval(), x), (theirs.eval(), torch.from_numpy(x)))]
        here, there = (output[0] if isinstance(output, tuple) else output for output in outputs)
        np.testing.assert_allclose(here.data, there.detach().numpy(), rtol=1e-12, atol=1e-14)
        tg.save({name: array * 2 for name, array in ours.state_dict().items()}, path)
        theirs.load_state_dict(library.load_file(path))
        for name, array in ours.state_dict().items():
            np.testing.assert_array_equal(theirs.state_dict()[name].numpy(), array * 2)


@pytest.mark.torch
def test_bfloat16_is_loaded_as_float32_exactly(tmp_path: Path) -> None:
    torch, library = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    path = tmp_path / "a.safetensors"
    weight = torch.tensor([[0.1, -3e38, 1e-40], [float("inf"), float("nan"), -0.0]]).to(torch.bfloat16)
    library.save_file({"weight": weight}, path)
    loaded = tg.load(path)["weight"]
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, weight.float().numpy())
    library.save_file({"weight": torch.ones(2).to(torch.float8_e4m3fn)}, path)
    with pytest.raises(ValueError, match="'weight' is F8_E4M3, which NumPy does not have"):
        tg.load(path)
