import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
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
BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['x'] * 9)}]\n" for n in range(9))
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
        ("a: !!bool maybe\n", (), "is not YAML: 'maybe'"),
        ("a: !!timestamp yesterday\n", (), "is not YAML"),
        ("a: !!python/object/apply:os.system [id]\n", (), "could not determine a constructor for the tag"),
        ("a: 2001-99-99\n", (), "is not YAML: month must be in 1..12"),
        (f"a: {'9' * 5000}\n", (), "is not YAML: Exceeds the limit"),
        (f"a: {'[' * 21 + ']' * 21}\n", (), "is nested deeper than 20"),
        ("[" * 100_000, (), "is nested deeper than 20"),
        (f"{'- ' * 100_000}a\n", (), "is nested deeper than 20"),
        (f"model: {{kwargs: {{{', '.join(f'k{i}: {i}' for i in range(6000))}}}}}\n", (), "more than 10000 values"),
        (BOMB, (), "more than 10000 values with its aliases; no configuration is so large"),
        ("model: &a {kwargs: {b: *a}}\n", (), "more than 10000 values with its aliases"),
        ("name: a\n", ("model.kwargs=" + "[" * 100_000,), "--set model.kwargs: the value is nested deeper than 20"),
        (f"name: {'a' * 2**20}\n", (), "holds or declares 1048583 bytes, more than the 1 MiB that are read of such a file"),
        (f"name: {'a' * 5000}\n", (), "name = 'aaaaa"),
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
    assert len(str(caught.value)) < 1000


def test_aliases_are_values_like_others(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "train: &recipe {epochs: 3}\nfinetune: {<<: *recipe, lr: 0.5}\n"))
    assert (config.train.epochs, config.finetune.epochs, config.finetune.lr) == (3, 3, 0.5)


SECTIONS = st.sampled_from([*RunConfig.model_fields, "epochs", "lr", "kwargs", "tolerances", "budgets", "", "?"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SECTIONS | st.integers() | st.none(), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@example(values={"output": None}, overrides=[])
@given(values=st.dictionaries(SECTIONS, VALUES, max_size=4), overrides=st.lists(st.text(max_size=20), max_size=2))
def test_whatever_the_values_are_they_are_a_config_or_refused(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], overrides: list[str]
) -> None:
    path = write(tmp_path_factory.mktemp("config"), yaml.safe_dump(values, allow_unicode=True))
    read_or_refused(path, tuple(overrides))


def read_or_refused(path: Path, overrides: tuple[str, ...] = ()) -> None:
    """What is read comes back from JSON, as Prefect hands it on; what is not is told in a line of which file or which --set."""
    try:
        config = load_config(path, overrides)
    except InputError as error:
        assert str(path) in str(error) or "--set" in str(error)
        assert len(str(error).splitlines()) == 1
    else:
        assert RunConfig.model_validate_json(config.model_dump_json()) == config


YAML_PARTS = st.sampled_from(
    [*"{}[]:,-&*!|>%@`\"'#?\n ", "!!", "<<", "a: ", "&a ", "*a", "- ", "---\n", "0x", "1_0", "~", ".nan", "\x00"]
)


@settings(max_examples=200, deadline=None)
@given(text=st.lists(YAML_PARTS | st.text(max_size=3), max_size=25).map("".join).map(str.encode) | st.binary(max_size=30))
def test_whatever_the_text_is_it_is_a_config_or_refused(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_bytes(text)
    read_or_refused(path)


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
