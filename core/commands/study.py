"""A study of claims: gate, searches, controls and tests, as its file has them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nichenas.core.capabilities.costing import Costing
from nichenas.core.claims.controls import check_control
from nichenas.core.claims.controls import draw_control
from nichenas.core.claims.page import write_claims_page
from nichenas.core.claims.settings import GATE
from nichenas.core.claims.settings import WRITTEN
from nichenas.core.claims.settings import StudyFile
from nichenas.core.claims.summary import ClaimsSummary
from nichenas.core.claims.summary import GateResult
from nichenas.core.claims.summary import RunRow
from nichenas.core.claims.summary import arm_row
from nichenas.core.claims.summary import decide_claims
from nichenas.core.commands.proxies import run_proxies
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.sessions import prepare_domain
from nichenas.core.commands.several_runs import PlannedRun
from nichenas.core.commands.several_runs import check_jobs
from nichenas.core.commands.several_runs import finish_all
from nichenas.core.commands.several_runs import with_seed
from nichenas.core.config import RawConfig
from nichenas.core.config import ResolvedConfig
from nichenas.core.config import read_raw
from nichenas.core.config_files import read_study
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import RunFolderError
from nichenas.core.execution.provenance import device_name
from nichenas.core.files import read_yaml
from nichenas.core.files import write_yaml
from nichenas.core.seeds import numpy_generator
from nichenas.core.session.record import run_folder_of
from nichenas.core.session.results import RunResult
from nichenas.core.space import Architecture
from nichenas.core.validation import validated


@dataclass(frozen=True)
class LoadedStudy:
    """A study with the configurations of its arms.

    Attributes:
        source: the file, as it reads in messages.
        raw: configurations of arms, by name.
    """

    study: StudyFile
    source: str
    raw: Mapping[str, RawConfig]

    @cached_property
    def resolved(self) -> Mapping[str, ResolvedConfig]:
        """The configurations, validated."""
        return {name: raw.resolve() for name, raw in self.raw.items()}


def load_study(name: str, overrides: Sequence[str] = (), seeds: int | None = None) -> LoadedStudy:
    """Reads and validates a study, and the configuration of every arm.

    Args:
        name: a file, or a shipped study.
        overrides: of the configuration of every arm, ``KEY=VALUE``.
        seeds: searches of every arm, instead of the file's.

    Raises:
        ConfigError: one line.
    """
    source, values = read_study(name)
    if seeds is not None:
        values = {**values, "seeds": seeds}
    try:
        study = validated(StudyFile, values)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    raw = {}
    for arm in study.arms:
        part_of = name if os.path.isfile(name) else ""
        own = read_raw(study.changes(arm), overrides, part_of=part_of, source=f"{source}: arms.{arm}")
        raw[arm] = own.replaced(name=study.name)
    loaded = LoadedStudy(study, source, raw)
    for arm, resolved in loaded.resolved.items():
        if resolved.config.retrain.seeds == 0:
            raise ConfigError(f"{source}: arms.{arm}.retrain.seeds: without final trainings nothing can be tested")
    return loaded


def run_study(loaded: LoadedStudy, folder: Path, options: RunOptions | None = None, *, jobs: int = 1) -> ClaimsSummary:
    """Runs or continues a study; what is finished is kept.

    Args:
        jobs: how many runs go on at a time, each in a process of its own.

    Returns:
        The summary; without arms where the gate was not passed, and then nothing was searched.

    Raises:
        UserError: for what the domain cannot do, or a folder that holds something else, another study too.
        Interrupted: on Ctrl-C.
    """
    check_jobs(jobs)
    return _Study(loaded, folder, dataclasses.replace(options or RunOptions(), resume=None), jobs).run()


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
        domains = self._domains()
        self._write_down()
        gate = self._gate()
        rows: dict[str, list[RunRow]] = {name: [] for name in (*self.study.arms, *self.study.controls)}
        if gate is None or gate.passed:
            for index in range(self.study.seeds):  # an interrupted study holds the same seeds of everything
                searches = [self._search(arm, index) for arm in self.study.arms]
                finish_all(searches, self.options, self.jobs, "study")
                controls = [self._control(name, index, domains) for name in self.study.controls]
                finish_all(controls, self.options, self.jobs, "study")
                for run in (*searches, *controls):
                    rows[run.name].append(self._row(run, domains))
        return self._summarise(gate, rows, domains)

    def _domains(self) -> dict[str, Domain]:
        """Returns every arm's domain, with all that a control needs checked."""
        domains = {arm: prepare_domain(own, self.options.data)[0] for arm, own in self.loaded.resolved.items()}
        for name, control in self.study.controls.items():
            try:
                check_control(name, control, domains[control.of])
            except ConfigError as error:
                raise ConfigError(f"{self.loaded.source}: {error}") from None
        metrics = {domain.objectives[0].name for domain in domains.values()}
        if len(metrics) > 1:
            raise ConfigError(f"{self.loaded.source}: the arms have different objectives: {', '.join(sorted(metrics))}")
        return domains

    def _write_down(self) -> None:
        """Writes the design, or refuses a folder that holds another."""
        file, design = self.folder / WRITTEN, dict(self.study.design())
        if file.exists():
            held = read_yaml(file)
            changed = [key for key in design if not isinstance(held, dict) or held.get(key) != design[key]]
            if changed:
                raise RunFolderError(
                    f"'{self.folder}' holds another study (its {changed[0]} differ); what is compared is written down "
                    "before it is run: name another folder (--out)"
                )
            return
        if (self.folder / "config.yaml").exists():
            raise RunFolderError(f"'{self.folder}' holds a run; name another folder (--out)")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_yaml(file, design)

    def _gate(self) -> GateResult | None:
        gate = self.study.gate
        if gate is None:
            return None
        raw = self.loaded.raw[next(iter(self.study.arms))]
        section = {"architectures": gate.architectures, "settings": [], "repeat_full": True, "zero_cost": []}
        found = run_proxies(raw.changed(proxies=section).resolve(), self.folder / GATE, self.options)
        return GateResult.of(found, gate.correlation)

    def _search(self, arm: str, index: int) -> PlannedRun:
        resolved = self.loaded.resolved[arm]
        first = index == 0 and arm == next(iter(self.study.arms))
        seed = resolved.config.seed + index
        return PlannedRun(arm, with_seed(resolved, seed, baselines=first), run_folder_of(self.folder, arm, index))

    def _control(self, name: str, index: int, domains: Mapping[str, Domain]) -> PlannedRun:
        control = self.study.controls[name]
        search = self._search(control.of, index)
        found = RunResult.read(search.folder).chosen
        seed = search.resolved.config.seed
        rng = numpy_generator(seed, f"control {name}")
        drawn = draw_control(name, control, domains[control.of], found, rng)
        # The trainings have the seeds that those of the found architecture have.
        resolved = with_seed(search.resolved, seed, baselines=False)
        return PlannedRun(name, resolved, run_folder_of(self.folder, name, index), drawn)

    def _row(self, run: PlannedRun, domains: Mapping[str, Domain]) -> RunRow:
        control = self.study.controls.get(run.name)
        domain, result = domains[run.name if control is None else control.of], RunResult.read(run.folder)
        costs: dict[str, float] = {}
        if isinstance(domain, Costing):
            costs = dict(domain.architecture_costs(Architecture(result.architecture)))
        return RunRow.of(run.name, run.resolved.config.seed, result, costs)

    def _summarise(
        self, gate: GateResult | None, rows: Mapping[str, Sequence[RunRow]], domains: Mapping[str, Domain]
    ) -> ClaimsSummary:
        first = next(iter(self.study.arms))
        metric, resolved = domains[first].objectives[0], self.loaded.resolved[first]
        compared = gate is None or gate.passed
        if compared:
            rows = {name: self._deployed(name, own, domains) for name, own in rows.items()}
        summary = ClaimsSummary(
            name=self.study.name,
            metric=metric.name,
            base=self.study.base,
            device=device_name(domains[first].environment.device),
            trainings=resolved.config.retrain.seeds,
            gate=gate,
            arms=tuple(arm_row(name, self._control_of(name), own) for name, own in rows.items()) if compared else (),
            claims=decide_claims(self.study.claims, rows, metric) if compared else (),
        )
        summary.write(self.folder, [row for own in rows.values() for row in own])
        write_claims_page(self.folder, summary)
        return summary

    def _deployed(self, name: str, rows: Sequence[RunRow], domains: Mapping[str, Domain]) -> list[RunRow]:
        """Returns the rows with what is measured of the first architecture's deployed form.

        One run of every arm is measured, at the end and one after the other: searches beside it would slow it down.
        """
        control = self.study.controls.get(name)
        domain = domains[name if control is None else control.of]
        found = list(rows)
        if isinstance(domain, Costing):
            folder = run_folder_of(self.folder, name, 0)
            measured = domain.deployment_costs(Architecture(RunResult.read(folder).architecture))
            found[0] = dataclasses.replace(found[0], costs={**found[0].costs, **measured})
        return found

    def _control_of(self, name: str) -> str:
        control = self.study.controls.get(name)
        return "" if control is None else control.of
