"""`python -m style_match.export`: the matcher folder of a run, which `StyleMatcher.from_pretrained` loads."""

from pathlib import Path

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> None:
    """Write the matcher folder of the run that `run=` names; `cfg` is that run's config.

    Raises:
        UserError: the run is not finished or not whole, its data was changed, or `out` holds something else.
    """
    from style_match.serving.export import finished_run
    from style_match.serving.matcher_folder import refuse_other_content, write_matcher

    found = finished_run(cfg)
    out = Path(cfg.out).expanduser() if cfg.out else found.folder / "matcher"
    refuse_other_content(out, found.id)

    # what imports torch and Lightning, several seconds
    import json

    from style_match.serving.export import content
    from style_match.serving.matcher_folder import ABOUT, CARD
    from style_match.serving.model_card import by_group, card

    figures = by_group(found, cfg.card)  # before the text head is fitted: mistakes in card.by and card.bands
    about, files = content(found)
    files[CARD] = card(found, about, cfg.card, figures).encode()
    files[ABOUT] = (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
    write_matcher(out, files)
    for name in ("", CARD):
        print(out / name)


if __name__ == "__main__":
    main.main("export", run)
