"""A study of claims: gates, searches, controls and tests, as its file has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nichenas.core.capabilities.costing import Costing
from nichenas.core.capabilities.criterion import criterion_of
from nichenas.core.capabilities.notes import data_identity_of
from nichenas.core.claims.controls import check_control
from nichenas.core.claims.controls import draw_control
from nichenas.core.claims.decisions import decide_claims
from nichenas.core.claims.decisions import undecidable
from nichenas.core.claims.loading import LoadedStudy
from nichenas.core.claims.page import write_claims_page
from nichenas.core.claims.settings import WRITTEN
from nichenas.core.claims.settings import StudyFile
from nichenas.core.claims.settings import gate_folder
from nichenas.core.claims.summary import ClaimsSummary
from nichenas.core.claims.summary import GateResult
from nichenas.core.claims.summary import RunRow
from nichenas.core.claims.summary import arm_row
from nichenas.core.claims.summary import baseline_rows
from nichenas.core.commands.proxies import run_proxies
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.sessions import prepare_domain
from nichenas.core.commands.several_runs import PlannedRun
from nichenas.core.commands.several_runs import check_jobs
from nichenas.core.commands.several_runs import finish_all
from nichenas.core.commands.several_runs import with_seed
from nichenas.core.config import diff_configs
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import Interrupted
from nichenas.core.errors import RunFolderError
from nichenas.core.errors import unknown_name_message
from nichenas.core.execution.provenance import device_name
from nichenas.core.files import read_yaml
from nichenas.core.files import write_yaml
from nichenas.core.objectives import Objective
from nichenas.core.report.terminal import print_notes
from nichenas.core.seeds import numpy_generator
from nichenas.core.session.record import run_folder_of
from nichenas.core.session.results import RunResult
from nichenas.core.session.run_folder import FOREIGN

FAILED = "the search measured no candidate"


def run_study(loaded: LoadedStudy, folder: Path, options: RunOptions | None = None, *, jobs: int = 1) -> ClaimsSummary:
    """Runs or continues a study; what is finished is kept.

    A search without an outcome and a control that cannot be drawn are failed runs: no claim is decided with them.

    Args:
        jobs: how many runs go on at a time, each in a process of its own.

    Returns:
        The summary; without arms where a gate was not passed, and then nothing was searched.

    Raises:
        UserError: for what the domain cannot do, or a folder that holds something else, another study too.
        Interrupted: on Ctrl-C.
    """
    check_jobs(jobs)
    try:
        return _Study(loaded, folder, dataclasses.replace(options or RunOptions(), resume=None), jobs).run()
    except (KeyboardInterrupt, Interrupted) as error:
        interrupted = error if isinstance(error, Interrupted) else Interrupted("interrupted")
        interrupted.advice = "the same command continues the study"
        raise interrupted from None


@dataclass
class _Study:
    loaded: LoadedStudy
    folder: Path
    options: RunOptions
    jobs: int

    @property
    def study(self) -> StudyFile:
        return self.loaded.study

    def run(self) -> ClaimsSummary:
        self._check_domains()
        self._write_down()
        if undecidable(len(self.study.claims), self.study.seeds) and not self.options.quiet:
            print_notes([f"with {self.study.seeds} seeds some claims cannot be decided, whatever comes out (seeds)"])
        gates = tuple(self._gate(arm) for arm in self.study.gated)
        rows: dict[str, list[RunRow]] = {name: [] for name in (*self.study.arms, *self.study.controls)}
        if all(gate.passed for gate in gates):
            # An interrupted study holds the same seeds of everything; with several jobs, of so many at a time.
            step = max(1, -(-self.jobs // len(self.study.arms)))
            for start in range(0, self.study.seeds, step):
                indices = range(start, min(start + step, self.study.seeds))
                self._finish([self._search(arm, index) for index in indices for arm in self.study.arms])
                controls = {
                    (name, index): self._control(name, index) for index in indices for name in self.study.controls
                }
                self._finish([planned for planned, _ in controls.values() if planned is not None])
                for index in indices:
                    for arm in self.study.arms:
                        rows[arm].append(self._row(arm, index, self._search(arm, index)))
                    for name in self.study.controls:
                        rows[name].append(self._row(name, index, *controls[name, index]))
        return self._summarise(gates, rows)

    @cached_property
    def _domains(self) -> dict[str, Domain]:
        return {arm: prepare_domain(own, self.options.data)[0] for arm, own in self.loaded.resolved.items()}

    @cached_property
    def _figure(self) -> Objective:
        """What decides."""
        domain = self._domain(self.study.first)
        known = {one.name: one for one in (domain.objectives[0], criterion_of(domain)) if one is not None}
        name = self.study.figure or domain.objectives[0].name
        if name not in known:
            raise ConfigError(f"{self.loaded.source}: figure: {unknown_name_message('figure', name, known)}")
        return known[name]

    def _domain(self, name: str) -> Domain:
        return self._domains[self.study.arm_of(name)]

    def _check_domains(self) -> None:
        """Refuses controls that a domain cannot have, and arms that are measured by or on something else."""
        first, source, _ = self._domain(self.study.first), self.loaded.source, self._figure
        for name, control in self.study.controls.items():
            try:
                check_control(name, control, self._domain(name))
            except ConfigError as error:
                raise ConfigError(f"{source}: {error}") from None
        for arm, domain in self._domains.items():
            if domain.objectives[0] != first.objectives[0] or criterion_of(domain) != criterion_of(first):
                other = self.study.first
                raise ConfigError(f"{source}: arms.{arm}.domain: its objective or criterion is not that of '{other}'")
            if data_identity_of(domain) != data_identity_of(first):
                raise ConfigError(f"{source}: arms.{arm}.domain: its data are not those of '{self.study.first}'")

    def _write_down(self) -> None:
        """Writes the design, or refuses a folder that holds another."""
        file, design = self.folder / WRITTEN, self.loaded.design()
        if file.exists():
            held = read_yaml(file)
            if not isinstance(held, Mapping):
                raise RunFolderError(f"{file}: is not a mapping")
            changed = diff_configs(held, design)
            if changed:
                raise RunFolderError(
                    f"'{self.folder}' holds another study: {changed[0]}; what is compared is written down before it is "
                    "run: name another folder (--out)"
                )
            return
        holds = {"config.yaml": "a run", **FOREIGN}
        for other, what in holds.items():
            if (self.folder / other).exists():
                raise RunFolderError(f"'{self.folder}' holds {what}; name another folder (--out)")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_yaml(file, design)
        except OSError as error:
            raise RunFolderError(
                f"'{self.folder}' cannot be written ({error.strerror}); name another folder (--out)"
            ) from None

    def _gate(self, arm: str) -> GateResult:
        gate = self.study.gate
        assert gate is not None
        section = {"architectures": gate.architectures, "settings": [], "repeat_full": True, "zero_cost": []}
        raw = self.loaded.raw[arm].changed(proxies=section)
        found = run_proxies(raw.resolve(), self.folder / gate_folder(arm), self.options, self._figure)
        return GateResult.of(arm, found, self.loaded.resolved[arm].config.retrain.seeds, gate.correlation)

    def _finish(self, runs: Sequence[PlannedRun]) -> None:
        finish_all(runs, self.options, self.jobs, "study", allow_failures=True)

    def _search(self, arm: str, index: int) -> PlannedRun:
        resolved = self.loaded.resolved[arm]
        seed, first = resolved.config.seed + index, index == 0 and arm == self.study.first
        return PlannedRun(arm, with_seed(resolved, seed, baselines=first), run_folder_of(self.folder, arm, index))

    def _control(self, name: str, index: int) -> tuple[PlannedRun | None, str]:
        """Returns the training of a control, and what is not as it should be; none where there is nothing to train."""
        control = self.study.controls[name]
        search = self._search(control.of, index)
        found = RunResult.read_if_finished(search.folder)
        if found is None:
            return None, FAILED
        # The trainings have the seeds that those of the found architecture have.
        resolved = with_seed(search.resolved, search.resolved.config.seed, baselines=False)
        domain = self._domain(name)
        rng = numpy_generator(search.resolved.config.seed, f"control {name}")
        drawn = draw_control(control, domain, resolved.method.searched_space(domain), found.chosen, rng)
        if drawn.architecture is None:
            return None, drawn.note
        return PlannedRun(name, resolved, run_folder_of(self.folder, name, index), drawn.architecture), drawn.note

    def _row(self, name: str, index: int, run: PlannedRun | None, note: str = "") -> RunRow:
        seed = self.loaded.resolved[self.study.arm_of(name)].config.seed + index
        result = None if run is None else RunResult.read_if_finished(run.folder)
        if result is None:
            return RunRow(name, seed, note=note or FAILED)
        domain, architecture = self._domain(name), result.chosen
        costs = dict(domain.architecture_costs(architecture)) if isinstance(domain, Costing) else {}
        row = RunRow.of(name, seed, result, costs, self._figure.name, note)
        failed = "; ".join(next((r.failures for r in result.retrained if r.label == result.key), ()))
        return row if not failed else dataclasses.replace(row, note="; ".join(filter(None, (note, failed))))

    def _summarise(self, gates: tuple[GateResult, ...], rows: Mapping[str, Sequence[RunRow]]) -> ClaimsSummary:
        study, first = self.study, self.study.first
        metric, reported, resolved = self._figure, self._domain(first).objectives[0].name, self.loaded.resolved[first]
        compared = all(gate.passed for gate in gates)
        rows = {name: [self._deployed(row, index) for index, row in enumerate(own)] for name, own in rows.items()}
        searched = RunResult.read_if_finished(run_folder_of(self.folder, first, 0)) if compared else None
        summary = ClaimsSummary(
            name=study.name,
            metric=metric.name,
            reported=reported,
            base=study.base,
            device=device_name(self._domain(first).environment.device),
            seeds=study.seeds,
            trainings=resolved.config.retrain.seeds,
            gates=gates,
            arms=tuple(
                arm_row(name, "" if name in study.arms else study.arm_of(name), own) for name, own in rows.items()
            )
            if compared
            else (),
            baselines=baseline_rows(searched.baselines, metric.name, reported) if searched is not None else (),
            claims=decide_claims(study.claims, rows, metric) if compared else (),
        )
        summary.write(self.folder, [row for own in rows.values() for row in own])
        write_claims_page(self.folder, summary)
        return summary

    def _deployed(self, row: RunRow, index: int) -> RunRow:
        """Returns the row with what is measured of the deployed form of its architecture.

        At the end and one after the other: searches beside it would slow it down.
        """
        domain = self._domain(row.arm)
        if not isinstance(domain, Costing) or not row.key:
            return row
        found = RunResult.read(run_folder_of(self.folder, row.arm, index))
        measured = domain.deployment_costs(found.chosen)
        return dataclasses.replace(row, costs={**row.costs, **measured})
