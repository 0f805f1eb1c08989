"""`python -m style_match.recommend`: the best matches of a profile, of a photo, or of everybody at once."""

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> None:
    """Print the matches and write recommendations.html and, for query=all, recommendations.parquet into `out`.

    Raises:
        UserError: A fault of the matcher folder, dataset folder, query or filter.
    """
    from hydra.core.hydra_config import HydraConfig

    from style_match.serving.matcher_folder import read_matcher
    from style_match.serving.where import parse

    config_dirs = [each.path for each in HydraConfig.get().runtime.config_sources if each.schema == "file"]
    read_matcher(cfg.model, config_dirs)  # report faults of the folder and the filter before torch is imported
    if cfg.where is not None:
        parse(cfg.where)

    from style_match.serving.steps import recommend

    recommend(cfg, config_dirs)


if __name__ == "__main__":
    main.main("recommend", run)
