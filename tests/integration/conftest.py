"""Steps that start as a new process would."""

import gc
import sys

import pytest

from style_match.training import kept


@pytest.fixture
def run_fresh(run_step):
    """`run_step` without what earlier steps of this process left.

    That is the inputs that cells of one sweep share, and the lock of a run folder whose step failed: a process gives
    the lock back when it ends, and this one when the exception is collected.
    """

    def run(*words, **options):
        kept._last.clear()
        try:
            return run_step(*words, **options)
        finally:
            if options.get("code") or sys.exc_info()[0]:
                gc.collect()

    return run
