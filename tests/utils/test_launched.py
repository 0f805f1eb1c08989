"""What the environment of torchrun, srun, a batch script and a job of one task says."""

import pytest

from style_match.utils.distributed import Launched, launched, refuse_several
from style_match.utils.errors import UserError

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
SRUN = {**BATCH_SCRIPT, "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}


@pytest.fixture
def environment(monkeypatch):
    """Sets an environment without what a launcher of the tests themselves may have left."""
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)

    def set_(values: dict[str, str]) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, None),
        (TORCHRUN, Launched("torchrun", 5, 8, 1)),
        ({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, None),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, None),  # as Lightning tells the processes that it starts
        (SRUN, Launched("srun", 3, 4, 1)),
        (BATCH_SCRIPT, None),
        ({**BATCH_SCRIPT, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"}, None),  # a job of submitit
        ({**SRUN, **TORCHRUN}, Launched("torchrun", 5, 8, 1)),
        ({**SRUN, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, Launched("srun", 3, 4, 1)),
    ],
)
def test_who_started_how_many(environment, values, found):
    environment(values)
    assert launched() == found


@pytest.mark.parametrize(
    "wrong", [{"RANK": "8"}, {"RANK": "-1"}, {"RANK": "x"}, {"WORLD_SIZE": ""}, {"LOCAL_RANK": "-1"}]
)
def test_variables_that_contradict_each_other_are_named(environment, wrong):
    environment({**TORCHRUN, **wrong})
    with pytest.raises(UserError, match=r"RANK=.*WORLD_SIZE=.*LOCAL_RANK=.*Unset them"):
        launched()


def test_a_step_that_is_one_process(environment):
    refuse_several("a sweep")
    environment(SRUN)
    with pytest.raises(UserError, match=r"srun started 4 processes of a sweep.*trainer\.devices"):
        refuse_several("a sweep")
