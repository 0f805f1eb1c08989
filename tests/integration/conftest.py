"""Steps that start as a new process would."""

import gc
import sys

import pytest


@pytest.fixture
def run_fresh(run_step):
    """`run_step` without the lock of a run folder whose step failed: it is released with the exception."""

    def run(*words, **options):
        try:
            return run_step(*words, **options)
        finally:
            if options.get("code") or sys.exc_info()[0]:
                gc.collect()

    return run
