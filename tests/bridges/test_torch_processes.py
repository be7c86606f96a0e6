"""Networks that several processes train: real DistributedDataParallel and FSDP, on the CPU by gloo."""

import multiprocessing
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.torch, pytest.mark.long]
torch = pytest.importorskip("torch")
from tinygrad_vg.bridges.torch import GradientRecorder, Ledger  # noqa: E402

T = torch.nn
STEPS, EVERY = 9, 2


def drawn() -> Any:
    torch.manual_seed(0)
    return T.Sequential(T.Linear(3, 4), T.Tanh(), T.Linear(4, 4), T.Tanh(), T.Linear(4, 1)).double()


def batch(rank: int, step: int) -> Any:
    rng = torch.Generator().manual_seed(100 * rank + step)
    return torch.rand(6, 3, generator=rng, dtype=torch.float64)


def trained(rank: int, folder: str) -> None:
    """Train in one of two processes, and keep what was recorded, and what the gradients of its own batches are."""
    warnings.simplefilter("ignore")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        net = T.parallel.DistributedDataParallel(drawn())
        sgd = torch.optim.SGD(net.parameters(), lr=0.5)
        own, averaged = [], []
        with GradientRecorder(net, every=EVERY, values=True) as recorder, Ledger(net, every=EVERY) as ledger:
            for step in range(STEPS):
                plain = drawn()
                plain.load_state_dict(net.module.state_dict())
                plain(batch(rank, step)).square().mean().backward()
                sgd.zero_grad()
                net(batch(rank, step)).square().mean().backward()
                if step % EVERY == 0:
                    own.append([plain[i].bias.grad.numpy().copy() for i in (0, 2, 4)])
                    averaged.append(net.module[0].bias.grad.numpy().copy())
                sgd.step()
        assert recorder.is_local
        assert ledger.is_local
        assert recorder.history.steps.tolist() == ledger.history.steps.tolist() == [*range(0, STEPS, EVERY)]
        for row, gradients in enumerate(own):
            for values, gradient in zip(recorder.history.values, gradients, strict=True):
                np.testing.assert_array_equal(values[row], gradient)
        assert np.abs(np.array(averaged) - recorder.history.values[0]).max() > 1e-3
        Path(folder, f"passed-{rank}").touch()
    finally:
        torch.distributed.destroy_process_group()


def test_each_of_two_processes_records_the_gradients_of_its_own_batches(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=trained, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        if process.is_alive():
            process.terminate()
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(path.name for path in tmp_path.glob("passed-*")) == ["passed-0", "passed-1"]


def fsdp() -> Any:
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(drawn(), device_id=torch.device("cpu"))


def fsdp2() -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    return fully_shard(drawn(), mesh=init_device_mesh("cpu", (1,)))


@pytest.mark.filterwarnings("ignore")  # of PyTorch, about one process and about its own names
@pytest.mark.parametrize(("make", "name"), [(fsdp, "FSDP"), (fsdp2, "FSDP2")], ids=["FSDP", "FSDP2"])
@pytest.mark.parametrize("instrument", [GradientRecorder, Ledger])
def test_sharded_networks_are_refused(make: Any, name: str, instrument: Any, tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net = make()
        with pytest.raises(ValueError, match=f"the network is sharded by {name}, .* a copy that is not sharded"):
            instrument(net)
    finally:
        torch.distributed.destroy_process_group()
