import os
import subprocess
import sys

import pytest
import torch

from style_match.evaluation.metrics import means
from style_match.evaluation.ranks import couple_ranks, style_ranks
from style_match.evaluation.retrieval import RetrievalMetrics

KS = (1, 3, 10)


@pytest.fixture
def rows(unit_rows, random_couples):
    """Rows of couples as batches bring them: (embedding, profile number, couple number, side), and the truth."""
    left, right = unit_rows(12, 4, 0, coarse=True), unit_rows(15, 4, 1, coarse=True)
    couples = random_couples(12, 15, 0)
    table = [(left[i], i, number, 0) for number, (i, _) in enumerate(couples)]
    table += [(right[j], 100 + j, number, 1) for number, (_, j) in enumerate(couples)]
    return table, means(couple_ranks(left, right, torch.tensor(couples), block=8), KS)


def columns(table):
    embedding, *numbers = zip(*table, strict=True)
    return torch.stack(embedding), *(torch.tensor(number) for number in numbers)


def as_floats(result):
    return {name: float(value) for name, value in result.items()}


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_and_repeated_rows_change_nothing(rows, batch):
    table, expected = rows
    metric = RetrievalMetrics(ks=KS, block=4)
    padded = [*table, *table[:5]]
    for start in range(0, len(padded), batch):
        metric.update(*columns(padded[start : start + batch]))
    assert as_floats(metric.compute()) == pytest.approx(expected)
    metric.reset()
    metric.update(*columns(table[::-1]))
    assert as_floats(metric.compute()) == pytest.approx(expected)


def test_styles(unit_rows):
    embedding, labels = unit_rows(20, 4, 2, coarse=True), torch.arange(20) % 3
    metric = RetrievalMetrics(ks=(5, 50), block=4)
    repeated = torch.cat([torch.arange(20), torch.tensor([3, 3])])
    metric.update(embedding[repeated], repeated, labels[repeated])
    assert as_floats(metric.compute()) == pytest.approx(means(style_ranks(embedding, labels, ks=(5,), block=8), (5,)))


def test_half_a_couple_is_refused(rows):
    table, _ = rows
    metric = RetrievalMetrics(ks=KS, block=4)
    metric.update(*columns(table[:-1]))
    with pytest.raises(ValueError, match="exactly one left and one right"):
        metric.compute()


WORKER = """
import json, sys, torch
import torch.distributed as dist
import torch.multiprocessing as mp
from style_match.evaluation.retrieval import RetrievalMetrics

def work(rank, size, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    rows, expected = torch.load(f"{folder}/rows.pt", weights_only=True)
    metric = RetrievalMetrics(ks=(1, 3, 10), block=4)
    count = len(rows[0])
    share = list(range(rank, -(-count // size) * size, size))  # a distributed sampler's, padded from the start
    for index in torch.tensor(share).remainder(count).split(5):
        metric.update(*(column[index] for column in rows))
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found.keys() == expected.keys()
    assert all(abs(found[name] - expected[name]) < 1e-6 for name in found), (found, expected)
    open(f"{folder}/done{rank}", "w").close()
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.spawn(work, args=(2, sys.argv[1]), nprocs=2)
"""


@pytest.mark.slow
def test_two_processes_that_share_the_rows_agree_with_one(rows, tmp_path):
    table, expected = rows
    table = [*table, table[0]]  # an odd number, so that the shares are padded
    assert len(table) % 2 == 1
    torch.save([columns(table), expected], tmp_path / "rows.pt")
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, script, tmp_path], check=True, timeout=600, env=environment)
    assert len(list(tmp_path.glob("done*"))) == 2
