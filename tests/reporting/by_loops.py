"""Tables of hand-written runs, and their numbers by loops over the ranks that the runs wrote."""

from __future__ import annotations

import itertools

import numpy as np

from style_match.reporting.runs import read_runs
from style_match.reporting.tables import make_table
from tests.reporting.run_folders import read_ranks, spec

WIDE = {"head__dim": 512, "loss__temperature": 0.1}


def table_of(folder, options, name="table3", **changed):
    return make_table(name, spec(name) | changed, read_runs(folder)[0], options)


def score(rank, metric):
    return 1 / rank if metric == "mrr" else float(rank <= int(metric.partition("@")[2]))


def mean(folders, metric, model="trained"):
    return np.mean([score(rank, metric) for folder in folders for rank in read_ranks(folder, model).values()])


def gaps(one, other, metric, model=("trained", "trained")):
    """{couple: [difference of each query and seed]} of runs paired by seed."""
    found = {}
    for mine, its in zip(one, other, strict=True):
        ranks, others = read_ranks(mine, model[0]), read_ranks(its, model[1])
        assert ranks.keys() == others.keys()
        for query, direction in ranks:
            gap = score(ranks[query, direction], metric) - score(others[query, direction], metric)
            found.setdefault(query[1:], []).append(gap)
    return found


def sign_flips(sums):
    """Two-sided p over all signs, as a loop."""
    totals = [
        abs(sum(s * x for s, x in zip(signs, sums, strict=True)))
        for signs in itertools.product([1, -1], repeat=len(sums))
    ]
    return np.mean([total >= abs(sum(sums)) - 1e-9 for total in totals])
