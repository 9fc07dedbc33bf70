"""The ``nichenas`` command: parsing, errors as one line, exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any

import typer

from nichenas.core.errors import Interrupted
from nichenas.core.errors import NichenasError
from nichenas.core.errors import UserError

if TYPE_CHECKING:
    from nichenas.core.session.results import RunResult

# Everything else is imported inside the commands: --help must not wait for torch.

INTERRUPTED = 130  # exit code

app = typer.Typer(
    name="nichenas",
    help="Neural architecture search for binary networks, GANs and graph neural networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or a shipped one such as gnn/cora.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE ...]",
        help="Overrides of any field, as search.trials=20; --some-field VALUE stands for domain.some_field=VALUE.",
    ),
]
# Options that no command has are the domain's own fields.
OWN_FIELDS = {"ignore_unknown_options": True}
DataRoot = Annotated[
    str | None, typer.Option("--data-root", metavar="DIR", help="Folder of the data sets [$NICHENAS_DATA, else data].")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the run [runs/<name>].")]
Device = Annotated[str | None, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of the run.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


def _load(config: str, overrides: list[str] | None, device: str | None = None, seed: int | None = None) -> Any:
    from nichenas.core.config import load_config

    return load_config(config, _words(overrides, device, seed))


def _words(overrides: list[str] | None, device: str | None = None, seed: int | None = None) -> list[str]:
    """Returns all overrides of a command as ``KEY=VALUE``."""
    words = _own_fields(list(overrides or []))
    words += [f"run.device={device}"] if device else []
    words += [f"seed={seed}"] if seed is not None else []
    return words


def _own_fields(words: list[str]) -> list[str]:
    """Returns the words with ``--some-field VALUE`` and ``--some-field=VALUE`` as ``domain.some_field=VALUE``."""
    result: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            if not equals:
                if not rest or (rest[0].startswith("-") and not _is_number(rest[0])):
                    raise UserError(f"{word}: no such option, or its value is missing (see nichenas --help)")
                value = rest.pop(0)
            word = f"domain.{name.replace('-', '_')}={value}"
        elif word.startswith("-"):
            raise UserError(f"{word}: no such option (see nichenas --help)")
        result.append(word)
    return result


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _conclude(result: RunResult, folder: Path) -> None:
    """Prints a result; a run without one network that could be trained in full is an error."""
    from nichenas.core.report.terminal import print_result

    print_result(result, folder)
    if result.retrained and not any(entry.validation for entry in result.retrained):
        raise NichenasError("no final training of a found architecture succeeded; the reasons stand above")


@app.command(context_settings=OWN_FIELDS)
def search(
    config: Config,
    overrides: Overrides = None,
    data_root: DataRoot = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")] = False,
    device: Device = None,
    seed: Seed = None,
    quiet: Quiet = False,
) -> None:
    """Search, retrain the best, and write result and report."""
    resolved = _load(config, overrides, device, seed)
    folder = out or Path("runs") / resolved.config.name

    from nichenas.core.commands.search import run_search
    from nichenas.core.commands.sessions import RunOptions

    _conclude(run_search(resolved, folder, RunOptions(data_root, quiet, resume)), folder)


@app.command()
def retrain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    data_root: DataRoot = None,
    top: Annotated[int | None, typer.Option("--top", min=1, help="How many of the best architectures.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="With how many seeds each.")] = None,
    architecture: Annotated[
        Path | None, typer.Option("--architecture", metavar="FILE", help="Train this architecture (JSON) instead.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="With --architecture: where to.")] = None,
    quiet: Quiet = False,
) -> None:
    """Train the best architectures of a run in full, or one given architecture; test data is read here."""
    from nichenas.core.commands.retrain import retrain_architecture
    from nichenas.core.commands.retrain import retrain_run
    from nichenas.core.commands.sessions import RunOptions

    options = RunOptions(data_root, quiet)
    if architecture is not None:
        _conclude(*retrain_architecture(run, architecture, out, seeds, options))
    else:
        _conclude(retrain_run(run, top, seeds, options), run)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, finished or not.")],
    baseline: Annotated[
        Path | None, typer.Option("--baseline", metavar="RUN", help="A random search of equal budget, drawn beside it.")
    ] = None,
) -> None:
    """Write the HTML report of a run, a comparison, or a study again."""
    from nichenas.core.commands.report import write_report

    print(write_report(run, baseline))


@app.command(context_settings=OWN_FIELDS)
def compare(
    config: Config,
    overrides: Overrides = None,
    strategies: Annotated[
        str,
        typer.Option("--strategies", metavar="A,B,...", help="Strategies; random:no-known starts from nothing."),
    ] = "conservative,random",
    schedules: Annotated[
        str | None,
        typer.Option(
            "--schedules", metavar="A,B,...", help="Schedules for each, with a setting if wanted: full:c0r0s0e7."
        ),
    ] = None,
    sharing: Annotated[
        str | None, typer.Option("--sharing", metavar="A,B,...", help="Rules for inheriting weights, such as none.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each strategy.")] = 5,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs at a time, each in a process.")] = 1,
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder [runs/compare-<name>].")] = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Compare strategies, schedules, weight sharing at equal budget over several seeds; the same command continues."""
    from nichenas.core.commands.compare import ComparisonDesign
    from nichenas.core.commands.compare import run_compare
    from nichenas.core.commands.sessions import RunOptions
    from nichenas.core.config import read_raw
    from nichenas.core.report.terminal import print_comparison

    raw = read_raw(config, _words(overrides, device))
    folder = out or Path("runs") / f"compare-{raw.values.get('name', 'run')}"
    design = ComparisonDesign(_names(strategies), seeds, _names(schedules or ""), _names(sharing or ""))
    print_comparison(run_compare(raw, design, folder, RunOptions(data_root, quiet), jobs=jobs), folder)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@app.command(context_settings=OWN_FIELDS)
def proxies(
    config: Config,
    overrides: Overrides = None,
    architectures: Annotated[
        int | None,
        typer.Option("--architectures", metavar="N", help="How many random ones [proxies.architectures]."),
    ] = None,
    settings: Annotated[
        str | None, typer.Option("--settings", metavar="A,B,...", help="Proxy settings, such as c2r0s0e10.")
    ] = None,
    min_correlation: Annotated[
        float | None,
        typer.Option("--min-correlation", metavar="R", help="Rank correlation required [proxies.min_correlation]."),
    ] = None,
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder [runs/proxies-<name>].")] = None,
    device: Device = None,
    seed: Seed = None,
    quiet: Quiet = False,
    zoo: Annotated[int | None, typer.Option("--zoo", hidden=True)] = None,  # the names that two options had first
    wanted: Annotated[float | None, typer.Option("--wanted", hidden=True)] = None,
) -> None:
    """Train random architectures in full and at proxy settings: which cheap setting keeps the ranking?"""
    architectures = zoo if architectures is None else architectures
    min_correlation = wanted if min_correlation is None else min_correlation
    words = list(overrides or [])
    words += [f"proxies.architectures={architectures}"] if architectures is not None else []
    words += [f"proxies.settings=[{settings}]"] if settings is not None else []
    words += [f"proxies.min_correlation={min_correlation}"] if min_correlation is not None else []
    resolved = _load(config, words, device, seed)
    folder = out or Path("runs") / f"proxies-{resolved.config.name}"

    from nichenas.core.commands.proxies import run_proxies
    from nichenas.core.commands.sessions import RunOptions
    from nichenas.core.report.terminal import print_proxies

    print_proxies(run_proxies(resolved, folder, RunOptions(data_root, quiet)), folder)


@app.command(context_settings=OWN_FIELDS)
def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="A YAML file, or a shipped one: binary/bats-claims.")],
    overrides: Overrides = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Searches of each arm [the study's].")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs at a time, each in a process.")] = 1,
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder [runs/study-<name>].")] = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Test claims that were written down before: a gate, searches, controls; the same command continues."""
    from nichenas.core.claims.loading import load_study
    from nichenas.core.claims.terminal import print_claims
    from nichenas.core.commands.sessions import RunOptions
    from nichenas.core.commands.study import run_study

    loaded = load_study(name, _words(overrides, device), seeds)
    folder = out or Path("runs") / f"study-{loaded.study.name}"
    summary = run_study(loaded, folder, RunOptions(data_root, quiet), jobs=jobs)
    print_claims(summary, folder)
    if not summary.gates_passed:
        raise NichenasError("the gate is not passed, so nothing was searched: this setting cannot rank")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    onnx: Annotated[
        Path | None, typer.Option("--onnx", metavar="FILE", help="Where to [RUN/best/network.onnx].")
    ] = None,
    packed: Annotated[
        Path | None,
        typer.Option("--packed", metavar="FILE", help="Write this instead: binary networks, as bits."),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Export the found network with its trained weights to ONNX, checked with onnxruntime; or as bits."""
    from nichenas.core.commands.export import export_onnx
    from nichenas.core.commands.export import export_packed

    if packed is not None:
        if onnx is not None:
            raise UserError("--packed and --onnx are two exports: give one of them")
        file, size = export_packed(run, packed, data_root)
        print(f"{file} ({size / 1024:,.1f} KiB)")
        return
    file, difference = export_onnx(run, onnx, data_root)
    print(f"{file} (onnxruntime agrees with torch: relative difference at most {difference:.1e})")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to [RUN/best/predictions.csv].")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Write what the found network predicts for all of its data, those without a label too."""
    from nichenas.core.commands.predict import write_predictions

    file, count = write_predictions(run, out, data_root)
    print(f"{file} ({count:,} rows)")


@app.command(name="list")
def list_parts() -> None:
    """List domains, strategies, data sets and shipped configurations."""
    from nichenas.core.commands.listing import print_parts

    print_parts()


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run.")] = Path("runs/demo"),
    quiet: Quiet = False,
) -> None:
    """Search on embedded data beside an equal-budget random search, and write the report."""
    from nichenas.core.commands.demo import run_demo
    from nichenas.core.session.record import RunRecord

    result, random = run_demo(out, quiet)
    _conclude(result, out)
    for name in dict.fromkeys([random.metric, RunRecord.read(out).searched.name]):
        ours, other = result.validation[name], random.validation[name]
        print(f"validation {name} of the best: {ours:.4f}; of random search with the same budget: {other:.4f}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    Codes: 0 done, 2 the user's mistake (one line on stderr), 130 interrupted, 1 anything else.
    """
    command = typer.main.get_command(app)
    try:
        # Typer returns the code of an interrupt that nobody caught.
        if command.main(args=arguments, prog_name="nichenas", standalone_mode=False) == INTERRUPTED:
            raise KeyboardInterrupt
    except UserError as error:
        return _complain(str(error), 2)
    except (Interrupted, KeyboardInterrupt) as error:
        advice = error.advice if isinstance(error, Interrupted) else Interrupted.advice
        return _complain(f"{str(error) or 'interrupted'}; what is finished is kept, {advice}", INTERRUPTED)
    except NichenasError as error:
        return _complain(str(error), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # typer's errors of usage; by form rather than by class, since typer brings click along in some versions.
        message = getattr(error, "format_message", None)
        if message is not None:
            if type(error).__name__ == "NoArgsIsHelpError":
                print(message())
                return 2
            return _complain(f"{message()} (see nichenas --help)", 2)
        traceback.print_exc()
        return 1
    return 0


def run() -> None:
    """The console script."""
    from nichenas.core.execution.allocator import keep_freed_memory

    keep_freed_memory()
    sys.exit(main())


def _complain(message: str, code: int) -> int:
    print(f"nichenas: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    run()
