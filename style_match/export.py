"""`python -m style_match.export`: the matcher folder of a run, which `StyleMatcher.from_pretrained` loads."""

from pathlib import Path

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> None:
    """Write the matcher folder of the run that `run=` names; `cfg` is that run's config.

    Raises:
        UserError: The run is not finished or damaged, its data changed, or `out` holds other files.
    """
    from style_match.serving.finished_run import finished_run
    from style_match.serving.matcher_folder import refuse_other_content

    found = finished_run(cfg)
    out = Path(cfg.out).expanduser() if cfg.out else found.folder / "matcher"
    refuse_other_content(out, found.id)

    from style_match.serving.export import export  # torch and Lightning are imported after the checks

    export(found, out, cfg.card)


if __name__ == "__main__":
    main.main("export", run)
