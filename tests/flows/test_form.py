"""The form that Prefect makes of the flow's parameters, and what its server refuses before a run is there.

What its pages can show follows from their source: they choose an input by `type`, tell the members of an `anyOf` apart by the
JSON type of the value alone, and show a constant as unchangeable.
"""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError
from prefect.utilities.callables import parameter_schema

from flows.deployments import apply
from flows.rebuild_engine import rebuild_engine
from flows.sweep import sweep
from pipeline.config import RunConfig

from .conftest import tiny

SCHEMA = parameter_schema(sweep).model_dump(exclude_unset=True)
DEFINITIONS: dict[str, dict[str, Any]] = SCHEMA["definitions"]
BOUNDS = ("minimum", "maximum", "pattern", "minLength")
FIELDS = [(f"{name}.{key}", field) for name, model in DEFINITIONS.items() for key, field in model["properties"].items()]


def definition(schema: dict[str, Any]) -> dict[str, Any]:
    return DEFINITIONS[schema["$ref"].removeprefix("#/definitions/")]


def alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return schema.get("anyOf", [schema])


def test_the_sections_stand_in_the_order_of_the_stages() -> None:
    assert list(SCHEMA["properties"]) == ["config"]
    fields = DEFINITIONS["RunConfig"]["properties"]
    before = "name seed output branches data model train calibrate score layer_costs allocate recalibrate finetune"
    assert [*fields] == f"{before} evaluate export quantize engine benchmark gate track".split()
    for model in DEFINITIONS.values():  # a database may sort the keys
        assert [field["position"] for field in model["properties"].values()] == [*range(len(model["properties"]))]


def test_every_field_tells_what_it_is_and_starts_with_a_value() -> None:
    for where, field in FIELDS:
        is_section = "$ref" in field
        assert field["title"], where
        assert "_" not in field["title"], where
        assert (definition(field) if is_section else field)["description"], where
        assert is_section or "default" in field, where


def test_every_field_has_an_input() -> None:
    for where, field in FIELDS:
        kinds = []
        for each in alternatives(field):
            assert "const" not in each, where
            kind = definition(each) if "$ref" in each else each
            if kind["type"] == "array":
                assert kind["items"].get("type") in ("string", "integer", "number") or definition(kind["items"]), where
            elif kind["type"] == "object" and "properties" not in kind:
                assert field["default"] == {}, where  # an editor of JSON
            kinds.append("number" if kind["type"] == "integer" else kind["type"])
        assert len(kinds) == len(set(kinds)), where


def test_every_number_has_bounds_where_both_kinds_of_page_look() -> None:
    for where, field in FIELDS:
        for each in [*alternatives(field), *(each["items"] for each in alternatives(field) if "items" in each)]:
            assert not {"exclusiveMinimum", "exclusiveMaximum"} & each.keys(), where
            if each.get("type") in ("integer", "number") and "enum" not in each:
                assert {"minimum", "maximum"} <= each.keys(), where
        assert field.get("allOf", [{}]) == [{name: field[name] for name in BOUNDS if name in field}], where


@pytest.fixture(scope="module")
def deployment(client: SyncPrefectClient, tmp_path_factory: pytest.TempPathFactory) -> DeploymentResponse:
    """The sweep as `fair-pruner up` deploys it."""
    folder = tmp_path_factory.mktemp("up")
    apply(client, folder, folder, limit=1)
    return client.read_deployment_by_name("sweep/sweep")


def changed(**values: Any) -> dict[str, Any]:
    """Parameters with some values changed, by `section__key`."""
    config = tiny(Path("runs")).model_dump(mode="json")
    for where, value in values.items():
        section, _, key = where.partition("__")
        if key:
            config[section][key] = value
        else:
            config[section] = value
    return {"config": config}


@pytest.mark.parametrize(
    ("values", "field", "reason"),
    [
        ({"train__epochs": 99999}, "config.train.epochs", "99999 is greater than the maximum of 1000"),
        ({"train__lr": 0}, "config.train.lr", "0 is less than the minimum of 1e-06"),
        ({"train__epochs": "many"}, "config.train.epochs", "'many' is not of type 'integer'"),
        ({"train__epoch": 3}, "config.train", "'epoch' was unexpected"),
        ({"data__name": "mnist"}, "config.data.name", "'mnist' is not one of"),
        ({"data__image_size": 2}, "config.data.image_size", "2 is less than the minimum of 4"),
        ({"score__removal": "wassertein"}, "config.score.removal", "'wassertein' does not match"),
        ({"allocate__round_to": "always"}, "config.allocate.round_to", "'always' is not one of ['auto']"),
        ({"allocate__tolerances": [0.1, 1.5]}, "config.allocate.tolerances[1]", "1.5 is greater than the maximum of 1"),
        (
            {"allocate__budgets": [{"macs": 1.5}]},
            "config.allocate.budgets[0].macs",
            "1.5 is not valid under any",
        ),
        ({"benchmark__runtimes": ["tflite"]}, "config.benchmark.runtimes[0]", "'tflite' is not one of"),
        ({"gate__min_speedup": 0.5}, "config.gate.min_speedup", "0.5 is less than the minimum of 1"),
        ({"name": "../outside"}, "config.name", "'../outside' does not match"),
    ],
    ids=lambda value: value if type(value) is str else "",
)
def test_a_bad_value_is_refused_before_there_is_a_run(
    client: SyncPrefectClient, deployment: DeploymentResponse, values: dict[str, Any], field: str, reason: str
) -> None:
    before = len(client.read_flow_runs())
    with pytest.raises(PrefectHTTPStatusError) as caught:
        client.create_flow_run_from_deployment(deployment.id, parameters=changed(**values))
    assert caught.value.response.status_code == 409
    assert f"Validation failed for field {field!r}" in str(caught.value)
    assert reason in str(caught.value)
    assert len(client.read_flow_runs()) == before


def test_a_good_form_is_taken(client: SyncPrefectClient, deployment: DeploymentResponse) -> None:
    budgets = [{"macs": 0.5, "params": None, "bytes": None, "latency_ms": None}, {"params": 1_000_000}]
    values = changed(allocate__tolerances=[], allocate__budgets=budgets, allocate__round_to="auto", data__channels=1)
    run = client.create_flow_run_from_deployment(deployment.id, parameters=values)
    assert RunConfig.model_validate(run.parameters["config"]).allocate.round_to == "auto"
    client.delete_flow_run(run.id)


def test_what_fields_must_be_together_is_refused_by_section() -> None:
    with pytest.raises(ParameterTypeError, match=r"config\.engine: Value error, batches must rise: min 9 <= opt 8"):
        sweep.validate_parameters(changed(engine__min_batch=9))


def test_the_older_pages_find_a_value_out_of_bounds_themselves(client: SyncPrefectClient, deployment: DeploymentResponse) -> None:
    """They ask the server, with no more of each field's schema than this."""
    passed_on = {
        *("position", "$ref", "anyOf", "allOf", "default", "const", "description", "enum", "format", "items", "properties"),
        *("required", "title", "type", "minItems", "maxItems"),
    }

    def trimmed(schema: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in schema.items() if name in passed_on}
        return kept | {"properties": {key: trimmed(field) for key, field in kept.get("properties", {}).items()}}

    assert deployment.parameter_openapi_schema
    schema = trimmed(deployment.parameter_openapi_schema)
    schema["definitions"] = {name: trimmed(model) for name, model in deployment.parameter_openapi_schema["definitions"].items()}
    answer = client.request("POST", "/ui/schemas/validate", json={"schema": schema, "values": changed(train__epochs=99999)})
    epochs = {"property": "epochs", "errors": ["99999 is greater than the maximum of 1000"]}
    in_train = {"property": "train", "errors": [epochs]}
    assert answer.json() == {"errors": [{"property": "config", "errors": [in_train]}], "valid": False}


def test_the_form_of_new_engines_describes_its_fields() -> None:
    for name, field in parameter_schema(rebuild_engine).properties.items():
        assert field["description"], name
