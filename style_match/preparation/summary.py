"""What the step prints at its end."""

from style_match.preparation.step import Prepared


def summary(prepared: Prepared) -> str:
    """A short table of counts, where the files are, and the command that comes next."""
    counts, root, task = prepared.record["counts"], prepared.folder.root, prepared.folder.task
    data = "synthetic data" if prepared.record["synthetic"] else ""
    lines = [f"Prepared {root}" + (f" ({data})" if data else ""), ""]
    rows = [
        ("photos in the source", counts["photos"]),
        *((f"  left out: {k}", n) for k, n in counts["left_out"].items()),
    ]
    rows += [("photos kept", counts["kept"]), ("profiles", counts["profiles"])]
    if task == "couple":
        rows.append(("couples", counts["couples"]))
    rows += [(f"  {name}", its["kept"]) for name, its in counts["classes"].items()]
    rows.append(("groups of copies", counts["copies"]["groups"]))
    rows.append(("  profiles in them", counts["copies"]["profiles"]))
    width = max(len(name) for name, _ in rows)
    lines += [f"{name:<{width}}  {count:>9,}" for name, count in rows]
    lines.append(f"{'train / val / test':<{width}}  {' / '.join(str(n) for n in counts['split'].values()):>9}")
    lines += ["", *(f"note: {note}" for note in (*prepared.notes, *prepared.split.notes))]
    if not prepared.changed:
        lines.append("Nothing changed: it was up to date.")
    lines += [str(root / name) for name in ("profiles.csv", "rejected.csv", "prepared.html")]
    data_name = "couples" if task == "couple" else "styles"
    words = (
        ""
        if prepared.folder.label_column in (None, "fashion_style")
        else f" data.label_column={prepared.folder.label_column}"
    )
    lines += ["", f"Next: python -m style_match.train data={data_name} data.root={root}{words}"]
    return "\n".join(lines)
