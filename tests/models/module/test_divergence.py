"""A learning rate that spoils a training is named with its value and one that works."""

import pytest

from tests.commands import SMALL_COUPLES

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SGD = ("optimizer._target_=torch.optim.SGD", "~optimizer.fused")


@pytest.mark.parametrize(("rate", "words"), [("1e6", ()), ("1e9", SGD)])
def test_a_rate_that_is_too_high(rate, words, run_step, tmp_path):
    words = (*SMALL_COUPLES, "trainer.max_epochs=20", "trainer.early_stopping.patience=20", *words)
    done = run_step("train", *words, f"optimizer.lr={rate}", f"hydra.run.dir={tmp_path / 'run'}", code=2)
    (line,) = [line for line in done.stderr.splitlines() if "optimizer.lr, which" in line]
    assert f"lower optimizer.lr, which is {float(rate):g}, to 5e-05, for example" in line
    assert "Traceback" not in done.stderr
