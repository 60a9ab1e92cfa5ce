import importlib.util

import numpy as np
import pytest

from pipeline.config import DataConfig
from pipeline.data import load_data
from pipeline.exported import OnnxRecord
from pipeline.runners import open_file
from pipeline.store import Store

Made = tuple[Store, dict[str, OnnxRecord]]


@pytest.mark.parametrize("precision", ["fp16", "int8-cpu", "int8-trt"])
@pytest.mark.parametrize("network", ["convolutional", "attentive"])
def test_tensorrt_rtx_builds_what_is_meant_for_it_and_refuses_the_file_for_cpus(
    network: str, precision: str, made: Made, attentive: Made
) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    store, records = made if network == "convolutional" else attentive
    logger = rtx.Logger(rtx.Logger.INTERNAL_ERROR)
    builder = rtx.Builder(logger)
    definition = builder.create_network(0)
    parser = rtx.OnnxParser(definition, logger)
    understood = parser.parse_from_file(str(store.path(records[precision].file)))
    errors = [parser.get_error(at).desc() for at in range(parser.num_errors)]
    if precision == "int8-cpu":
        assert not understood
        assert any("type Int32" in error or "Non-zero zero point" in error for error in errors)
        return
    assert understood, errors
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("input", (1, 1, 8, 8), (2, 1, 8, 8), (4, 1, 8, 8))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(definition, config) is not None


@pytest.mark.parametrize("precision", ["fp16", "int8-cpu"])
def test_openvino_runs_the_files_too(precision: str, made: Made) -> None:
    if importlib.util.find_spec("openvino") is None:  # to import it here would report to Google Analytics
        pytest.skip("openvino is not installed")
    store, records = made
    data = load_data(DataConfig(), 3)
    images = data.train.load(data.validation_indices[:32])[0].numpy()
    path = store.path(records[precision].file)
    here, there = (open_file(path, runtime, "input", "logits")(images) for runtime in ("onnxruntime", "openvino"))
    assert 10 * np.log10((here**2).sum() / ((there - here) ** 2).sum()) > 20
