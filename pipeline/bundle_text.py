"""README.md of a bundle: what is in it, how to use it, what was measured, and where it will not work."""

from textwrap import fill

from pipeline.latency import LatencySeries, Machine
from pipeline.manifest import Manifest, ModelFile
from pipeline.markdown import section

USE = """\
## Three commands

```bash
python3 verify.py          # files intact, models load, logits as they were; needs numpy and onnxruntime
python3 build_engine.py    # a TensorRT engine for this machine; needs tensorrt on the GPU that will run it, or tensorrt_rtx
python3 benchmark.py       # latency on this machine; needs numpy and onnxruntime
```

Each has `--help`. An engine is checked with `verify.py --engine FILE` and measured with `benchmark.py --files FILE`, which need
numpy, tensorrt (or tensorrt_rtx) and the driver of the GPU, nothing else. Python 3.10 or newer."""
CONTENTS = (
    "`manifest.json`: all of this for programs, described by `manifest.schema.json`",
    "`golden.npz`: {samples} validation images as the model takes them, and every file's logits on them; they are images of the "
    "data set and come under its licence",
    "`triton/`: a model repository for Triton: `{served}` serves `{served_file}` on the CPU, `{built}` an engine that you build",
    "`bundle_content.py`, `cuda_engine.py`: how the scripts read the bundle and run engines",
    "`SHA256SUMS`: for `sha256sum -c SHA256SUMS`. It guards against damage, not against somebody who changes both: take bundles, "
    "and engines even more, which are native code, only from sources that you trust",
)
SHARED = """\
`{input}`: {input_dtype} {input_shape}, `{output}`: {output_dtype} {output_shape}, one logit a class in the order of `labels` in
manifest.json. {preprocessing}"""
ACCURACY_NOTE = """\
Top-1 in ONNX Runtime on the CPU; "lost" and "gained" are the validation images that only the fp32 file or only this one gets
right, p the two-sided p-value of McNemar's exact test. The dense model has {dense:.2%} on the {samples} test images. Validation
images steered the pruning, test images did not."""
PARITY_NOTE = """\
Against torch for fp32, else against the fp32 file, on {samples} validation images. "Allowed" is what verify.py accepts on the
golden images as largest or root mean square (rms) difference, on a CPU and on a GPU; manifest.json gives the reasons."""
LATENCY_NOTE = """\
Measured on {cpu}, {cores} cores, {system}{gpu}, {threads} thread{s}, with {versions}. Milliseconds of one batch, 95% intervals
in brackets; the speed-up is against the dense model in the same runtime. On another machine other figures hold: run
benchmark.py there."""
LIMITS = (
    "**Engines** fit the GPU and the TensorRT version that built them. {engines}",
    "**Jetson**: build on the device, with the TensorRT of its JetPack (`python3-libnvinfer`; TensorRT 10 from PyPI refuses "
    "Orin). JetPack 6.1 and 6.2 have TensorRT 10.3, JetPack 7.0 and 7.1 (Thor) 10.13, JetPack 7.2 has 10.16; from JetPack 7.2.2 "
    "TensorRT 11.4.1 can be installed. JetPack 6.0 and older have TensorRT 8, which build_engine.py does not serve. "
    "`dpkg -l | grep nvinfer` tells what is there. Unless an engine above says otherwise, nothing here was run on a Jetson",
    "**TensorRT-RTX** engines are for x86 PCs with RTX cards, not for Jetson and not for Triton. Without `--target` they are "
    "compiled for all cards from compute capability 8.0; 7.5 (`--target SM75`) takes fp16 only",
    "**int8**: `int8-cpu` is for ONNX Runtime and OpenVINO on a CPU, `int8-trt` for TensorRT; neither is of use to the other",
    "**Opset {opset}**: TensorRT 10.0 to 10.3 read up to 20, 11 up to 25. For older parsers export with a lower `export.opset` "
    "(18 at least) and bundle again",
    "**Batches**: the ONNX files take any, engines 1 to {max} unless built otherwise; Triton is configured for {max}",
    "**Triton** cannot load `{built}` before its engine is there, built with the TensorRT of the Triton container: "
    "`triton/{built}/1/README` tells how",
)
LICENCE = """\
## Licence

The licence of this model is for its owner to state: the code that made the bundle says nothing about it."""


def readme(manifest: Manifest) -> str:
    """The text as Markdown; says nothing that the manifest does not hold."""
    m, served, built = manifest, *manifest.triton
    sections = (
        f"# {m.run}, {m.candidate}",
        _size(m),
        USE,
        _models(m),
        _bullets(CONTENTS, samples=m.golden.samples, served=served, served_file=m.triton[served], built=built),
        _shared(m),
        _accuracy(m),
        _parity(m),
        _latency(m),
        "## Known limits",
        _bullets(LIMITS, engines=_engines(m), opset=m.models[0].opset, max=m.profile.max, built=built),
        LICENCE,
        _origin(m),
    )
    return "\n\n".join(sections) + "\n"


def _size(m: Manifest) -> str:
    n = m.network
    return (
        f"{n.architecture} with {n.params:,} parameters and {n.macs:,} MACs (multiply-accumulates) for one image, "
        f"{n.params / n.dense_params:.0%} and {n.macs / n.dense_macs:.0%} of the dense model's."
    )


def _models(m: Manifest) -> str:
    rows = [(f"`{f.path}`", f"{f.size_bytes / 1e6:.3f}", f.purpose) for f in m.models]
    rows += [
        (f"`{e.path}`", f"{e.size_bytes / 1e6:.3f}", f"{e.gpu} with {e.library} {e.library_version} only") for e in m.engines
    ]
    note = "Precision is in the file. 1 MB is 1,000,000 bytes."
    return section("What is in it", note, ("file", "MB", "for"), rows)


def _shared(m: Manifest) -> str:
    source, logits = m.inputs[0], m.outputs[0]
    text = SHARED.format(
        input=source.name,
        input_dtype=source.dtype,
        input_shape=_shape(source.shape),
        output=logits.name,
        output_dtype=logits.dtype,
        output_shape=_shape(logits.shape),
        preprocessing=_preprocessing(m),
    )
    return f"## Input and output\n\n{_filled(text)}"


def _preprocessing(m: Manifest) -> str:
    how = m.preprocessing
    if how.normalised_by_dataset:
        return "The data set's own code makes the input from an image, which the bundle cannot describe."
    steps = [f"An image is decoded to {how.channels} channel{'s' * (how.channels > 1)} of bytes{', RGB' * (how.channels == 3)}"]
    steps += [f"its shorter side is resized to {how.resize} pixels"] if how.resize else []
    steps += [f"the centre of {how.crop[0]} x {how.crop[1]} is cut out"] if how.crop else []
    mean, std = (" / ".join(f"{value:g}" for value in values) for values in (how.mean, how.std))
    steps += [f"values are multiplied by {how.scale:.6g}, less the mean {mean}, over the deviation {std}"]
    return "; then ".join(steps) + "."


def _accuracy(m: Manifest) -> str:
    rows = [
        (
            f.precision,
            f"{f.test.top1:.2%} of {f.test.samples}" if f.test else "not measured",
            f"{f.validation.top1:.2%} of {f.validation.samples}",
            *_paired(f),
        )
        for f in m.models
    ]
    dense = m.network.dense_test
    titles = ("precision", "test", "validation", "points against fp32", "lost", "gained", "p")
    return section("Accuracy", ACCURACY_NOTE.format(dense=dense.top1, samples=dense.samples), titles, rows)


def _paired(file: ModelFile) -> tuple[str, ...]:
    test = file.against_fp32
    if test is None:
        return ("-",) * 4
    return f"{test.points:+.2f}", str(test.lost), str(test.gained), f"{test.p_value:.2g}"


def _parity(m: Manifest) -> str:
    rows = [
        (
            f.precision,
            f"{f.parity.max_abs_diff:.1e}",
            "-" if f.parity.sqnr_db is None else f"{f.parity.sqnr_db:.1f}",
            f"{f.parity.top1_agreement:.2%}",
            f"{f.tolerance.measure} {f.tolerance.max_difference:.1e}, {f.tolerance.max_difference_gpu:.1e}",
        )
        for f in m.models
    ]
    titles = ("precision", "largest difference", "SQNR [dB]", "same top-1", "allowed")
    return section("Parity", PARITY_NOTE.format(samples=m.models[0].parity.samples), titles, rows)


def _latency(m: Manifest) -> str:
    if not m.machine:
        return "## Latency\n\nNot measured: run benchmark.py on the device."
    titles = ("precision", "runtime", "batch", "p50 [ms]", "p99 [ms]", "speed-up", "verdict")
    return section("Latency", _conditions(m.machine, m.latency_threads), titles, [_latency_row(series) for series in m.latency])


def _latency_row(s: LatencySeries) -> tuple[str, ...]:
    return (
        s.precision,
        s.runtime,
        str(s.batch_size),
        f"{s.p50_ms:.3f} ({s.p50_low_ms:.3f} to {s.p50_high_ms:.3f})",
        f"{s.p99_ms:.3f}",
        "1" if s.verdict == "reference" else f"{s.speedup:.2f} ({s.speedup_low:.2f} to {s.speedup_high:.2f})",
        s.verdict,
    )


def _conditions(machine: Machine, threads: int) -> str:
    return LATENCY_NOTE.format(
        cpu=machine.cpu,
        cores=machine.cores,
        system=machine.system,
        gpu=f", {machine.gpu}" if machine.gpu else "",
        threads=threads,
        s="s" * (threads > 1),
        versions=", ".join(f"{name} {version}" for name, version in sorted(machine.versions.items())),
    )


def _engines(m: Manifest) -> str:
    shipped = [f"`{e.path}` was executed on {e.gpu} ({e.compute_capability})" for e in m.engines]
    return "; ".join((*shipped, *(f"{precision}: {why}" for precision, why in m.engines_left_out.items())))


def _origin(m: Manifest) -> str:
    lines = (f"{name} `{digest[:12]}`" for name, digest in m.lineage.items())
    tools = ", ".join(f"{name} {version}" for name, version in m.versions.items())
    text = f"Digests of the records it was made from: {', '.join(lines)}; git commit {m.git_commit or 'unknown'}; {tools}."
    return f"## Origin\n\n{_filled(text)}"


def _bullets(texts: tuple[str, ...], **values: object) -> str:
    return "\n".join(_filled(text.format(**values), "- ", "  ") for text in texts)


def _filled(text: str, first: str = "", others: str = "") -> str:
    return fill(text, 130, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False)


def _shape(shape: tuple[str | int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
