"""Standard streams that fail, in processes of their own where closed means closed."""

import io
import logging
import os
import subprocess
import sys

import pytest

from asd.errors import UserError
from asd.logs import set_up_logging
from asd.output import steady_output

WORK = """
import logging, os, sys, time
from pathlib import Path
from tqdm import tqdm
from asd.errors import UserError
from asd.logs import set_up_logging
from asd.output import steady_output

done = Path(sys.argv[1])
with steady_output() as output:
    set_up_logging()
    time.sleep(0.2)  # until whoever was to read has left
    with done.open("w") as file:
        for i in tqdm(range(3), desc="work"):
            logging.getLogger("asd").info("step %d", i)
            print("result", i, flush=True)
            print("x" * 100_000)
        print("complaint", file=sys.stderr)
        file.write("done")
    try:
        output.check()
    except UserError as error:
        done.with_name("fault").write_text(str(error))
        sys.exit(2)
"""


def run(tmp_path, redirections):
    """Exit status of the work with a shell's redirections, and what it left in the file."""
    program = tmp_path / "work.py"
    program.write_text(WORK)
    done = tmp_path / "done"
    command = f"'{sys.executable}' '{program}' '{done}' {redirections}"
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    return ended, done.read_text()


@pytest.mark.parametrize(
    "redirections",
    [
        "| true",
        "2>&1 | true",
        "2> >(true)",
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        "2>/dev/full",
    ],
)
def test_the_work_is_done_though_nobody_listens(tmp_path, redirections):
    ended, done = run(tmp_path, redirections)
    assert (ended.returncode, done) == (0, "done")
    assert "Traceback" not in ended.stderr + ended.stdout
    assert "Exception" not in ended.stderr + ended.stdout


def test_results_that_find_no_space_are_a_fault_after_the_work(tmp_path):
    ended, done = run(tmp_path, "> /dev/full")
    assert (ended.returncode, done) == (2, "done")
    assert (
        (tmp_path / "fault")
        .read_text()
        .startswith("standard output: results could not be written (No space left on device)")
    )


def test_one_stream_goes_on_when_the_other_fails(tmp_path):
    ended, _ = run(tmp_path, "2>&-")
    assert ended.stdout.count("result") == 3
    ended, _ = run(tmp_path, ">&-")
    assert "complaint" in ended.stderr
    assert "INFO: step 2" in ended.stderr


def test_streams_are_as_before_after_the_block(capfd):
    before = sys.stdout, sys.stderr
    with steady_output() as output:
        print("ä", end="")
        print("b", file=sys.stderr)
        output.check()
    assert (sys.stdout, sys.stderr) == before
    assert capfd.readouterr() == ("ä", "b\n")


def test_streams_that_are_no_files_stay_as_they_are(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with steady_output() as output:
        assert sys.stdout is stream
        print("text")
        output.check()
    assert stream.getvalue() == "text\n"


def test_an_error_of_the_work_comes_through_a_failed_stream(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)

    def fail():
        with steady_output():
            print("text", flush=True)
            raise UserError("mine")

    with open(writer, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with pytest.raises(UserError, match="mine"):
            fail()


class _Broken(io.StringIO):
    def write(self, text):  # noqa: ARG002
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("closed", [False, True])
def test_a_log_line_that_cannot_be_written_is_dropped(monkeypatch, closed):
    logger = logging.getLogger("asd")
    before = logger.handlers, logger.level
    stream = io.StringIO() if closed else _Broken()
    if closed:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        set_up_logging()
        logger.info("nobody reads this")
    finally:
        logger.handlers, logger.level = before
