"""The program that ends a supervisor's children if the supervisor is killed, when it can no longer do that itself.

It reads `+GROUP` and `-GROUP` lines, a process group that was started or has ended, until the other end of the pipe closes.
Whoever is killed closes it; no signal is needed, and processes further down end too, as they would not with Linux's
parent-death signal.
"""

import signal
import sys

from flows.process_group import end_group

GRACE_SECONDS = 5.0


def main() -> None:
    """Wait for the end of standard input, then end the groups that are left, the last one first."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # it goes when the supervisor does, not before
        signal.signal(ignored, signal.SIG_IGN)
    groups: list[int] = []
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.append(group)
        else:
            groups.remove(group)
    for group in reversed(groups):
        end_group(group, GRACE_SECONDS)


if __name__ == "__main__":
    main()
