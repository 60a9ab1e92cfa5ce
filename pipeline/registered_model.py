"""A registered model of MLflow: its versions, which of them is champion, and the run that measured each."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import InputError
from pipeline.mlflow_runs import SQLITE, first_use, open_mlflow, tracking_uri
from pipeline.promotion import Contender, contender
from pipeline.saved_report import REPORT, read_report_file

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
OURS = "fair_pruner.registered"  # on a registered model that holds files of a sweep
SHA256, PARENT_RUN, ROLLED_BACK = "fair_pruner.onnx_sha256", "fair_pruner.parent_run_id", "fair_pruner.rolled_back"
LINKS = "mlflow.modelVersions"
FILE = "fair_pruner.candidate", "fair_pruner.precision", "fair_pruner.runtime"


class RegisteredModel(NamedTuple):
    """One of them, and the MlflowClient to reach it with."""

    client: Any
    name: str

    def make(self) -> None:
        """Create it unless it is there."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        self.client.set_registered_model_tag(self.name, OURS, "true")

    def aliases(self) -> dict[str, int]:
        """Version by alias. Raises InputError if there is no such model."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # there, or in any registry
                raise
            raise InputError(
                f"MLflow has no registered model {self.name}; fair-pruner promote without a name lists those there are"
            ) from error
        return {alias: int(version) for alias, version in found.aliases.items()}

    def versions(self) -> dict[int, Any]:
        """MLflow's ModelVersions by number, ascending."""
        found = self.client.search_model_versions(f"name = '{self.name}'")
        return {int(version.version): version for version in sorted(found, key=lambda each: int(each.version))}

    def version(self, number: int) -> Any:
        """One of them. Raises InputError that lists what there is."""
        found = self.versions()
        if number not in found:
            raise InputError(f"{self.name} has no version {number}; it has {', '.join(map(str, found)) or 'none'}")
        return found[number]

    def add(self, logged: Any, description: str, tags: dict[str, str]) -> int:
        """The version that is the file of a LoggedModel, made unless there is one with the same SHA256. Returns its number."""
        for number, version in self.versions().items():
            if version.tags.get(SHA256) == tags[SHA256]:
                self.client.update_model_version(self.name, str(number), description)
                self.tag(number, {key: value for key, value in tags.items() if version.tags.get(key) != value})
                return number
        made = self.client.create_model_version(
            self.name,
            logged.artifact_location,  # MLflow would look models:/<id> up at the tracking URI of the process
            run_id=logged.source_run_id,
            tags=tags,
            description=description,
            model_id=logged.model_id,
        )
        self._link(logged.model_id, int(made.version))
        return int(made.version)

    def _link(self, model_id: str, number: int) -> None:
        """Let MLflow's pages lead from the LoggedModel to the version; a server has done so itself."""
        found = json.loads(self.client.get_logged_model(model_id).tags.get(LINKS, "[]"))
        if (self.name, str(number)) not in [(link["name"], str(link["version"])) for link in found]:
            links = [*found, {"name": self.name, "version": str(number)}]
            self.client.set_logged_model_tags(model_id, {LINKS: json.dumps(links)})

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        for key, value in tags.items():
            self.client.set_model_version_tag(self.name, str(number), key, value)

    def contender(self, number: int) -> Contender:
        """A version's file in the run that measured it last. Raises InputError if that run's report cannot be read any more."""
        from mlflow.exceptions import MlflowException

        tags = self.version(number).tags
        if not {PARENT_RUN, *FILE} <= tags.keys():
            raise InputError(f"version {number} of {self.name} is of no sweep, so nobody knows how accurate and how fast it is")
        run, (candidate, precision, runtime) = tags[PARENT_RUN], (tags[key] for key in FILE)
        with tempfile.TemporaryDirectory() as folder:
            try:
                file = self.client.download_artifacts(run, REPORT, folder)
            except (MlflowException, OSError) as error:
                reason = str(error).partition("\n")[0]
                raise InputError(f"the report of version {number}, in MLflow run {run}, cannot be read: {reason}") from error
            return contender(read_report_file(Path(file)), candidate, precision, runtime)

    def crown(self, number: int) -> None:
        """Make a version champion; the one before becomes `previous`."""
        before = self.aliases().get(CHAMPION)
        if before not in (None, number):
            self.set(PREVIOUS, before)
        self.set(CHAMPION, number)
        for alias in (CHALLENGER, PREVIOUS):
            if self.aliases().get(alias) == number:
                self.client.delete_registered_model_alias(self.name, alias)
        self.client.delete_model_version_tag(self.name, str(number), ROLLED_BACK)

    def set(self, alias: str, number: int) -> None:
        """Give an alias to a version, and take it from any other."""
        self.client.set_registered_model_alias(self.name, alias, str(number))


@contextmanager
def open_registered_model(name: str, uri: str, kept: str) -> Iterator[RegisteredModel]:
    """A registered model that nobody else changes meanwhile, as far as MLflow's database is an SQLite file.

    Raises StageError if MLflow refuses, here or in the block; `kept` is said in it.
    """
    with open_mlflow(uri, kept) as client, first_use(uri):  # again, to decide alone
        yield RegisteredModel(client, name)


def existing_uri(output: Path) -> str:
    """Where runs of `output` were logged to. Raises InputError if that is a database that is not there."""
    uri = tracking_uri(output)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise InputError(f"{uri.removeprefix(SQLITE)} does not exist, so nothing is registered; give --output as for the run")
    return uri
