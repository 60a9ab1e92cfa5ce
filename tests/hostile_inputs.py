"""Bad inputs through every door: what is typed, the file beside it, and the answer that is asked for.

Used by tests/flows/test_hostile_inputs.py in one process, and by tests/benchmarks/hostile_inputs.py in a process for each.
"""

import copy
import gzip
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import ValidationError, validate
from torch import nn

from flows.sweep import sweep
from pipeline import bundle_files
from pipeline.config import RunConfig

from .hostile_files import (
    MANY_OBJECTS,
    Touch,
    idx,
    mat,
    png,
    safetensors_of_10_gb,
    torch_file_of_8_gb,
    zip_bomb,
    zip_that_climbs,
)
from .onnx_files import classifier
from .pipeline.bundling.manifests import MANIFEST
from .pipeline.reporting.finished import finished

Words = list[str]


class Input(NamedTuple):
    """`make` writes what is bad into a folder and returns the words behind `fair-pruner`, or behind `python` for a script.

    The answer has to hold `answer`, and the exit code is `code`.
    """

    door: str
    what: str
    make: Callable[[Path], Words]
    answer: str
    script: bool = False
    code: int = 2


def config(folder: Path, command: str = "plan", **sections: Any) -> Words:
    (folder / "config.yaml").write_text(yaml.safe_dump({"output": "runs", **sections}))
    return [command, "config.yaml"]


def text(content: str | bytes) -> Callable[[Path], Words]:
    """A config file of this content."""

    def make(folder: Path) -> Words:
        (folder / "config.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
        return ["run", "config.yaml"]

    return make


def checkpoint(name: str, write: Callable[[Path], object]) -> Callable[[Path], Words]:
    """A config with the checkpoint that `write` makes."""

    def make(folder: Path) -> Words:
        write(folder / name)
        return config(folder, model={"name": "vgg", "kwargs": {"widths": [8, "M", 16]}, "checkpoint": name})

    return make


def data(name: str, content: bytes, ending: str = "") -> Callable[[Path], Words]:
    """A config with a data set all of whose files have this content."""
    wanted = {
        "cifar10": (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
        "fashion_mnist": [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")],
        "svhn": ("train_32x32.mat", "test_32x32.mat"),
    }

    def make(folder: Path) -> Words:
        for file in wanted[name]:
            (folder / f"{file}{ending}").write_bytes(content)
        return config(folder, data={"name": name, "root": "."})

    return make


def pictures(content: bytes) -> Callable[[Path], Words]:
    def make(folder: Path) -> Words:
        for part in ("train", "test"):
            for kind in ("cat", "dog"):
                (folder / part / kind).mkdir(parents=True)
                (folder / part / kind / "1.png").write_bytes(content)
        return config(folder, data={"name": "imagefolder", "root": ".", "image_size": 32})

    return make


def model(change: Callable[[Any, Path], object], command: str = "build", beside: bool = False) -> Callable[[Path], Words]:
    """An ONNX file that `change` has been at; `beside` keeps its weights in w.bin."""

    def make(folder: Path) -> Words:
        path = classifier(folder / "m.onnx")
        proto = onnx.load(path)
        if beside:
            onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
            proto = onnx.load(path, load_external_data=False)
        change(proto, folder)
        path.write_bytes(proto.SerializeToString())
        return [command, "m.onnx"]

    return make


def located(place: str) -> Callable[[Any, Path], None]:
    """Weights said to be at another place."""

    def change(proto: Any, _: Path) -> None:
        for tensor in proto.graph.initializer:
            next(entry for entry in tensor.external_data if entry.key == "location").value = place

    return change


def linked(_: Any, folder: Path) -> None:
    (folder / "w.bin").unlink()
    (folder / "w.bin").symlink_to("/etc/passwd")


def declared(proto: Any, _: Path) -> None:
    proto.graph.initializer[0].dims[:] = [50_000, 50_000]


def sparse(proto: Any, _: Path) -> None:
    weight = proto.graph.initializer.pop(0)
    places, values = numpy_helper.from_array(np.arange(4), "at"), numpy_helper.from_array(np.ones(4, np.float32), weight.name)
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [100_000, 25_000]))


def second_input(proto: Any, _: Path) -> None:
    proto.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, 8, 8]))


def run(command: str, change: Callable[[dict[str, Any]], object], *options: str) -> Callable[[Path], Words]:
    """A finished run whose report was changed."""

    def make(folder: Path) -> Words:
        finished(folder / "runs" / "digits", "dense", "quick")
        file = folder / "runs" / "digits" / "report.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
        return [command, "runs/digits", *options]

    return make


def report(content: str) -> Callable[[Path], Words]:
    def make(folder: Path) -> Words:
        (folder / "run").mkdir()
        (folder / "run" / "report.json").write_text(content)
        return ["gate", "run"]

    return make


def renamed(name: str) -> Callable[[dict[str, Any]], None]:
    """The candidate and all that was measured of it, under another name."""

    def change(content: dict[str, Any]) -> None:
        old = content["candidates"][1]["name"]
        content["candidates"][1]["name"] = name
        for series in content["latency"]["series"]:
            series["candidate"] = name if series["candidate"] == old else series["candidate"]

    return change


def sums(line: str) -> Callable[[Path], Words]:
    """A bundle with another list of its files."""

    def make(folder: Path) -> Words:
        script = Path(bundle_files.__path__[0]) / "verify.py"
        (folder / "verify.py").write_bytes(script.read_bytes())
        (folder / "SHA256SUMS").write_text(f"{'0' * 64}  {line}\n")
        return ["verify.py"]

    return make


def manifest(script: str, change: Callable[[dict[str, Any]], str]) -> Callable[[Path], Words]:
    """A script of a bundle beside another manifest.json."""

    def make(folder: Path) -> Words:
        for name in (script, "bundle_content.py"):
            (folder / name).write_bytes((Path(bundle_files.__path__[0]) / name).read_bytes())
        (folder / "manifest.json").write_text(change(copy.deepcopy(MANIFEST)))
        return [script]

    return make


def elsewhere(content: dict[str, Any]) -> str:
    content["models"][0]["path"] = "/etc/passwd"
    return json.dumps(content)


def postscript() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "EPS")
    return content.getvalue()


def typed(*words: str) -> Callable[[Path], Words]:
    return lambda folder: [*config(folder), *words] if words[0].startswith("--") else [*words]


BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['x'] * 9)}]\n" for n in range(9))
NO_CODE = "asks to run the code os:getcwd, which nobody has allowed here"
INPUTS = (
    Input("command line", "no such file", typed("run", "none.yaml"), "none.yaml does not exist"),
    Input("command line", "a device for a file", typed("run", "/dev/zero"), "config file /dev/zero does not exist"),
    Input("command line", "a value nested 100,000 deep", typed("--set", f"name={'[' * 100_000}"), "is nested deeper than 20"),
    Input("command line", "a setting without a value", typed("--set", "train.epochs"), "is not of the form section.key=value"),
    Input("command line", "code for a number", typed("--tolerances", "__import__('os')"), "allocate.tolerances"),
    Input("command line", "the servers for all the world", typed("up", "--host", "0.0.0.0"), "lets other machines in"),  # noqa: S104
    Input("command line", "a run that is none", typed("gate", "."), "has no report.json"),
    Input("command line", "a report nested 100,000 deep", report("[" * 100_000), "cannot be read"),
    Input("command line", "a report of another form", report('{"name": 1}'), "Input should be a valid string"),
    Input(
        "command line",
        "a report of a test on no images",
        run("compare", lambda content: content["candidates"][1]["onnx_test"].update(samples=0)),
        "candidates.1.onnx_test.samples: Input should be greater than or equal to 1",
    ),
    Input(
        "command line",
        "a report with a latency of 10^400 ms",
        run("gate", lambda content: content["latency"]["series"][1].update(p50_ms=10**400)),
        "it holds the number inf",
    ),
    Input(
        "command line",
        "a report with a candidate twice",
        run("compare", lambda content: content["candidates"].append(content["candidates"][1])),
        "it holds tolerance-0.2 fp32 more than once",
    ),
    Input("YAML", "aliases for 9^9 values", text(BOMB), "comes to more than 10000 values with its aliases"),
    Input("YAML", "an alias of itself", text("a: &a [*a]\n"), "comes to more than 10000 values with its aliases"),
    Input("YAML", "nested 100,000 deep", text("[" * 100_000), "is nested deeper than 20"),
    Input("YAML", "a tag that runs a command", text("a: !!python/object/apply:os.mkdir [it-ran]\n"), "could not determine"),
    Input("YAML", "2 MiB", text("# " + "x" * 2**21), "more than the 1 MiB that are read"),
    Input("YAML", "a number of 5,000 digits", text(f"seed: {'9' * 5000}\n"), "is not YAML"),
    Input("YAML", "bytes that are no text", text(b"\xff\xfe\x00\xd8"), "is not YAML"),
    Input("YAML", "a name that leads elsewhere", text("name: ../../outside\n"), "name = '../../outside' is refused"),
    Input("YAML", "a key that is none", text("allow_code: true\n"), "unknown key allow_code"),
    Input("YAML", "not a number", text("train: {lr: .nan}\n"), "train.lr"),
    Input("YAML", "a network by code", lambda f: config(f, model={"source": "custom", "name": "os:getcwd"}), NO_CODE),
    Input("YAML", "data by code", lambda f: config(f, data={"name": "custom", "factory": "os:getcwd"}), NO_CODE),
    Input("YAML", "a signal by code", lambda f: config(f, score={"removal": "os:getcwd"}), NO_CODE),
    Input("checkpoint", "a pickle that makes a folder", checkpoint("m.pt", lambda p: torch.save(Touch(), p)), "holds pickled"),
    Input("checkpoint", "a whole module", checkpoint("m.pt", lambda p: torch.save(nn.Linear(1, 1), p)), "holds pickled objects"),
    Input(
        "checkpoint",
        "a bare pickle",
        checkpoint("m.pt", lambda path: path.write_bytes(pickle.dumps(Touch()))),
        "holds pickled objects, which may run code",
    ),
    Input("checkpoint", "a zip with ../ and /tmp", checkpoint("m.pt", zip_that_climbs), "is not a torch checkpoint"),
    Input("checkpoint", "a zip that unpacks to 64 MiB", checkpoint("m.pt", zip_bomb), "bytes that unpack to 67108864"),
    Input("checkpoint", "8 GB that are only declared", checkpoint("m.pt", torch_file_of_8_gb), "is not a torch checkpoint"),
    Input(
        "checkpoint",
        "safetensors that declare 10 GB",
        checkpoint("m.safetensors", lambda path: path.write_bytes(safetensors_of_10_gb())),
        "is not a safetensors file",
    ),
    Input("checkpoint", "/etc/passwd", checkpoint("m.pt", lambda path: path.symlink_to("/etc/passwd")), "is not a torch checkp"),
    Input("data set", "a pickle that makes a folder", data("cifar10", pickle.dumps(Touch())), "mkdir, which such a file"),
    Input("data set", "a pickle of 2^31 objects", data("cifar10", MANY_OBJECTS), "is not one of the data set's pickled"),
    Input("data set", "idx that declares 10 GB", data("fashion_mnist", idx(10**7, 32, 32)), "more than the 2048 MiB"),
    Input(
        "data set",
        "gzip that unpacks to 256 MiB",
        data("fashion_mnist", gzip.compress(idx(2, 2, 2) + bytes(2**28)), ".gz"),
        "is not a whole idx file",
    ),
    Input("data set", "mat that declares 10 GB", data("svhn", mat(32, 32, 3, 3_333_334)), "more than the 2048 MiB"),
    Input("data set", "a PNG of 100,000 × 100,000 pixels", pictures(png(100_000)), "cannot be read as an image"),
    Input("data set", "text for a PNG", pictures(b"no image"), "cannot be read as an image"),
    Input("data set", "PostScript for a PNG", pictures(postscript()), "cannot be read as an image (cannot identify"),
    Input("ONNX", "weights in /etc/passwd", model(located("/etc/passwd"), beside=True), "'/etc/passwd', outside its folder"),
    Input("ONNX", "weights in ../../etc/passwd", model(located("../../etc/passwd"), "bench", True), "outside its folder"),
    Input("ONNX", "weights behind a symbolic link", model(linked, beside=True), "outside its folder"),
    Input("ONNX", "10 GB that are only declared", model(declared), "(50000, 50000), at least 10000000000 bytes, and has"),
    Input("ONNX", "the same, weights beside it", model(declared, "bench", True), "at least 10000000000 bytes, and has 144"),
    Input("ONNX", "a sparse weight of 10 GB", model(sparse), "as a sparse tensor"),
    Input("ONNX", "an operator from elsewhere", model(lambda m, _: setattr(m.graph.node[2], "domain", "x")), "custom operator"),
    Input("ONNX", "two inputs", model(second_input, "bench"), "has 2 inputs"),
    Input("bundle", "a candidate called ../../outside", run("bundle", renamed("../../outside")), "which is no plain name"),
    Input(
        "bundle",
        "a file of the store in /etc",
        run("bundle", lambda content: content["candidates"][0]["onnx"]["file"].update(path="/etc/passwd")),
        "names '/etc/passwd', which is no plain name",
    ),
    Input(
        "bundle",
        "data by code",
        run(
            "bundle",
            lambda content: content["config"].update(data={"name": "custom", "factory": "os:getcwd"}),
            "--candidate",
            "tolerance-0.2",
        ),
        NO_CODE,
    ),
    Input("bundle", "a list with ../outside", sums("../outside"), "../outside is outside of this folder", True, 1),
    Input("bundle", "a list with /etc/passwd", sums("/etc/passwd"), "/etc/passwd is outside of this folder", True, 1),
    Input(
        "bundle",
        "a manifest with /etc/passwd",
        manifest("benchmark.py", elsewhere),
        "manifest.json has '/etc/passwd' as models.0.path, which cannot be",
        True,
        1,
    ),
    Input(
        "bundle", "half a manifest", manifest("build_engine.py", lambda whole: json.dumps(whole)[:999]), "cannot be read", True
    ),
    Input("bundle", "a manifest nested 100,000 deep", manifest("build_engine.py", lambda _: "[" * 10**5), "cannot be read", True),
)

FORM = {
    "more epochs than there may be": ({"train": {"epochs": 99_999}}, "config.train.epochs"),
    "text for a number": ({"train": {"epochs": "many"}}, "'many' is not of type 'integer'"),
    "a name that leads elsewhere": ({"name": "../../outside"}, "config.name"),
    "a field that allows code": ({"allow_code": True}, "'allow_code' was unexpected"),
    "a tolerance of 1.5": ({"allocate": {"tolerances": [1.5]}}, "1.5 is greater than the maximum of 1"),
    "a runtime that is none": ({"benchmark": {"runtimes": ["sh -c id"]}}, "is not one of"),
}


def form_answer(values: dict[str, Any]) -> str:
    """What Prefect says before there is a run, with the schema of the deployment's form; empty if it takes the values."""
    schema = parameter_schema(sweep).model_dump(exclude_unset=True)
    parameters = {"config": RunConfig().model_dump(mode="json") | values}
    try:
        validate(parameters, schema, raise_on_error=True)
    except ValidationError as error:
        return str(error)
    return ""
