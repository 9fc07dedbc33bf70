"""Trials and full trainings as JSON, of every version that a journal had.

Version 2 gave what search methods and schedulers say of a trial fields of their own (``rung``, ``stage``, ``final``,
``record``), which stood in the strategy's ``tag`` before; ``continues`` and ``begins`` became ``parent`` and ``start``.
"""

from __future__ import annotations

import json
import math
from typing import Any

from nichenas.core.fidelity import Fidelity
from nichenas.core.space import Architecture
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.core.trial import Trial

JOURNAL_VERSION = 2


def trial_to_json(trial: Trial) -> str:
    """Returns a trial as one line."""
    proposal, measured = trial.proposal, trial.measurement
    record: dict[str, Any] = {"architecture": dict(proposal.architecture), "fidelity": dict(proposal.fidelity)}
    optional = {
        "parent": proposal.parent,
        "horizon": proposal.horizon,
        "start": proposal.start or None,
        "rung": proposal.rung,
        "repeat_of": proposal.repeat_of,
        "repeat": proposal.repeat or None,
        "tag": dict(proposal.tag) or None,
        "epochs": trial.epochs or None,
        "stage": trial.stage or None,
        "final": trial.final or None,
        "record": dict(trial.record) or None,
    }
    record.update((name, value) for name, value in optional.items() if value is not None)
    record["seconds"] = trial.seconds
    if measured is None:
        record.update(failure=trial.failure, detail=trial.detail)
    else:
        record["measurement"] = _measurement_to_json(measured)
    return json.dumps(record, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    """Returns a number or array of another library, in a tag, as JSON knows it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a tag holds a {type(value).__name__}, which JSON does not know")


def _measurement_to_json(measured: Measurement) -> dict[str, Any]:
    fields: dict[str, Any] = {"values": {name: _finite(value) for name, value in measured.values.items()}}
    optional = {
        "curve": [list(point) for point in measured.curve] or None,
        "epochs": measured.epochs,
        "peak_memory": measured.peak_memory or None,
        "diagnostics": dict(measured.diagnostics) or None,
        "scalars": {name: _finite(value) for name, value in measured.scalars.items()} or None,
        "simulated_seconds": measured.simulated_seconds,
        "stopped": measured.stopped or None,
    }
    fields.update((name, value) for name, value in optional.items() if value is not None)
    return fields


def trial_from_json(number: int, text: str) -> Trial:
    """Returns the trial that :func:`trial_to_json` wrote."""
    record = json.loads(text)
    measurement = None
    if "measurement" in record:
        fields = record["measurement"]
        fields["values"] = {name: float(value) for name, value in fields["values"].items()}
        fields["scalars"] = {name: float(value) for name, value in fields.get("scalars", {}).items()}
        fields["curve"] = tuple((int(epoch), float(value)) for epoch, value in fields.get("curve", ()))
        measurement = Measurement(**fields)
    proposal = Proposal(
        Architecture(record["architecture"]),
        Fidelity(**record["fidelity"]),
        parent=record.get("parent"),
        tag=record.get("tag", {}),
        horizon=record.get("horizon"),
        start=record.get("start", 0.0),
        rung=record.get("rung"),
        repeat_of=record.get("repeat_of"),
        repeat=record.get("repeat", 0),
    )
    return Trial(
        number,
        proposal,
        measurement,
        failure=record.get("failure"),
        detail=record.get("detail", ""),
        seconds=record["seconds"],
        epochs=record.get("epochs", 0),
        stage=record.get("stage", 0),
        final=record.get("final", False),
        record=record.get("record", {}),
    )


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no infinity; float() reads it back


def retrained_to_json(result: Retrained | str) -> str:
    """Returns a full training's figures, or the reason of its failure, as one line."""
    if isinstance(result, str):
        return json.dumps({"failure": result})
    parts = {part: {n: _finite(v) for n, v in getattr(result, part).items()} for part in ("validation", "test")}
    return json.dumps({**parts, "seconds": result.seconds})


def retrained_from_json(text: str) -> Retrained | str:
    """Returns what :func:`retrained_to_json` wrote."""
    record = json.loads(text)
    if "failure" in record:
        return str(record["failure"])
    parts = {part: {n: float(v) for n, v in record[part].items()} for part in ("validation", "test")}
    return Retrained(parts["validation"], parts["test"], seconds=record["seconds"])


def upgrade_record(text: str, version: int) -> str:
    """Returns the record of a trial, written by an older version, as the present one writes it."""
    if version == JOURNAL_VERSION:
        return text
    record = json.loads(text)
    for upgrade in _UPGRADES[version - 1 :]:
        upgrade(record)
    return json.dumps(record, separators=(",", ":"))


def upgrade_meta(key: str, value: Any, version: int) -> Any:
    """Returns a value kept beside the trials, written by an older version, as the present one writes it."""
    if version < 2 and key == "objectives":
        return [{**fields, "source": "supernet" if "supernet]" in fields["name"] else ""} for fields in value]
    return value


def _from_version_1(record: dict[str, Any]) -> None:
    tag = record.pop("tag", {})
    own = {} if tag.get("iteration") is None else {"iteration": tag.pop("iteration")}
    if "collapsed" in tag:  # of a gradient search; its epoch is the number of the trial
        own.update({"collapsed": True} if tag.pop("collapsed") else {})
        tag.pop("epoch", None)
    moved = {
        "parent": record.pop("continues", None),
        "start": record.pop("begins", None),
        "rung": tag.pop("segment", None),
        "stage": tag.pop("stage", None) or None,
        "final": tag.pop("candidate", None),
        "record": own or None,
        "tag": tag or None,
    }
    record.update((name, value) for name, value in moved.items() if value is not None)
    if "measurement" in record:
        measured = record["measurement"]
        measured.pop("seconds", None)  # those of the trial
        scalars = measured.get("diagnostics", {}).pop("curves", None)
        if scalars:
            measured["scalars"] = scalars


_UPGRADES = (_from_version_1,)  # from version 1, 2, ... to the next
