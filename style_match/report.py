"""`python -m style_match.report`: the table of a sweep, with uncertainty, as Markdown, LaTeX, CSV and HTML."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from style_match.cli import main
from style_match.utils.errors import UserError


def run(cfg: DictConfig) -> None:
    """Write and print the tables of the runs in the folder `sweep`.

    Raises:
        UserError: Runs that are unfinished, failed or match no row of a preset, unless `report.leave_out` allows them;
            rows that cannot be compared. Nothing is written then.
    """
    from rich.console import Console

    from style_match.reporting import tables as render
    from style_match.reporting.pages import page
    from style_match.reporting.runs import Options, read_runs, refuse_left_out
    from style_match.reporting.sweeps import specs_of
    from style_match.reporting.tables import foreign_runs, make_tables
    from style_match.utils.files import write_whole
    from style_match.utils.progress import say

    sweep = Path(cfg.sweep).expanduser()
    out = Path(cfg.out).expanduser() if cfg.out else sweep / "report"
    runs, left_out = read_runs(sweep)
    presets = cfg.get("table") or {}
    specs = {str(name): OmegaConf.to_container(table, resolve=True) for name, table in presets.items()}
    if specs:
        left_out += foreign_runs(specs, runs)
    refuse_left_out(left_out, cfg.report.leave_out)
    if not runs:
        raise UserError(f"sweep={sweep}: no run in it is finished. Finish one.")
    specs = specs or specs_of(runs, cfg.report.against)
    for each in left_out:
        say(f"left out, {each.kind}: {each.folder}: {each.why}")
    tables = make_tables(specs, runs, Options.from_config(cfg.report))
    files = {f"{table.name}.md": render.markdown(table) for table in tables}
    files |= {f"{table.name}.tex": render.latex(table) for table in tables}
    files["tables.csv"] = render.rows_of_csv(tables)
    files["report.html"] = page(tables, sweep, cfg.report, left_out=left_out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot create {out}: {error.strerror}. Set another out.") from error
    render.print_tables(tables, Console())
    for name, content in files.items():
        write_whole(out / name, content)
        print(out / name)


if __name__ == "__main__":
    main.main("report", run)
