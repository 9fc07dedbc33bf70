"""What early stops would have saved, and lost, in finished searches whose trainings all went to their end.

    python benchmarks/early_stops.py RUN [RUN ...] [--quantiles 0.3,0.5] [--after 10] [--output FILE]

The rule of ``search.early_stop`` is played on the curves of every run's trials in their order. Printed, a line a rule:
trainings stopped, epochs saved, how many of the best tenth by their final value would have been stopped, and how much
better the best training is than the best that would have been left.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from nichenas.core.schedulers.early_stops import StopSettings
from nichenas.core.schedulers.early_stops import study_stops
from nichenas.core.session.record import RunRecord


def main() -> None:
    """Prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--quantiles", default="0.2,0.3,0.5,0.7")
    parser.add_argument("--after", type=int, default=10)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("quantile trainings stopped  saved lost of the best tenth mean regret")
    for quantile in (float(word) for word in arguments.quantiles.split(",")):
        rule = StopSettings(quantile=quantile, after=arguments.after)
        found = []
        for folder in arguments.runs:
            record = RunRecord.read(folder)
            epochs = max(trial.epochs for trial in record.trials)
            found.append(study_stops(record.last_stage, record.objectives[0], epochs, rule))
        trainings, stopped = sum(one.trainings for one in found), sum(one.stopped for one in found)
        saved, regret = (sum(getattr(one, name) for one in found) / len(found) for name in ("saved", "regret"))
        lost, top = sum(one.lost_top for one in found), sum(one.top for one in found)
        print(f"{quantile:8g} {trainings:9d} {stopped:7d} {saved:6.0%} {f'{lost} of {top}':>22} {regret:11.4f}")
        rows.append({"quantile": quantile, "runs": [dataclasses.asdict(one) for one in found]})
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
