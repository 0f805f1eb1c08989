"""The entry point of every step: `main` checks the command line, then hands it over to `hydra.main`.

Nothing heavy is imported here: help and mistakes are answered in about a second. Exit codes: 0; 2 for mistakes of the
user (`UserError`, overrides that Hydra cannot parse); 1 for other errors of Hydra and for bugs; 130 for Ctrl-C.
"""

import argparse
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from style_match.cli import sweep
from style_match.cli.plan import Plan
from style_match.cli.run_config import merge_run_config, read_config
from style_match.cli.targets import conf_dir, refuse_unknown_targets
from style_match.cli.words import VERSION_BASE, Composer
from style_match.utils import progress
from style_match.utils.distributed import launched, refuse_several
from style_match.utils.errors import UserError
from style_match.utils.secrets import hide, watch_environment
from style_match.utils.text import cut

__all__ = ["VERSION_BASE", "conf_dir", "main", "merge_run_config"]

Run = Callable[[DictConfig], object]


def either(first: str | None, second: str) -> str:
    """Return the first of two paths that is not null; `~` is expanded, which a shell leaves in `run=~/FOLDER`."""
    return str(Path(first or second).expanduser())


OmegaConf.register_new_resolver("either", either, replace=True)
OmegaConf.register_new_resolver("job_name", sweep.job_name, replace=True)


def main(step: str, run: Run, *, after_sweep: Callable[[Path], None] | None = None) -> None:
    """Run a step as its command line says.

    Args:
        step: Its name, also of its primary config.
        run: Does the work of one run, and imports heavy packages itself. With `run=FOLDER` on the command line, it
            gets the config of that run, changed by this command line (`merge_run_config`).
        after_sweep: Called with the folder of a sweep after its last job.
    """
    args, unknown = _parser().parse_known_intermixed_args()
    if unknown:
        sys.exit(_print(_flag_fault(unknown[0]), 2))
    debug = any(word.lstrip("+").lower() == "debug=true" for word in args.overrides)
    args.overrides = [word for word in args.overrides if word.lstrip("+").lower() not in ("debug=true", "debug=false")]
    watch_environment()
    try:
        code = _answer(step, run, args, after_sweep, debug=debug)
    except UserError as error:
        if debug:
            traceback.print_exc()
        code = _print(str(error), 2)
    except OverrideParseException as error:
        code = _print(_syntax_fault(str(error.override)), 2)
    except CompactHydraException as error:
        if debug:
            traceback.print_exc()
        code = _print("\n".join([str(error), *([str(error.__cause__)] if error.__cause__ else [])]), 1)
    except yaml.YAMLError as error:
        code = _print(f"A config is not valid YAML: {error}", 2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if not _by_keyboard(stop):
            raise
        code = _print("Stopped by Ctrl-C.", 130)
    if code:
        sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    """Return the flags of `hydra.main`, which explains them with --hydra-help."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    for name in ("hydra-help", "version", "resolve"):
        parser.add_argument(f"--{name}", action="store_true")
    for short, name in (("p", "package"), ("cp", "config-path"), ("cn", "config-name"), ("cd", "config-dir")):
        parser.add_argument(f"-{short}", f"--{name}")
    parser.add_argument("--experimental-rerun")
    command = parser.add_mutually_exclusive_group()
    for short, name in (("r", "run"), ("m", "multirun"), ("sc", "shell-completion")):
        command.add_argument(f"-{short}", f"--{name}", action="store_true")
    command.add_argument("-c", "--cfg", choices=["job", "hydra", "all"])
    command.add_argument("-i", "--info", nargs="?", const="all")
    return parser


def _answer(
    step: str, run: Run, args: argparse.Namespace, after_sweep: Callable[[Path], None] | None, *, debug: bool
) -> int:
    if args.config_path and "://" not in args.config_path:
        args.config_path = str(Path(args.config_path).absolute())
    if args.shell_completion:  # of `style-match STEP`: Hydra's own only completes names of programs and .py files
        sys.argv[0] = "style-match"
        line = os.environ.get("COMP_LINE", "")
        os.environ["COMP_LINE"] = re.sub(rf"^.*?style[-_]match[ ./]{step}\b", "style-match", line)
    if args.hydra_help or args.version or args.shell_completion or args.experimental_rerun:
        return _hydra_main(step, run, args, args.overrides)
    sources = {name: getattr(args, name) for name in ("config_name", "config_path", "config_dir")}
    with Composer(step, **sources) as composer:
        plan = Plan(composer, args.overrides, multirun=args.multirun)
        is_shown = bool(args.help or args.cfg or args.info)
        plan.check(values=not is_shown)
        if args.help:  # Hydra's own help lists the groups of all steps, and takes three seconds
            return _print_help(composer, plan.config)
    if is_shown:
        return _hydra_main(step, run, args, args.overrides)
    args.multirun = plan.is_sweep
    _refuse_several(step, plan.config, is_sweep=plan.is_sweep)
    with ExitStack() as stack:
        if (process := launched()) and process.rank > 0:  # rank 0 writes the folder of the run
            folder = stack.enter_context(TemporaryDirectory())
            overrides = [*plan.for_hydra(folder), "hydra/job_logging=plain"]
        else:
            folder = _make_output_dir(plan)
            overrides = plan.for_hydra(folder)
        job = Job(run, is_sweep=plan.is_sweep, num_jobs=plan.num_jobs, debug=debug)
        if plan.is_sweep:
            code = _sweep(step, job, args, overrides, Path(folder))
            if after_sweep:
                after_sweep(Path(folder))
            return code
        _hydra_main(step, job, args, overrides)
        if job.mistake:
            raise job.mistake
        return 0


def _refuse_several(step: str, config: DictConfig, *, is_sweep: bool) -> None:
    """Refuse several processes of a launcher, except where each of them does its part."""
    if is_sweep and "share" not in config:
        refuse_several("a sweep")
    elif step != "train" and "share" not in config:
        refuse_several(f"style_match.{step}")


def _sweep(step: str, job: "Job", args: argparse.Namespace, overrides: list[str], folder: Path) -> int:
    """Run the jobs of a sweep, and return the exit code."""
    raised: Exception | None = None
    try:
        _hydra_main(step, job, args, overrides)
    except Exception as error:
        raised = error
    finally:
        progress.say(sweep.summary(folder, step))
        failed = sweep.take_failures(job.command, folder)
    if raised and not failed and not type(raised).__module__.startswith("submitit."):  # whose message says it all
        raise raised
    report, all_mistakes = failed or ("", True)
    if raised:
        return _print(f"{report}\nThe sweep stopped: {raised}".strip(), 1)
    return _print(report, 2 if all_mistakes else 1) if failed else 0


def _print_help(composer: Composer, config: DictConfig) -> int:
    """Print what the step does, its groups with the choices in use, and examples."""
    groups = [*composer.groups, "hydra/launcher"]
    width = max(map(len, groups))
    print(f"{config.hydra.help.header}\n\n{composer.command} [-m] [GROUP=CHOICE ...] [OPTION=VALUE ...]\n")
    print("Groups (* in use)")
    for group in groups:
        # of several choices of one group, each is a node of its own name
        used = [config.hydra.runtime.choices[group]] if group in config.hydra.runtime.choices else list(config[group])
        choices = [f"*{choice}" if choice in used else choice for choice in composer.choices(group)]
        print(f"  {group:<{width}}  {' '.join(choices)}")
    print("\n--cfg job prints every option with its value; -m runs all combinations of values separated by commas;")
    print("--hydra-help lists all flags.\n")
    print(config.hydra.help.footer)
    return 0


def _hydra_main(step: str, task: Run, args: argparse.Namespace, overrides: list[str]) -> int:
    """Call `hydra.main` with the flags of the command line and these overrides."""
    flags = []
    for name, value in vars(args).items():
        if name != "overrides" and value not in (None, False):
            flags += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
    with _set_globals([sys.argv[0], *flags, *overrides]):
        hydra.main(config_path=str(conf_dir()), config_name=step, version_base=VERSION_BASE)(task)()
    return 0


@contextmanager
def _set_globals(argv: list[str]) -> Iterator[None]:
    """What `hydra.main` reads: its arguments, and that exceptions are left to its caller."""
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = before[0]
        if before[1] is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)


def _make_output_dir(plan: Plan) -> str:
    option = "hydra.sweep.dir" if plan.is_sweep else "hydra.run.dir"
    path = str(OmegaConf.select(plan.config, option))
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot create {path}: {error.strerror}. Set another {option}.") from error
    return path


class Job:
    """The task function of Hydra: one run, or one job of a sweep, perhaps in another process.

    Attributes:
        mistake: The mistake of the user that ended a single run.
        command: Tells the failures of this command from those of others in the same sweep folder.
    """

    def __init__(self, run: Run, *, is_sweep: bool, num_jobs: int | None, debug: bool = False):
        self.run = run
        self.is_sweep = is_sweep
        self.num_jobs = num_jobs
        self.debug = debug
        self.command = uuid4().hex
        self.mistake: UserError | None = None

    def __call__(self, cfg: DictConfig) -> object:
        """Return what the run returns; a mistake is recorded and not raised, nor is any error in a sweep."""
        start = time.monotonic()
        overrides = list(HydraConfig.get().overrides.task)
        try:
            result = self._run(cfg, overrides)
        except Exception as raised:
            error = _cause(raised)
            is_mistake = isinstance(error, UserError)
            if self.is_sweep:
                is_short = is_mistake and not self.debug
                progress.say(f"Failed: {error}" if is_short else traceback.format_exc())
                folder = Path(HydraConfig.get().runtime.output_dir)
                sweep.record_failure(self.command, folder, overrides, error, mistake=is_mistake)
                return None
            if not isinstance(error, UserError):
                raise
            self.mistake = error
            return None
        if self.is_sweep:
            self._print_done(result, time.monotonic() - start)
        return result

    def _run(self, cfg: DictConfig, overrides: list[str]) -> object:
        config = HydraConfig.get()
        _refuse_several(config.job.name, cfg, is_sweep=self.is_sweep)  # a job of Slurm can be several processes
        if cfg.get("run"):
            was = read_config(cfg.run)
            refuse_unknown_targets(was, cfg.run, cfg, config.runtime.config_sources)
            cfg = merge_run_config(was, cfg, overrides, notice=progress.say)
        return self.run(cfg)

    def _print_done(self, result: object, seconds: float) -> None:
        config = HydraConfig.get()
        number = f"{config.job.num + 1}" + (f" of {self.num_jobs}" if self.num_jobs else "")
        value = f"val/mrr {100 * result:.1f} %, " if isinstance(result, float) else ""
        progress.say(f"job {number}, {Path(config.runtime.output_dir).name}: {value}{seconds:.1f} s")


def _cause(error: Exception) -> Exception:
    """The mistake behind an error of `instantiate`: one that a constructor raised, or a class or option of the user."""
    inner: BaseException | None = error
    while isinstance(inner, InstantiationException):
        what, inner = inner, inner.__cause__
    if isinstance(inner, UserError):
        return inner
    if inner is error:
        return error
    text, _, key = str(what).partition("\nfull_key: ")
    name = f"{key}._target_" if key else "_target_"
    if text.startswith("Error locating target"):
        target = text.split("'")[1]
        return UserError(f"{name}={target} cannot be imported ({inner}). Correct it, or add its folder to PYTHONPATH.")
    if isinstance(inner, TypeError) and re.search(r"unexpected keyword argument|missing \d+ required", str(inner)):
        return UserError(f"{name}: {inner}. Set the arguments that its class takes.")
    return error


def _flag_fault(flag: str) -> str:
    option, _, value = flag.lstrip("-").partition("=")
    return (
        f"{flag}: unknown flag. Options are set without dashes: {option}={value or 'VALUE'}. In the sweep file of "
        "`wandb agent` write ${args_no_hyphens} for ${args}. Flags are listed by --hydra-help."
    )


def _syntax_fault(override: str) -> str:
    if "=" not in override:
        return f"{cut(override)} is not of the form OPTION=VALUE or GROUP=CHOICE. List them with --help."
    return (
        f"{cut(override)}: Hydra cannot parse this override. Quote a value with special characters twice: "
        "'data.root=\"/my photos (new)\"'"
    )


def _print(text: str, code: int) -> int:
    print(hide(text), file=sys.stderr)
    return code


def _by_keyboard(stop: BaseException | None) -> bool:
    """Return whether Ctrl-C is the cause; Lightning turns it into `sys.exit(1)`."""
    while stop is not None and not isinstance(stop, KeyboardInterrupt):
        stop = stop.__cause__ or stop.__context__
    return stop is not None
