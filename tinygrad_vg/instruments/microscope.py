"""The microscope: one HTML page on which the gradients of a training are moved through, step by step."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.ledger_history import LedgerHistory
from tinygrad_vg.storage import replacing

TEMPLATE = Path(__file__).with_suffix(".html")
_PLACE = "@@DATA@@"  # of the data in the template


def microscope(
    history: History,
    path: str | os.PathLike[str],
    *,
    accuracy: tuple[Any, Any] | None = None,
    ledger: LedgerHistory | None = None,
) -> None:
    """Write one HTML page that shows ∂C/∂b of each neuron at each recorded step, with a slider over the steps.

    The page needs no network and no other file. It has the network, layer by layer, with a bar for each neuron; the
    change from layer to layer; the ladder; the norms of all layers over time; and the neurons of one layer over time.
    A fragment chooses what is shown first: `page.html#step=17&member=0&layer=1&scale=linear`. If there is no step 17,
    it is the nearest one.

    A value takes 5.3 bytes: 1,000 steps of 180 neurons are 1 MB. `history[::10]` and `history[:, :, :1]` are shorter
    histories.

    Args:
        history: of a network or an ensemble, recorded with `values=True`.
        path: the file to write.
        accuracy: (steps, shares): shares of samples that are classified correctly, (E,) or (E, R) for an ensemble of R
            members, and the numbers of the steps at which they were measured, (E,).
        ledger: the history of a ledger that has kept the accounts of the same network. It adds how much of a change
            comes from the weights, and how much from the slopes of the activations.

    Raises:
        ValueError: if the history is empty or has no values, or accuracy or ledger do not fit it.
        OSError: if the file cannot be written.

    >>> import tempfile, tinygrad_vg as tg
    >>> net = tg.nn.mlp([3, 4, 4, 1], rng=0)
    >>> with tg.instruments.GradientRecorder(net, values=True) as recorder:
    ...     for _ in range(3):
    ...         np.sum(net(np.ones((5, 3)))).backward()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     microscope(recorder.history, f"{folder}/microscope.html")
    ...     Path(folder, "microscope.html").read_text(encoding="utf-8")[:15]
    '<!DOCTYPE html>'
    """
    text = page(history, accuracy=accuracy, ledger=ledger)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(history: History, *, accuracy: tuple[Any, Any] | None = None, ledger: LedgerHistory | None = None) -> str:
    """The text of the page that `microscope` writes."""
    norms, values = _checked(history)
    members = norms.shape[2]
    data = {
        "steps": np.asarray(history.steps).tolist(),
        "layers": [*history.layers],
        "names": [*history.names],
        "sizes": [block.shape[2] for block in values],
        "members": members,
        "norms": _packed(norms),
        "units": [_packed(_directions(block)) for block in values],
        "accuracy": None if accuracy is None else _accuracies(*accuracy, members),
        "ledger": None if ledger is None else _accounts(history, ledger, members),
    }
    # A script ends at "</script", and "<!--" changes how it is read: neither can be in it without "<".
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace(_PLACE, text)


def _checked(history: History) -> tuple[Any, list[Any]]:
    """Norms (S, L, R), and for each layer the values (S, R, n), R = 1 for a single network."""
    if history.values is None:
        raise ValueError(
            "the microscope shows ∂C/∂b of each neuron, and the history has norms only: record it with "
            "GradientRecorder(net, values=True)"
        )
    norms = np.asarray(history.log10_norm, np.float64)
    if not norms.size:
        raise ValueError(f"the history is empty: its log10_norm has shape {norms.shape} (step, layer, member)")
    norms = norms.reshape(*norms.shape[:2], -1)
    return norms, [np.asarray(block, np.float64).reshape(len(norms), norms.shape[2], -1) for block in history.values]


def _directions(values: Any) -> Any:
    """The vectors of the last axis with length 1; float32 holds them where it would not hold the values, as 1e-60.

    A vector that is 0 stays so, and one with NaN or inf has NaN and inf at the same neurons, and 0 at the others.
    """
    sound = np.isfinite(values)
    whole = np.where(sound & sound.all(axis=-1, keepdims=True), values, 0.0)
    largest = np.abs(whole).max(axis=-1, keepdims=True, initial=0.0)
    scaled = whole / np.where(largest > 0, largest, 1.0)  # the square of 1e-200 would be 0
    length = np.sqrt((scaled**2).sum(axis=-1, keepdims=True))
    return np.where(sound, scaled / np.where(length > 0, length, 1.0), values)


def _accuracies(steps: Any, shares: Any, members: int) -> dict[str, Any]:
    steps, shares = np.asarray(steps), np.asarray(shares, np.float64)
    if steps.ndim != 1 or not len(steps) or shares.shape not in {(len(steps),), (len(steps), members)}:
        raise ValueError(
            f"accuracy is (steps, shares) with shapes (E,) and (E,) or (E, {members}), E at least 1, not "
            f"{steps.shape} and {shares.shape}"
        )
    by_member = np.broadcast_to(shares.reshape(len(steps), -1), (len(steps), members))
    return {"steps": steps.tolist(), "shares": _packed(by_member)}


def _accounts(history: History, ledger: LedgerHistory, members: int) -> dict[str, str]:
    """The accounts of the history's steps."""
    if ledger.layers != history.layers or np.shape(ledger.log10_norm)[2:] != np.shape(history.log10_norm)[2:]:
        raise ValueError(
            f"the ledger is of layers {ledger.layers} and shape {np.shape(ledger.log10_norm)} (step, layer, member), "
            f"and the history of {history.layers} and {np.shape(history.log10_norm)}: give a ledger of the same network"
        )
    if missing := sorted({*history.steps.tolist()} - {*ledger.steps.tolist()}):
        raise ValueError(
            f"the ledger has no step {missing[0]}, and {len(missing) - 1} more of the history's are missing: record "
            "both with the same `every`, or give history.rows(np.isin(history.steps, ledger.steps))"
        )
    rows = np.searchsorted(ledger.steps, history.steps)
    shape = len(rows), len(history.layers) - 1, members
    return {name: _packed(getattr(ledger, name)[rows].reshape(shape)) for name in ("weights", "activation")}


def _packed(array: Any) -> str:
    """Little-endian float32 in base64; NaN and infinities stay what they are."""
    with np.errstate(over="ignore"):
        return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode("ascii")
