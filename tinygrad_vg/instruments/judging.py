"""Judging: from the decades of each step, and the state of each member, to a verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vg.instruments.accounts import Row, taken
from tinygrad_vg.instruments.dying import Dying
from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.ledger_history import WINDOW, LedgerHistory
from tinygrad_vg.instruments.naming import (
    Named,
    commonest,
    outliers,
    source_in_rows,
    source_of_nonfinite,
    source_of_nothing,
)
from tinygrad_vg.instruments.reading import Reading
from tinygrad_vg.instruments.verdict import KEEPS, SATURATED, STEADY, Diagnosis, LayerVerdict, severity_of
from tinygrad_vg.notation import median

# The fates of a member, the gravest first. A member with a fate has no figures.
_FATES = ("not finite", "not computed", "no gradient", "underflow")


@dataclass(frozen=True, eq=False)
class Way:
    """The data of a verdict. The S samples are members, or the steps of a history times members.

    Attributes:
        layers: the number of the layer that each step arrives at, (L−1,).
        steps: decades of each step, (L−1, S), NaN where they are not known.
        weights: the part of the weights in these decades.
        causes: for each step and sample the reason why it has no meaningful value, or None.
        fates: for each sample one of `_FATES`, or None.
        is_silent: for each sample, whether no gradient arrived in several backwards although the cost had one.
        sources: for each sample the layer or part that is to blame for its fate.
        named: the parts that stand out.
        labels: the names of the modules between the layers.
        unit, slopes, at_start: as in the diagnosis.
        saturation: decades from the largest slopes to those of each step, (L−1,).
        dying: as in the diagnosis.
    """

    layers: tuple[int, ...]
    steps: Any
    weights: Any
    causes: list[tuple[str | None, ...]]
    fates: list[str | None]
    is_silent: list[bool]
    at_start: bool
    sources: tuple[Named | None, ...] = ()
    named: tuple[Named, ...] = ()
    labels: str = ""
    unit: str = "layer"
    slopes: bool = True
    saturation: Any = None
    dying: Dying | None = None


def judge_ledger(ledger: Reading) -> Diagnosis:
    """The verdict on a ledger's last backward."""
    accounts, rows = ledger.accounts, ledger.rows
    if not rows:
        raise ValueError("a verdict needs two layers or more")
    causes = [row.causes for row in rows]
    fates, sources = [], []
    for member in range(len(causes[0])):
        source, fate = None, _fate([cause[member] for cause in causes])
        if fate in ("not finite", "no gradient"):
            source = source_of_nonfinite(accounts, member)
            if source is not None:
                fate = "not finite"  # also where a z that is not finite has made the slopes 0
            elif fate == "no gradient":
                source = source_of_nothing(accounts, member)
        fates.append(fate)
        sources.append(source)
    is_silent = _silent(np.atleast_1d(ledger.silent) > 1, np.atleast_1d(ledger.log10_norm[-1]))
    return judge(replace(_way(rows, fates, sources, is_silent, ledger.at_start), dying=ledger.dying))


def judge_ledger_history(history: LedgerHistory) -> Diagnosis:
    """The verdict on the last steps of a ledger's history."""
    if len(history.steps) == 0:
        raise ValueError("the history holds no steps")
    if len(history.layers) < 2:
        raise ValueError("a verdict needs two layers or more")
    history = history[-WINDOW:]
    rows, top = history.rows(), history.log10_norm[:, -1].ravel()
    fates = [_fate(list(column)) for column in zip(*(row.causes for row in rows), strict=True)]
    fates = _lasting(fates, len(history.steps))
    closed = history.off and np.array([np.zeros(len(fates), bool) if flags is None else flags.all(axis=-1).ravel()
                                       for flags in history.off])  # fmt: skip
    sources = [source_in_rows(rows, top, closed, i) for i in range(len(fates))]
    is_silent = _silent(len(history.steps) > 1, top)
    return judge(_way(rows, fates, sources, is_silent, history.at_start))


def _way(
    rows: Sequence[Row], fates: list[str | None], sources: Sequence[Named | None], is_silent: list[bool], at_start: bool
) -> Way:
    """The way of rows with numbers of S samples."""
    parts = [part for row in rows for part in row.parts]
    return Way(
        layers=tuple(row.layer for row in rows),
        steps=np.array([np.atleast_1d(row.total) for row in rows]),
        weights=np.array([np.atleast_1d(row.weights) for row in rows]),
        causes=[row.causes for row in rows],
        fates=fates,
        is_silent=is_silent,
        at_start=at_start,
        sources=tuple(sources),
        named=outliers(rows),
        labels=", ".join(dict.fromkeys(part.label for part in parts)) or "nothing",
        unit="step" if any(part.holds_layers for part in parts) else rows[0].unit,
        slopes=all(part.is_activation for part in parts),
        saturation=np.array([_saturation(row) for row in rows]),
    )


def judge_history(history: History, at_start: bool) -> Diagnosis:
    """The verdict on the last steps of a history; `at_start` is whether the network is untrained."""
    if len(history.steps) == 0:
        raise ValueError("the history holds no steps")
    if len(history.layers) < 2:
        raise ValueError("a verdict needs two layers or more")
    history = history[-WINDOW:]
    levels = np.moveaxis(history.log10_norm, 1, 0)  # (L, S) or (L, S, R)
    broken = history.first_nonfinite is not None and history.steps >= history.first_nonfinite
    broken = np.broadcast_to(np.reshape(broken, (-1, *[1] * (levels.ndim - 2))), levels.shape[1:]).ravel()
    levels = levels.reshape(len(levels), -1)
    lost = np.where(broken, "not finite", "not computed")
    causes = [
        tuple(
            "not finite" if math.inf in ends else str(lost[i]) if np.isnan(ends).any() else
            "no gradient" if ends[0] == -math.inf else None
            for i, ends in enumerate(zip(low.tolist(), high.tolist(), strict=True))
        )
        for low, high in pairwise(levels)
    ]  # fmt: skip
    steps = np.array([taken(high, low) for low, high in pairwise(levels)])
    fates = [_fate(list(column)) for column in zip(*causes, strict=True)]
    return judge(
        Way(
            layers=history.layers[:-1],
            steps=steps,
            weights=np.full_like(steps, np.nan),
            causes=causes,
            fates=_lasting(fates, len(history.steps)),
            is_silent=_silent(len(history.steps) > 1, levels[-1]),
            at_start=at_start,
        )
    )


def judge(way: Way) -> Diagnosis:
    """The verdict on a way."""
    fate = _majority(way.fates)
    common: dict[str, Any] = {
        "layers": _layer_verdicts(way, "dead" if _is_confirmed(way) else "no gradient"),
        "between": way.labels,
        "at_start": way.at_start,
        "unit": way.unit,
        "slopes": way.slopes,
        "dying": way.dying,
    }
    if fate is None or fate == "underflow":
        return Diagnosis(**_figures(way, fate), named=way.named, **common)
    return Diagnosis(
        state="dead" if fate == "no gradient" and _is_confirmed(way) else fate,
        rate=math.nan,
        interval=(math.nan, math.nan),
        cause=None,
        weights=math.nan,
        activation=math.nan,
        total=-math.inf if fate == "no gradient" else math.nan,
        span=math.nan,
        severity="at risk" if fate == "no gradient" and way.dying else None,
        named=commonest([source for source, own in zip(way.sources, way.fates, strict=False) if own == fate]),
        steps=len(way.layers),
        samples=len(way.fates),
        **common,
    )


def _figures(way: Way, fate: str | None) -> dict[str, Any]:
    """State and figures, over the samples with this fate; with underflow, over the steps that have numbers."""
    counted = [i for i, own in enumerate(way.fates) if own == fate]
    steps, weights = way.steps[:, counted], way.weights[:, counted]
    known = np.array([[cause[i] is None for i in counted] for cause in way.causes]) & np.isfinite(steps)
    counts = np.maximum(known.sum(axis=0), 1)
    sums, own = (np.where(known, part, 0.0).sum(axis=0) for part in (steps, weights))
    total, rate, span = median(sums), median(sums / counts), _span(np.where(known, steps, 0.0))
    interval = _interval(sums / counts, [median(step) for step in way.steps])
    state = fate or _direction(total, span, interval if len(counted) > 1 else None, way.at_start)
    by_weights, between = median(own / counts), median((sums - own) / counts)
    cause, severity = None, None if way.unit == "time step" else severity_of(max(abs(total), span))
    if way.dying and fate is None and severity in (None, "mild"):
        state, severity, cause = "dying", "at risk", "width"
    elif state not in ("stable", "uneven", "unsure") and math.isfinite(by_weights):
        cause = "weights" if (by_weights < between) == (rate < 0) else "activation"
    return {
        "state": state,
        "rate": rate,
        "interval": interval,
        "cause": cause,
        "weights": by_weights,
        "activation": between,
        "total": total,
        "span": span,
        "severity": severity,
        "steps": int(np.median(counts)),
        "samples": len(counted),
    }


def _is_confirmed(way: Way) -> bool:
    """Whether for most samples no gradient arrived in more than one backward."""
    return 2 * sum(way.is_silent) > len(way.is_silent)


def _silent(is_repeated: Any, top: Any) -> list[bool]:
    """Whether no gradient arrived several times in a row although the cost had one."""
    silent: list[bool] = (is_repeated & ~np.isneginf(top)).tolist()
    return silent


def _fate(causes: list[str | None]) -> str | None:
    """The fate of one sample, from the causes of its steps."""
    return next((fate for fate in _FATES if fate in causes), None)


def _lasting(fates: list[str | None], steps: int) -> list[str | None]:
    """The fates of R members in each step, those of a step together: a member that is not finite in the last step is
    not finite as a whole, because NaN stays in the weights."""
    last = fates[-(len(fates) // steps) :]
    return [end if (end := last[i % len(last)]) == "not finite" else fate for i, fate in enumerate(fates)]


def _majority(fates: list[str | None]) -> str | None:
    """The value of more than half of the samples; if there is none, None where it occurs, else the most frequent."""
    most = max(dict.fromkeys(fates), key=fates.count)
    return most if 2 * fates.count(most) > len(fates) or None not in fates else None


def _direction(total: float, span: float, interval: tuple[float, float] | None, at_start: bool) -> str:
    if max(abs(total), span) < KEEPS:
        return "stable"
    if abs(total) < KEEPS:
        return "uneven"
    if interval is not None and interval[0] <= 0 <= interval[1]:
        return "unsure"
    if at_start:
        return "vanishing" if total < 0 else "exploding"
    return "shrinking" if total < 0 else "growing"


def _span(steps: Any) -> float:
    """The decades from the smallest to the largest ‖δ‖, of the median over members, because single members scatter."""
    if not steps.shape[1]:
        return math.nan
    way = np.median(np.cumsum(steps[::-1], axis=0), axis=1)  # from the last layer down, which is at 0
    return float(max(way.max(), 0.0) - min(way.min(), 0.0))


def _interval(rates: Any, steps: list[float]) -> tuple[float, float]:
    if len(rates) > 1:
        low, high = np.quantile(rates, [0.05, 0.95])
        return float(low), float(high)
    if len(steps) < 2 or not np.isfinite(steps).all():
        return math.nan, math.nan
    error = 1.645 * float(np.std(steps, ddof=1)) / math.sqrt(len(steps))
    return float(rates[0]) - error, float(rates[0]) + error


def _layer_verdicts(way: Way, silent: str) -> tuple[LayerVerdict, ...]:
    """A verdict for each step. If most samples of a step have no meaningful value, its state is the reason."""
    verdicts = []
    for i, layer in enumerate(way.layers):
        rate = median(way.steps[i])
        cause = _majority(list(way.causes[i]))
        state = silent if cause == "no gradient" else cause
        if state is None:
            state = _step(rate, -math.inf if way.saturation is None else -way.saturation[i])
        verdicts.append(LayerVerdict(layer, state, -math.inf if cause == "no gradient" else rate))
    return tuple(verdicts)


def _step(rate: float, saturation: float) -> str:
    """The state of a step, from its decades and from the decades that its slopes are below their largest value."""
    if rate > STEADY:
        return "growing"
    if rate >= -STEADY:
        return "stable"
    return "saturated" if saturation > SATURATED else "shrinking"


def _saturation(row: Row) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.median(row.activation - row.cap))
