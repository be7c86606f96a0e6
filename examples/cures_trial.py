"""One cure of cures.py: its gradient at the start on the ledger, and its accuracy after some training."""

import chapter
import numpy as np
from cures_convolutions import CONVOLUTIONAL
from cures_networks import CODED, DENSE, DEPTH, larger
from cures_pretraining import pre_trained

import tinygrad_vg as tg
from tinygrad_vg.instruments import Ledger, diagnose

PATIENTS = DENSE | CONVOLUTIONAL
BATCH, FACTORS = 20, np.logspace(0, 2, 9)


def on_ledger(net, images, targets):
    """The ledger of one backward: (layer, member) log10‖δ‖, decades a layer by cause (members), and the verdict.

    A Residual is a layer of the picture, though the ledger counts it as a part between two.
    """
    with Ledger(net) as ledger:
        tg.nn.BCEWithLogitsLoss("batchmean")(net(images), targets).backward()
    net.zero_grad()
    rows, parts = ledger.rows, [part for row in ledger for part in row.parts]
    norms = [unit.log10_norm for unit in ledger.accounts if unit.name is not None or unit.holds_layers]
    return {
        "norms": np.array(norms),
        "weights": sum(row.weights for row in rows) / DEPTH,
        "slopes": sum(part.decades for part in parts if part.is_activation) / DEPTH,
        "other": sum((part.decades for part in parts if not part.is_activation), np.zeros_like(rows[0].total)) / DEPTH,
        "verdict": diagnose(ledger),
    }


def accuracy(net, images, labels):
    """(members,) the shares of images that are classified correctly, in %."""
    with tg.no_grad():
        return 100 * (np.argmax(net(images), axis=-1) == labels).mean(axis=-1)


def trial(name, do, report=lambda share: False):
    """Put a cure on the ledger, then train it at each rate; keep the rate that is best on training images."""
    (images, labels, targets), (new, new_labels, _) = chapter.digits(), chapter.digits(do["new"], "validation")
    net = tg.nn.stack([PATIENTS[name](seed) for seed in range(do["seeds"])])
    if name == CODED:
        pre_trained(net, images[:5000], do["coding_steps"], BATCH)
    initial, result, best = net.state_dict(), on_ledger(net, images[:1000], targets[:1000]), -1.0
    for i, rate in enumerate(do["rates"]):
        net.load_state_dict(initial)
        # Machine code would take longer to compile, for each of the networks, than the steps take.
        step = chapter.step_of(net.train(), tg.optim.SGD(net.parameters(), lr=rate), by="numpy")
        with np.errstate(all="ignore"):  # some explode
            for k, rows in enumerate(np.random.default_rng(0).integers(0, len(images), (do["steps"], BATCH))):
                step(images[rows], targets[rows])
                if k % 50 == 0 and report((i + k / do["steps"]) / len(do["rates"])):
                    return result
            if (known := accuracy(net.eval(), images[:1000], labels[:1000]).mean()) > best:
                best, result = known, result | {"rate": rate, "accuracy": accuracy(net, new, new_labels)}
    return result


def sweep(name, do, report=lambda share: False):
    """Decades a layer of the patient with larger and larger weights, the mean over seeds for each factor."""
    images, _, targets = chapter.digits(1000)
    found = []
    for i, factor in enumerate(FACTORS):
        net = tg.nn.stack([larger(factor)(seed) for seed in range(do["seeds"])])
        norms = on_ledger(net, images, targets)["norms"]
        found.append((norms[0] - norms[-1]).mean() / DEPTH)
        report((i + 1) / len(FACTORS))
    return np.array(found)
