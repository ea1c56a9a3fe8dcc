"""serving/supervisor.py: when a part that died is restarted."""

from __future__ import annotations

import pytest

from serving import supervisor
from serving.supervisor import LASTING, ManagedProcess


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class DyingProcess(ManagedProcess):
    """A process that dies as soon as it is started, unless it `lives`."""

    def __init__(self, clock: Clock, max_restart_interval: float) -> None:
        self.clock = clock
        self.starts: list[float] = []
        self.lives = False
        super().__init__("web server", max_restart_interval=max_restart_interval)

    def _start(self) -> None:
        self._started, self._died = self.clock.now, None
        self.starts.append(self.clock.now)

    def is_running(self) -> bool:
        return self.lives

    def is_gone(self) -> bool:
        return not self.lives

    def ask_to_stop(self) -> None:
        pass

    def cause_of_death(self) -> str:
        return "was killed"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(supervisor, "time", clock)
    return clock


def run(process: DyingProcess, seconds: float) -> None:
    end = process.clock.now + seconds
    while process.clock.now < end:
        assert process.keep_running()
        process.clock.now += 0.5


def test_what_dies_again_and_again_is_started_after_pauses_that_grow_to_a_limit(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    process = DyingProcess(clock, 60.0)
    run(process, 300)
    pauses = [after - before for before, after in zip(process.starts, process.starts[1:], strict=False)]
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert "Restarting it in 32 s.\n" in capsys.readouterr().out


def test_what_has_run_for_a_while_is_started_at_once(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    process = DyingProcess(clock, 60.0)
    process.lives = True
    run(process, LASTING + 100)
    process.lives = False
    process.keep_running()
    assert process.starts[-1] == clock.now
    assert capsys.readouterr().out.endswith("Restarting it.\n")


def test_what_may_not_be_started_again_ends_the_service(clock: Clock) -> None:
    assert not DyingProcess(clock, 0.0).keep_running()
