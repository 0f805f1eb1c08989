"""`python -m style_match.search`: the photos that fit a text, in any language that the backbone reads."""

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> None:
    """Print the profiles that fit the query best and write recommendations.html into `out`.

    Raises:
        UserError: A fault of the matcher folder, dataset folder, query or filter, or a matcher without text search.
    """
    from style_match.serving.matcher_folder import matcher_of
    from style_match.serving.where import parse
    from style_match.utils.errors import UserError

    folder = matcher_of(cfg)  # report faults of the folder and the filter before torch is imported
    if cfg.where is not None:
        parse(cfg.where)
    if not str(cfg.query).strip():
        raise UserError('query is empty. Set some words, such as query="a neat dandy look".')

    from style_match.serving.steps import search

    search(cfg, folder)


if __name__ == "__main__":
    main.main("search", run)
