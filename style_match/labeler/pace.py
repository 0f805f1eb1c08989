"""When the next request may be sent: limits of the config and of the server, and pauses that it asks for."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Mapping

_WINDOW_S = 60.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Pace:
    """Shared by all workers of one event loop: what makes one wait makes all wait.

    Args:
        requests_per_min, tokens_per_min: None: no limit of our own.
        max_pause_s: a server's header makes nobody wait longer.
    """

    def __init__(self, *, requests_per_min: int | None, tokens_per_min: int | None, max_pause_s: float) -> None:
        self.requests_per_min, self.tokens_per_min, self.max_pause_s = requests_per_min, tokens_per_min, max_pause_s
        self._sent: deque[tuple[float, int]] = deque()
        self._resume_at = 0.0

    async def ready(self, tokens: int) -> None:
        """Return when a request of so many tokens may be sent, which then counts as sent."""
        while (wait := self._wait(tokens, time.monotonic())) > 0:
            await asyncio.sleep(wait)
        self._sent.append((time.monotonic(), tokens))

    def pause(self, seconds: float) -> None:
        """Nobody sends for so long."""
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    def note(self, headers: Mapping[str, str], tokens: int) -> None:
        """Obey `x-ratelimit-*`: what is left, and when it is full again."""
        for kind, needed in (("requests", 1), ("tokens", tokens)):
            left, reset = headers.get(f"x-ratelimit-remaining-{kind}"), headers.get(f"x-ratelimit-reset-{kind}")
            is_spent = left and re.fullmatch("[0-9]{1,18}", left) and int(left) < needed
            if is_spent and (seconds := duration_s(reset)) is not None:
                self.pause(min(seconds, self.max_pause_s))

    def _wait(self, tokens: int, now: float) -> float:
        while self._sent and now - self._sent[0][0] >= _WINDOW_S:
            self._sent.popleft()
        wait = self._resume_at - now
        full = self.requests_per_min is not None and len(self._sent) >= self.requests_per_min
        spent = sum(each for _, each in self._sent)
        if self.tokens_per_min is not None and self._sent and spent + tokens > self.tokens_per_min:
            full = True  # a request above the limit by itself still goes, alone
        return max(wait, self._sent[0][0] + _WINDOW_S - now) if full else wait


def duration_s(text: str | None) -> float | None:
    """Seconds of a duration such as "1s", "6m0s", "20ms"; None where it is none."""
    if not text or not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|[smhd])", text))
