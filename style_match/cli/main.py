"""The outermost entry of every step: answers help and mistakes first, then runs the step under Hydra.

Nothing heavy is imported here: help and mistakes are answered in about a second. Exit codes: 0; 2 for the user's
mistakes (`UserError`, overrides that Hydra cannot parse); 1 for Hydra's other errors and for bugs; 130 for Ctrl-C.
"""

import re
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import yaml
from hydra import main as hydra_main
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from style_match.cli import sweep
from style_match.cli.plan import Plan, merge_run_config
from style_match.cli.run_config import read_config
from style_match.cli.targets import conf_dir, refuse_unknown_targets
from style_match.cli.words import Vocabulary
from style_match.utils import progress
from style_match.utils.distributed import refuse_several
from style_match.utils.errors import UserError
from style_match.utils.secrets import hide
from style_match.utils.text import cut

# What submitit says of the jobs of a sweep on a cluster, in words of this package.
#
# Its errors are known by their name and text: submitit is an extra, and is imported by its launcher alone.


_SBATCH = re.compile(r"sbatch: error: (.+)")
_LOST = re.compile(r"Job (?P<job>\S+) .*with path (?P<path>.+)_result\.pkl\s.*\(state: (?P<state>\S+)\)")


def mistake(error: Exception) -> UserError | None:
    """What the user can mend, with the remedy; None where `error` tells of no such."""
    if 'Could not detect "srun"' in str(error):
        return UserError(
            "hydra/launcher=submitit_slurm: Slurm's commands are not on this machine (no srun). Start the sweep on a "
            "login node, or take hydra/launcher=joblib."
        )
    if refused := _SBATCH.findall(_said(error)):
        return UserError(f"Slurm refused the jobs: {'; '.join(refused)}. Change hydra.launcher to what it admits.")
    if "timed-out" in _said(error):
        return UserError(
            "its time was up (hydra.launcher.timeout_min). The same command goes on from its last checkpoint; with "
            "hydra.launcher.max_num_timeout=10 Slurm does that by itself, ten times."
        )
    return None


def lost_job(error: Exception) -> str | None:
    """What to say of a job that ended without an answer; None where `error` tells of no such."""
    lost = _LOST.search(_said(error))
    return lost and (
        f"Job {lost['job']} ended without an answer (state {lost['state']}): it was killed or cancelled, or its node "
        f"went down. Its log is {lost['path']}_log.err. Other jobs of the sweep may still be at work: wait for them "
        "(squeue, scancel) before the same command goes on."
    )


def _said(error: Exception) -> str:
    return str(error) if type(error).__name__ in ("UncompletedJobError", "FailedJobError") else ""


__all__ = ["conf_dir", "main", "merge_run_config"]

VERSION_BASE = "1.3"
QUOTING = "A value with signs of Hydra's grammar goes into two pairs of quotes: 'data.root=\"/my photos (new)\"'"


def either(first: str | None, second: str) -> str:
    """A path: the first of the two that is not null; ~ is the user's home, which a shell leaves in run=~/FOLDER."""
    return str(Path(first or second).expanduser())


OmegaConf.register_new_resolver("either", either, replace=True)
OmegaConf.register_new_resolver("cell_name", sweep.cell_name, replace=True)


def main(step: str, run: Callable[[DictConfig], object]) -> None:
    """Answer the command line of a step.

    Args:
        step: its name; its primary config is called so too.
        run: does the work of one run, and imports what is heavy itself. Where the command line names a run (`run=`),
            it gets that run's config with this command line's wishes in it (`merge_run_config`).
    """
    version.setbase(VERSION_BASE)
    args = get_args_parser().parse_intermixed_args()
    debug = any(word.lstrip("+").lower() == "debug=true" for word in args.overrides)
    try:
        code = _answer(step, run, args)
    except UserError as error:
        if debug:
            traceback.print_exc()
        code = _say(str(error), 2)
    except CompactHydraException as error:
        if debug:
            traceback.print_exc()
        cause = [str(error.__cause__)] if error.__cause__ else []
        if isinstance(error, OverrideParseException):
            code = _say(f"{_place(error)} {_unread(error)}", 2)
        else:
            code = _say("\n".join([str(error), *cause]), 1)
    except yaml.YAMLError as error:
        code = _say(f"A config is not written as YAML has it: {error}", 2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if not _by_keyboard(stop):
            raise
        code = _say("Stopped by Ctrl-C.", 130)
    if code:
        sys.exit(code)


def _answer(step: str, run: Callable[[DictConfig], object], args: Namespace) -> int:
    if not (args.hydra_help or args.shell_completion or args.experimental_rerun):
        with _hydra(step, args) as hydra:
            words = Vocabulary(hydra, step, args.config_name)
            plan = Plan(words, args.overrides, multirun=args.multirun)
            plan.check(words_only=bool(args.help or args.cfg or args.info))
            if args.help:
                return _say_help(words, plan.config)
            if not (args.cfg or args.info):
                if "share" not in plan.config:
                    refuse_several(step)
                return _run_sweep(hydra, run, plan) if plan.is_sweep else _run_once(hydra, run, plan)
    hydra_main(config_path=str(conf_dir()), config_name=step, version_base=VERSION_BASE)(run)()
    return 0


@contextmanager
def _hydra(step: str, args: Namespace) -> Iterator[Hydra]:
    search_path = create_config_search_path(str(Path(args.config_path).absolute() if args.config_path else conf_dir()))
    if args.config_dir:
        folder = Path(args.config_dir).absolute()
        if not folder.is_dir():
            raise UserError(f"--config-dir {args.config_dir}: there is no such folder.")
        search_path.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
    try:
        yield Hydra.create_main_hydra2(task_name=step, config_search_path=search_path)
    finally:
        GlobalHydra.instance().clear()


class Job:
    """What Hydra calls for a run, and for each cell of a sweep, there perhaps in another process."""

    def __init__(self, run: Callable[[DictConfig], object], *, is_sweep: bool, num_cells: int | None = None):
        self.run = run
        self.is_sweep = is_sweep
        self.command = uuid4().hex  # tells the failures of this command from those of others in the same folder
        self.num_cells = num_cells  # None where a sweeper decides it on the way
        self.has_begun = False

    def __call__(self, cfg: DictConfig) -> object:
        """Returns what the run returns, or the mistake that ended it; a cell raises it, so that the others go on."""
        self.has_begun = True
        overrides = list(HydraConfig.get().overrides.task)
        try:
            if "share" not in cfg:
                refuse_several(HydraConfig.get().job.name)  # a job of Slurm can be several, too
            if cfg.get("run"):
                was = read_config(cfg.run)
                refuse_unknown_targets(was, cfg.run, HydraConfig.get().runtime.config_sources)
                cfg = merge_run_config(was, cfg, overrides)
            began = time.monotonic()
            result = self.run(cfg)
            if self.is_sweep:
                self._say_done(result, time.monotonic() - began)
            return result
        except Exception as raised:
            error = _behind(raised)
            mistake = isinstance(error, UserError)
            if self.is_sweep:
                said = f"Failed: {error}" if mistake and not cfg.get("debug") else traceback.format_exc()
                print(hide(said), file=sys.stderr)
                folder = Path(HydraConfig.get().runtime.output_dir)
                sweep.record_failure(self.command, folder, overrides, error, mistake=mistake)
            elif mistake:
                return error
            if error is raised:
                raise
            raise error from None

    def _say_done(self, result: object, seconds: float) -> None:
        hydra = HydraConfig.get()
        number = f"{hydra.job.num + 1}" + (f" of {self.num_cells}" if self.num_cells else "")
        value = f"val/mrr {100 * result:.1f} %, " if isinstance(result, float) else ""
        progress.say(f"cell {number}, {Path(hydra.runtime.output_dir).name}: {value}{seconds:.1f} s")


def _behind(error: Exception) -> Exception:
    """A mistake that a constructor or a cluster raised, without the error that Hydra or submitit made of it."""
    inner: BaseException | None = error
    while isinstance(inner, InstantiationException):
        inner = inner.__cause__
    return inner if isinstance(inner, UserError) else mistake(error) or error


def _run_once(hydra: Hydra, run: Callable[[DictConfig], object], plan: Plan) -> int:
    job = Job(run, is_sweep=False)
    try:
        done = hydra.run(config_name=plan.words.config_name, task_function=job, overrides=plan.for_hydra())
    except OSError as error:
        if job.has_begun:
            raise
        raise UserError(f"Cannot make {error.filename}: {error.strerror}. Give another hydra.run.dir.") from error
    if isinstance(done.return_value, UserError):
        raise done.return_value
    return 0


def _run_sweep(hydra: Hydra, run: Callable[[DictConfig], object], plan: Plan) -> int:
    sweep_dir = Path(plan.config.hydra.sweep.dir)
    job = Job(run, is_sweep=True, num_cells=plan.num_cells())
    raised: Exception | None = None
    try:
        sweep_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make {sweep_dir}: {error.strerror}. Give another hydra.sweep.dir.") from error
    try:
        hydra.multirun(config_name=plan.words.config_name, task_function=job, overrides=plan.for_hydra())
    except Exception as error:
        raised = error
    finally:
        progress.say(sweep.summary(sweep_dir, plan.words.step))
        failed = sweep.take_failures(job.command, sweep_dir)
    lost = lost_job(raised) if raised else None
    if failed is None and lost is None:
        if raised:
            raise _behind(raised)
        return 0
    report, all_mistakes = failed or ("", False)
    return _say("\n".join(filter(None, [report, lost])), 2 if all_mistakes and not lost else 1)


def _place(error: OverrideParseException) -> str:
    """The override at fault, cut where it is long; the parser's own words name its classes and no option."""
    return cut(str(error.override))


def _unread(error: OverrideParseException) -> str:
    if "=" not in str(error.override):
        return (
            "is no OPTION=VALUE and no GROUP=CHOICE: leave it out, or write what it is a value of. --help lists them."
        )
    return f"is not written as Hydra reads it. {QUOTING}"


def _say(text: str, code: int) -> int:
    print(hide(text), file=sys.stderr)
    return code


def _say_help(words: Vocabulary, config: DictConfig) -> int:
    """What the step does, its groups with the choice in use marked, and examples."""
    groups = [*words.groups, "hydra/launcher"]
    width = max(map(len, groups))
    print(f"{words.command} [-m] [GROUP=CHOICE ...] [OPTION=VALUE ...]\n\n{config.hydra.help.header}\n")
    print("Groups (* in use)")
    noted = config.hydra.runtime.choices
    for group in groups:
        # several choices of one group are not noted by Hydra; each has a node of its own name
        chosen = [noted[group]] if group in noted else list(config[group])
        choices = [f"*{choice}" if choice in chosen else choice for choice in words.choices(group)]
        print(f"  {group:<{width}}  {' '.join(choices)}")
    print("\n--cfg job prints every option with its value; -m runs all combinations of values written a,b.\n")
    print(config.hydra.help.footer)
    return 0


def _by_keyboard(stop: BaseException | None) -> bool:
    """Whether Ctrl-C is behind it; Lightning answers it with `sys.exit(1)`."""
    while stop is not None and not isinstance(stop, KeyboardInterrupt):
        stop = stop.__cause__ or stop.__context__
    return stop is not None
