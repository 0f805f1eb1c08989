"""`python -m style_match.recommend`: the best matches of a profile, of a photo, or of everybody at once."""

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> None:
    """Print the matches and write recommendations.html and, for query=all, recommendations.parquet into `out`.

    Raises:
        UserError: A fault of the matcher folder, dataset folder, query or filter.
    """
    from style_match.serving.matcher_folder import matcher_of
    from style_match.serving.where import parse

    folder = matcher_of(cfg)  # report faults of the folder and the filter before torch is imported
    if cfg.where is not None:
        parse(cfg.where)

    from style_match.serving.steps import recommend

    recommend(cfg, folder)


if __name__ == "__main__":
    main.main("recommend", run)
