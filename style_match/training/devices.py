"""Errors of the processes of a training on several devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import PicklingError

from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from style_match.utils.errors import UserError
from style_match.utils.processes import spawning

MISTAKE = f"{UserError.__module__}.{UserError.__qualname__}: "


@contextmanager
def processes(folder: Path, num: int) -> Iterator[None]:
    """Raise errors of the `num` training processes that the block starts as if there were only one process.

    Raises:
        UserError: A process raised it or was killed, or a part cannot be sent to it.
    """
    if num == 1:
        yield
        return
    try:
        with spawning():  # joblib changes how its workers start processes
            yield
    except ProcessRaisedException as error:
        _, is_mistake, message = str(error).rpartition(MISTAKE)
        if is_mistake:
            raise UserError(message.strip()) from None
        raise
    except ProcessExitedException as error:
        has_last = (folder / "checkpoints" / "last.ckpt").is_file()
        raise UserError(
            f"A training process was killed ({error.signal_name or error.exit_code}), as happens if memory runs "
            f"out. Resume with run={folder}{' ckpt_path=last' if has_last else ''}."
        ) from error
    except (PicklingError, AttributeError, TypeError) as error:
        if "pickle" not in str(error):
            raise
        raise UserError(
            f"trainer.devices={num} sends head, loss and data to other processes, and a part cannot be sent: {error}. "
            "Use trainer.devices=1, or define its classes and functions at the top of a module."
        ) from error
