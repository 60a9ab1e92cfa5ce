import onnx
import pytest
from onnx import TensorProto, helper

from pipeline import onnx_content as content
from pipeline.errors import StageError
from pipeline.onnx_content import onnx_content
from pipeline.records import Preprocessing

HOW = Preprocessing(channels=1, mean=(0.5,), std=(0.25,))


def chain(*operators: str) -> onnx.ModelProto:
    """Operators one after the other, in this order in the file."""
    names = ["input", *(f"at{index}" for index in range(1, len(operators))), "logits"]
    nodes = [helper.make_node(kind, [names[at]], [names[at + 1]]) for at, kind in enumerate(operators)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 10]) for name in ("input", "logits")]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_preprocessing_is_the_only_metadata() -> None:
    model = chain("Relu")
    model.metadata_props.add(key="trace", value="/home/somebody")
    found = onnx.load_model_from_string(onnx_content(model, HOW))
    assert [(entry.key, Preprocessing.model_validate_json(entry.value)) for entry in found.metadata_props] == [
        ("preprocessing", HOW)
    ]
    assert found.graph == chain("Relu").graph


def test_a_model_that_onnx_does_not_allow_is_refused() -> None:
    model = chain("Relu", "Tanh")
    model.graph.node.reverse()
    with pytest.raises(StageError, match=r"the ONNX checker refuses the file: [^\n]*topologically sorted[^\n]*; try another"):
        onnx_content(model, HOW)


def test_metadata_goes_everywhere() -> None:
    """Also in subgraphs, functions and values, where tiny models have none."""

    def marked(kind: type) -> onnx.ModelProto:
        message = kind(doc_string="/home/somebody")
        message.metadata_props.add(key="trace", value="/home/somebody")
        return message

    inner, outer = marked(onnx.GraphProto), marked(onnx.GraphProto)
    inner.node.append(marked(onnx.NodeProto))
    branch = marked(onnx.NodeProto)
    branch.attribute.add(name="then_branch", g=inner, type=onnx.AttributeProto.GRAPH, doc_string="/home/somebody")
    outer.node.append(branch)
    for field, kind in ((outer.initializer, onnx.TensorProto), (outer.value_info, onnx.ValueInfoProto)):
        field.append(marked(kind))
    model = marked(onnx.ModelProto)
    model.graph.CopyFrom(outer)
    model.functions.append(marked(onnx.FunctionProto))
    model.functions[0].node.append(marked(onnx.NodeProto))
    content._strip(model)
    assert b"/home/somebody" not in model.SerializeToString()
    assert model.graph.node[0].attribute[0].name == "then_branch"
