"""What the instruments refuse, each with a sentence that says what to write instead."""

import re
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
from tinygrad_vg.bridges.torch import GradientRecorder, Ledger  # noqa: E402

T = torch.nn


def net() -> Any:
    return T.Sequential(T.Linear(3, 4), T.ReLU(), T.Linear(4, 1))


class FullyShardedDataParallel(T.Module):
    """A stand-in with FSDP's name: the real one wants a process group."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module


def compiled_in_place() -> Any:
    own = net()
    own.compile()
    return own


REFUSED = {
    "compiled": (lambda: torch.compile(net()), "compiled, and compiled code calls no hooks.*before torch.compile"),
    "compiled in place": (compiled_in_place, "compiled, and compiled code calls no hooks.*before torch.compile"),
    "script": (lambda: torch.jit.trace(net(), torch.ones(2, 3)), "ScriptModule.*before torch.jit"),
    "data parallel": (lambda: T.DataParallel(net()), "a DataParallel, which makes a replica.*train net.module"),
    "sharded": (lambda: FullyShardedDataParallel(net()), "sharded by FSDP.*a copy"),
    "lazy": (lambda: T.Sequential(T.LazyLinear(3)), "'0' is lazy.*call the network once before"),
    "gates": (lambda: T.Sequential(T.LSTM(3, 4)), "'0' is a LSTM, which computes its gates.*tg.nn.LSTM"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit
@pytest.mark.filterwarnings("ignore::UserWarning")  # lazy modules are said to be new
@pytest.mark.parametrize("instrument", [GradientRecorder, Ledger])
@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_networks_whose_gradients_hooks_do_not_see(make: Any, message: str, instrument: Any) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        instrument(make())


def test_arguments_out_of_range() -> None:
    with pytest.raises(TypeError, match=r"torch\.nn\.Module, not list"):
        GradientRecorder([])
    with pytest.raises(ValueError, match="has no Linear, convolution or bias"):
        GradientRecorder(T.Sequential(T.ReLU()))
    with pytest.raises(ValueError, match="has no Linear or convolution"):
        Ledger(T.Sequential(T.ReLU()))
    with pytest.raises(ValueError, match="there is no layer 'x'"):
        GradientRecorder(net(), layers=["x"])
    with pytest.raises(ValueError, match="there is no module 'x'"):
        Ledger(net(), layers=["x"])
    with pytest.raises(ValueError, match=r"'0\.0' is inside '0'"):
        Ledger(T.Sequential(net()), layers=["0", "0.0"])
    for options in ({"every": 0}, {"max_steps": 0}, {"on_nonfinite": "stop"}, {"call": "each"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            GradientRecorder(net(), **options)
    for options in ({"every": 0}, {"max_steps": 0}, {"neurons": True}, {"call": "sum"}):
        with pytest.raises(ValueError, match=r"every|max_steps|call"):
            Ledger(net(), **options)


def test_a_ledger_without_what_was_asked() -> None:
    ledger = Ledger(net())
    with pytest.raises(RuntimeError, match="heard no backward"):
        ledger.rows  # noqa: B018
    with pytest.raises(RuntimeError, match="keeps only the last backward"):
        ledger.history  # noqa: B018
    assert "no backward heard yet" in str(ledger)


def test_gradients_of_one_process_are_named_local(tmp_path: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        parallel = T.parallel.DistributedDataParallel(net())
        with pytest.warns(UserWarning, match="the gradients are local: those of this process"):
            recorder = GradientRecorder(parallel)
        with pytest.warns(UserWarning, match="local"):
            ledger = Ledger(parallel)
        with recorder, ledger:
            parallel(torch.ones(5, 3)).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert recorder.is_local
    assert ledger.is_local
    assert recorder.names == ledger.names == ("0", "2")
    assert len(recorder.history.steps) == 1


def test_without_pytorch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape("[torch]")):
        GradientRecorder(None)
