"""Commands as a user types them."""

import pytest


@pytest.fixture(scope="session")
def step(run_step):
    return run_step
