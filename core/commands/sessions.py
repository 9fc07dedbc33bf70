"""Opening a run: its domain prepared, its folder locked, its journal and executor at hand; done here alone."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nichenas.core.capabilities.notes import data_identity_of
from nichenas.core.capabilities.notes import notes_of
from nichenas.core.config import ResolvedConfig
from nichenas.core.config import diff_configs
from nichenas.core.config import resolve_stored
from nichenas.core.context import Environment
from nichenas.core.context import Limits
from nichenas.core.data.root import cache_folder
from nichenas.core.data.root import data_root
from nichenas.core.domain import Domain
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.errors import ConfigError
from nichenas.core.errors import RunFolderError
from nichenas.core.execution import EXECUTORS
from nichenas.core.execution.executors import ExecutorSetup
from nichenas.core.execution.provenance import choose_device
from nichenas.core.execution.provenance import provenance
from nichenas.core.files import read_json
from nichenas.core.files import read_yaml
from nichenas.core.files import write_json
from nichenas.core.files import write_yaml
from nichenas.core.objectives import Objective
from nichenas.core.session.curves import Curves
from nichenas.core.session.journal import Journal
from nichenas.core.session.progress import Progress
from nichenas.core.session.run_folder import RunFolder
from nichenas.core.session.session import Session

KEPT = 10  # best architectures in the result, the report and the drawings


@dataclass(frozen=True)
class RunOptions:
    """How a command runs, beside its configuration.

    Attributes:
        data: the data root, if named.
        quiet: show no progress.
        resume: continue the run in the folder; none does so where there is one.
        task: what the search is for, as progress names it.
    """

    data: str | None = None
    quiet: bool = False
    resume: bool | None = False
    task: str = "search"


def prepare_domain(resolved: ResolvedConfig, data: str | None = None) -> tuple[Domain, DomainRecipe]:
    """Loads the data and checks what can only be checked then; writes nothing but derived files in the cache.

    Raises:
        UserError: for missing data, an absent device, or what the search method cannot do with the domain.
    """
    config = resolved.config
    device = choose_device(config.run.device)
    environment = Environment(data_root(data), cache_folder(), device, config.seed)
    recipe = DomainRecipe(resolved.target, resolved.settings, environment)
    domain = recipe()
    try:
        resolved.method.prepare(domain)
    except ConfigError as error:
        raise ConfigError(f"{resolved.source}: {error}") from None
    return domain, recipe


@contextlib.contextmanager
def open_session(
    resolved: ResolvedConfig,
    folder: Path,
    options: RunOptions,
    *,
    prepared: tuple[Domain, DomainRecipe] | None = None,
    check: Callable[[Domain], None] | None = None,
    objectives: Callable[[Domain], Sequence[Objective]] | None = None,
) -> Iterator[Session]:
    """Opens a run for the ``with`` block.

    Args:
        prepared: what :func:`prepare_domain` returned, where the caller needed it before.
        check: refuses what it may, before anything is written.
        objectives: of the journal's trials; by default what the search method measures.

    Raises:
        UserError: for anything that the user can fix; nothing is written then.
    """
    exists = (folder / "config.yaml").exists()
    resume = exists if options.resume is None else options.resume
    if resume:
        check_resume(folder, resolved)
    domain, recipe = prepared or prepare_domain(resolved, options.data)
    if check is not None:
        check(domain)
    config, device = resolved.config, recipe.environment.device
    with contextlib.ExitStack() as stack:
        # First of all: an executor that is not installed must not leave a run behind.
        setup = ExecutorSetup(domain, recipe, config.run.workers, device)
        executor = stack.enter_context(EXECUTORS[config.run.executor].create(setup))
        run = stack.enter_context(RunFolder(folder, resume))
        journal = stack.enter_context(Journal(run.journal))
        measured = tuple((objectives or resolved.method.objectives)(domain))
        if not resume:
            journal.set_meta("objectives", [dataclasses.asdict(objective) for objective in measured])
            journal.set_meta("retraining_objective", dataclasses.asdict(domain.objectives[0]))
            criterion = resolved.method.criterion(domain)
            journal.set_meta("criterion", None if criterion is None else dataclasses.asdict(criterion))
            journal.set_meta("space", domain.space.signature)
            journal.set_meta("notes", list(notes_of(domain)))
            journal.set_meta("data", data_identity_of(domain))
            journal.flush()
        elif journal.meta("space", domain.space.signature) != domain.space.signature:
            raise RunFolderError(
                f"cannot resume '{folder}': the search space is another one than the run was started with; "
                "start a new run in another folder (--out)"
            )
        else:
            check_data(folder, journal, domain)
        write_yaml(folder / "config.yaml", resolved.to_dict())
        _write_provenance(folder / "environment.json", provenance(config.seed, device), resume)
        yield Session(
            domain=domain,
            seed=config.seed,
            journal=journal,
            executor=executor,
            folder=run,
            device=device,
            limits=Limits(config.run.limits.seconds, config.run.limits.memory_mb),
            order=config.run.order,
            keep=max(KEPT, config.retrain.candidates),
            objectives=measured,
        )


@contextlib.contextmanager
def listening(session: Session, progress: Progress | None, tensorboard: bool) -> Iterator[None]:
    """Adds listeners to a session for the ``with`` block."""
    with contextlib.ExitStack() as stack:
        if tensorboard and session.folder is not None:
            curves = Curves(session.folder.path / "tensorboard", lambda: session.diagnostics())
            stack.callback(curves.close)
            session.listeners.append(curves)
        if progress is not None:
            session.listeners.append(stack.enter_context(progress))
        yield


def _write_provenance(file: Path, now: dict[str, object], resume: bool) -> None:
    """Writes what a run was made with; a session on another machine or version is added, and replaces nothing."""
    if not (resume and file.exists()):
        write_json(file, now)
        return
    held = read_json(file)
    sessions = held.setdefault("resumed", [])
    last = {**held, **(sessions[-1] if sessions else {})}
    changed = {key: value for key, value in now.items() if last.get(key) != value}
    if changed:
        sessions.append({"date": datetime.date.today().isoformat(), **changed})
        write_json(file, held)


def check_resume(folder: Path, resolved: ResolvedConfig) -> None:
    """Checks that the run in a folder was made with the same configuration.

    Raises:
        RunFolderError: otherwise.
    """
    file = folder / "config.yaml"
    if not file.exists():
        return  # the run folder itself says that there is nothing to resume
    held = _stored_values(file)
    with contextlib.suppress(ConfigError):  # what an older version did not know has its default
        held = resolve_stored(held, str(file)).to_dict()
    changed = diff_configs(held, resolved.to_dict())
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise RunFolderError(
            f"cannot resume '{folder}': {changed[0]}{more}; resume with the same configuration, "
            "or start a new run in another folder (--out)"
        )


def check_data(run: Path, journal: Journal, domain: Domain) -> None:
    """Checks that a prepared domain has the data that a run was started with, as far as that is known.

    Raises:
        RunFolderError: otherwise.
    """
    held, found = journal.meta("data", ""), data_identity_of(domain)
    if held and held != found:
        raise RunFolderError(
            f"'{run}': the data are not those that the run was started with; put these back, or start a new run in "
            "another folder (--out)"
        )


def stored_config(run: Path, **changes: dict[str, object]) -> ResolvedConfig:
    """Returns the configuration that a run folder holds.

    Args:
        changes: other values in some sections; none of None.

    Raises:
        UserError: when there is none, or it is not valid.
    """
    file = run / "config.yaml"
    if not file.exists():
        raise RunFolderError(f"'{run}' holds no run (no config.yaml in it)")
    values = _stored_values(file)
    for section, own in changes.items():
        values[section] = {**(values.get(section) or {}), **{key: v for key, v in own.items() if v is not None}}
    return resolve_stored(values, str(file))


def _stored_values(file: Path) -> dict[str, Any]:
    values = read_yaml(file)
    if not isinstance(values, dict):
        raise RunFolderError(f"{file}: is not a mapping")
    return values
