import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pipeline.config import AllocateConfig, BudgetConfig, RunConfig, ScoreConfig, load_config
from pipeline.errors import InputError
from pipeline.pruning_sections import SIGNALS

LABELS = {
    ("TrainConfig", "lr"): "Learning rate",
    ("FinetuneConfig", "warmup_epochs"): "Warm-up epochs",
    ("ModelConfig", "num_classes"): "Number of classes",
    ("GateConfig", "max_p99_ms"): "Maximum p99 [ms]",
    ("BudgetConfig", "macs"): "MACs",
}
CONFIGS = sorted((Path(__file__).parents[2] / "deploy" / "configs").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_and_named_after_its_file(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_overrides_win_and_are_validated(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\ntrain: {epochs: 3}\n")
    config = load_config(path, ("train.epochs=7", "allocate.tolerances=[0.3, 0.1]", "model.kwargs.hidden=[4]"))
    assert (config.train.epochs, config.allocate.tolerances, config.model.kwargs) == (7, (0.1, 0.3), {"hidden": [4]})


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("- a\n- b\n", (), "holds a list; expected a mapping"),
        ("", (), "holds nothing"),
        ("a: [1\n", (), "is not YAML"),
        ("trian: {}\n", (), "unknown key trian"),
        ("train: {epoch: 3}\n", (), "unknown key train.epoch"),
        ("train: {epochs: -1}\n", (), "train.epochs = -1 is refused"),
        ("allocate: {tolerances: [0.1, 1.5]}\n", (), "allocate.tolerances.1 = 1.5 is refused"),
        ("allocate: {tolerances: []}\n", (), "none of tolerances, budgets, max_accuracy_drop is given"),
        ("allocate: {tolerances: [0.1], budgets: [{macs: 0.5}]}\n", (), "both tolerances and budgets are given"),
        ("allocate: {budgets: [{macs: 0.5, bytes: 3}]}\n", (), "exactly one of macs, params, bytes and latency_ms, not 2"),
        ("allocate: {budgets: [{}]}\n", (), "exactly one of macs, params, bytes and latency_ms, not 0"),
        ("allocate: {budgets: [{mac: 0.5}]}\n", (), "unknown key allocate.budgets.0.mac"),
        *(
            (f"allocate: {{budgets: [{{macs: {value}}}]}}\n", (), "a share of the dense model from 0.0001 to 1 or a whole number")
            for value in ("1.5", "0", "-3", "true", ".nan", ".inf", "half", "[1]")
        ),
        ("train: {lr: fast}\n", (), "train.lr"),
        ("train: {lr: 11}\n", (), "train.lr"),
        ("train: {optimizer: SGD with momentum}\n", (), "train.optimizer = 'SGD with momentum' is refused"),
        ("train: {measure_at: [0]}\n", (), "train.measure_at.0 = 0 is refused"),
        ("score: {processes: 2, removal: network_pruner}\n", (), "network_pruner scores in one process only; set processes to 1"),
        ("train: {processes: 4, batch_size: 7}\n", (), "a batch of 7 leaves 4 processes fewer than 2 images each"),
        ("train: {distillation: {weight: 0.5}}\n", (), "unknown key train.distillation"),
        ("finetune: {distillation: {features: 1}}\n", (), "set distillation.weight above 0"),
        ("score: {removal: wassertein}\n", (), "choose one of wasserstein, l1, l2"),
        ("score: {memory_mb: 3}\n", (), "score.memory_mb = 3 is refused"),
        ("engine: {min_batch: 9}\n", (), "min 9 <= opt 8"),
        ("name: ../outside\n", (), "name = '../outside' is refused"),
        ("name: a\n", ("seed",), "not of the form section.key=value"),
        ("name: a\n", ("name.b=1",), "name is a value, not a section"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path: Path, text: str, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, text), overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_learning_rate_is_a_number_or_to_be_found(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "train: {lr: auto}\nfinetune: {lr: 1, measure_at: [0.25, 0.5]}\n"))
    assert (config.train.lr, config.finetune.lr, type(config.finetune.lr)) == ("auto", 1.0, float)
    assert config.finetune.measure_at == (0.25, 0.5)
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_budgets_stand_in_place_of_the_default_tolerances(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "allocate: {budgets: [{macs: 0.5}, {params: 1e6}, {bytes: 1}]}\n"))
    assert config.allocate.tolerances == ()
    amounts = [budget.model_dump(exclude_none=True) for budget in config.allocate.budgets]
    assert [(*each.items(),) for each in amounts] == [(("macs", 0.5),), (("params", 1_000_000),), (("bytes", 1),)]
    assert [type(value) for each in amounts for value in each.values()] == [float, int, int]
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config  # as Prefect hands it on
    assert AllocateConfig().tolerances == (0.05, 0.1, 0.2, 0.4)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_config(tmp_path / "none.yaml")


@given(st.floats(allow_nan=True, allow_infinity=True).filter(lambda x: not 0 < x <= 1))
def test_tolerances_lie_in_zero_to_one(value: float) -> None:
    with pytest.raises(ValidationError):
        AllocateConfig(tolerances=(value,))


def test_tolerances_name_folders_and_so_carry_no_rounding_error() -> None:
    assert AllocateConfig(tolerances=(0.1 + 0.2, 0.3, 0.1)).tolerances == (0.1, 0.3)


def test_a_label_is_made_of_words() -> None:
    fields = RunConfig.model_json_schema()["$defs"]
    titles = [fields[section]["properties"][key]["title"] for section, key in LABELS]
    assert titles == [*LABELS.values()]


def test_a_form_knows_the_removal_signals_that_the_config_knows() -> None:
    pattern = re.compile(ScoreConfig.model_json_schema()["properties"]["removal"]["pattern"])
    for value in (*SIGNALS, "my.module:signal"):
        assert pattern.fullmatch(ScoreConfig(removal=value).removal)
    for value in ("wassertein", "module", "", "l1 "):
        assert not pattern.fullmatch(value)
        with pytest.raises(ValidationError):
            ScoreConfig(removal=value)


def test_every_number_is_bounded_and_every_field_described() -> None:
    """A number without bounds or a field without a sentence shows in the form that people fill in."""

    def check(model: type[BaseModel], where: str) -> None:
        for name, field in model.model_fields.items():
            annotation = field.annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                assert annotation.__doc__, where + name
                check(annotation, f"{where}{name}.")
            else:
                assert field.description, where + name
            schema = model.model_json_schema()["properties"][name]
            for part in [schema, *schema.get("anyOf", []), schema.get("items", {})]:
                if part.get("type") in ("integer", "number") and "enum" not in part:
                    assert {"minimum", "maximum"} <= part.keys(), where + name

    check(RunConfig, "")
    check(BudgetConfig, "allocate.budgets.")
