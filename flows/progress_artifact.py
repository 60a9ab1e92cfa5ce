"""How far a long task is, shown in its Prefect run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from prefect import runtime
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.artifact_calls import artifact_key, only_warned
from pipeline.progress import observer

EVERY_SECONDS = 2.0


@contextmanager
def progress_artifact(about: str) -> Iterator[None]:
    """What a stage in the block tells of its progress becomes an artifact of the task, named after the run and `about`.

    It is made once the stage has gone on for EVERY_SECONDS and is renewed no more often. After a call that fails there are no
    more of them.
    """
    token = observer.set(_Shown(about))
    try:
        yield
    finally:
        observer.reset(token)


@dataclass
class _Shown:
    """The observer of one stage. It returns before the stage goes on: nothing runs beside what may be a measurement."""

    about: str
    last: float = field(default_factory=time.monotonic)
    artifact: UUID | None = None
    works: bool = True

    def __call__(self, description: str, share: float) -> None:
        finished = share >= 1 and self.artifact is not None
        if not self.works or not (finished or time.monotonic() - self.last >= EVERY_SECONDS):
            return
        self.works = False
        with only_warned(f"the progress of {self.about}"):
            if self.artifact is None:
                key = artifact_key(str(runtime.flow_run.name), self.about)
                self.artifact = create_progress_artifact(100 * share, key, description)
            else:
                update_progress_artifact(self.artifact, 100 * share, description)
            self.works = True
        self.last = time.monotonic()
