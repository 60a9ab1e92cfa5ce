"""A clock of the day that is wrong, for single processes: nobody else's is touched."""

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("moved_clock.c")


class MovedClock:
    """`environment` is that of processes with this clock, which may be moved while they run. Needs Linux and a C compiler."""

    def __init__(self, folder: Path, seconds: int = 0) -> None:
        library, self._offset = folder / "moved_clock.so", folder / "moved_clock"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE)], check=True)  # noqa: S607
        self.move(seconds)
        self.environment = {"LD_PRELOAD": str(library), "MOVED_CLOCK": str(self._offset)}

    def move(self, seconds: int) -> None:
        """That many seconds from the true time; negative is back."""
        self._offset.write_text(str(seconds))
