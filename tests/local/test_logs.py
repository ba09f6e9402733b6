"""Reading logs: nothing lost, nothing split, whatever the bytes."""

from __future__ import annotations

from itertools import chain, repeat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_cli.core.exceptions import TargetError
from cw_cli.core.progress import PREFIX
from cw_cli.targets.local.logs import observe_log, read_lines

from .machines import Machine, patient, plan


def test_a_long_log_is_followed_without_loss(machine: Machine) -> None:
    program = "import sys\nfor i in range(100000): sys.stdout.write(f'line {i}\\n')"
    machine.target.launch(plan("one", program), attached=False)
    followed = list(machine.target.logs("one", role=None, follow=True, tail=None))
    assert followed == [f"line {number}" for number in range(100_000)]


def test_following_ends_with_what_has_no_line_end(machine: Machine) -> None:
    machine.target.launch(plan("one", "print('a'); print('b', end='')"), attached=False)
    assert list(machine.target.logs("one", role="trainer", follow=True, tail=None)) == ["a", "b"]


def test_an_unknown_role_is_refused(machine: Machine) -> None:
    machine.run("one", "print(1)")
    with pytest.raises(TargetError, match="reward"):
        machine.target.logs("one", role="reward", follow=False, tail=None)


def test_output_and_errors_are_one_log(machine: Machine) -> None:
    machine.run("one", "import sys; print('out', flush=True); print('err', file=sys.stderr)")
    assert machine.lines("one") == ["out", "err"]


def test_strange_bytes_and_progress_bars(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"caf\xe9\r\n 10%\r 50%\r100%\n 10%\r 20%\r\n\nend")
    assert list(read_lines(log, tail=None)) == ["caf\ufffd", "100%", " 20%", "", "end"]


def test_a_line_that_arrives_in_pieces_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\ntw")
    pieces = iter([b"", b"o\xc3", b"\xa9\nthr", b"ee\r"])

    def ended() -> bool:
        piece = next(pieces, None)
        with log.open("ab") as file:
            file.write(piece or b"")
        return piece is None

    assert list(read_lines(log, tail=0, ended=ended)) == ["twoé", "three"]


@patient
@given(st.lists(st.binary(max_size=30).map(lambda block: block * 5000), max_size=6), st.integers(0, 8))
def test_the_tail_is_the_end_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes], n: int
) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    content = b"\n".join(blocks)
    log.write_bytes(content)
    whole = list(read_lines(log, tail=None))
    unfinished = bool(content) and not content.endswith(b"\n")
    wanted = max(n, 1) if unfinished else n
    assert list(read_lines(log, tail=n)) == (whole[-wanted:] if wanted else [])


def test_progress_is_read_from_both_ends_of_a_big_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    start = ['{"event":"start","total":9,"resumed_from":null,"step":0}', '{"step":1,"total":9,"loss":5.0}']
    end = ['{"step":7,"total":9,"loss":2.5,"lr":2e-05,"tokens_per_second":12.5,"eta_s":3,"memory_bytes":1024}']
    noise = repeat("x" * 99, 20_000)
    lines = chain((PREFIX + line for line in start), noise, (PREFIX + line for line in end), repeat("y" * 99, 3000))
    log.write_text("\n".join(lines) + "\n")
    observed, last = observe_log(log)
    progress = observed.progress
    assert progress
    assert (progress.step, progress.total, progress.first_loss, progress.loss) == (7, 9, 5.0, 2.5)
    assert (progress.learning_rate, progress.tokens_per_second, progress.eta, progress.memory) == (2e-05, 12.5, 3, 1024)
    assert last[-1] == "y" * 99


def test_a_first_loss_that_was_not_seen_is_not_made_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x\n" * 60_000 + PREFIX + '{"step":7,"loss":2.5}\n')
    progress = observe_log(log)[0].progress
    assert progress and (progress.step, progress.loss, progress.first_loss) == (7, 2.5, None)


def test_no_log_is_no_news(tmp_path: Path) -> None:
    observed, lines = observe_log(tmp_path / "none")
    assert (observed.progress, lines) == (None, [])
