import subprocess
import sys
from pathlib import Path

from pipeline.file_lock import locked

HOLDER = """
import sys
from pathlib import Path
from pipeline.file_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
    print("done", flush=True)
"""


def start(file: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLDER, str(file)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_one_waits_for_the_other_but_not_for_a_killed_one(tmp_path: Path) -> None:
    file = tmp_path / "new" / "thing"
    with start(file) as first:
        assert first.stdout
        assert first.stdout.readline() == "held\n"
        with start(file) as second:
            assert second.stdout
            assert second.stdin
            first.kill()
            assert second.stdout.readline() == "held\n"
            second.stdin.close()
            assert second.stdout.readline() == "done\n"
    with locked(file):
        assert not file.exists()
