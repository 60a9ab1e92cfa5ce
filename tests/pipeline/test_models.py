from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import InputError
from pipeline.models import build_model, example_input, load_checkpoint, load_model
from pipeline.records import Architecture, ModelRecord
from pipeline.store import Store


def architecture(name: str = "vgg", source: str = "builtin", channels: int = 1, **kwargs: object) -> Architecture:
    return Architecture(source=source, name=name, kwargs=kwargs, num_classes=10, input_shape=(channels, 32, 32))


@pytest.mark.parametrize(
    ("wanted", "params"),
    [
        (architecture("resnet20", channels=3), 272_474),  # arXiv:1512.03385 gives 0.27 M and 0.85 M; 1x1 shortcuts add some
        (architecture("resnet56", channels=3), 855_770),
        (architecture("mlp", hidden=(8,)), 32 * 32 * 8 + 8 + 8 * 10 + 10),
        (architecture("resnet18", "torchvision", 3), 11_181_642),
        (architecture("resnet10t", "timm", 1), None),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_models_by_name(wanted: Architecture, params: int | None) -> None:
    model = build_model(wanted).eval()
    assert model(example_input(wanted, batch=2)).shape == (2, 10)
    if params:
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(params, rel=0.02)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (architecture("resnet19"), "depth 6n\\+2"),
        (architecture("vggg"), "did you mean vgg"),
        (architecture("resnet1888", "torchvision", 3), "unknown to torchvision"),
        (architecture("resnet18", "torchvision", 1), "data.channels: 3"),
        (architecture("no_such_net", "timm"), "unknown to timm"),
        (architecture("vgg", width=3), "check model.kwargs"),
        (architecture("vgg", widths=["X"]), "widths holds 'X'"),
    ],
)
def test_what_cannot_be_built_is_refused(wanted: Architecture, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model(wanted)


@pytest.mark.parametrize("form", ["safetensors", "state dict", "wrapped", "from DataParallel"])
def test_checkpoints_in_all_their_forms(tmp_path: Path, form: str) -> None:
    model, other = build_model(architecture()), build_model(architecture())
    state, path = model.state_dict(), tmp_path / ("m.safetensors" if form == "safetensors" else "m.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "wrapped":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        torch.save({f"module.{k}": v for k, v in state.items()} if form == "from DataParallel" else state, path)
    load_checkpoint(other, path)
    assert all(torch.equal(a, b) for a, b in zip(state.values(), other.state_dict().values(), strict=True))


def test_a_checkpoint_of_another_model_names_the_first_layer_that_differs(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(build_model(architecture(widths=(16, 24))).state_dict(), path)
    with pytest.raises(InputError, match=r"features.3.weight has shape \(24, 16, 3, 3\), the model expects \(32, 16, 3, 3\)"):
        load_checkpoint(build_model(architecture(widths=(16, 32))), path)
    with pytest.raises(InputError, match=r"no weights for conv1.weight"):
        load_checkpoint(build_model(architecture("resnet8")), path)


def test_a_checkpoint_with_more_than_the_model_is_refused(tmp_path: Path) -> None:
    model = build_model(architecture(widths=(16,)))
    torch.save(model.state_dict() | {"features.3.weight": torch.zeros(1)}, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"no place for, first features.3"):
        load_checkpoint(model, tmp_path / "m.pt")


def test_loading_a_record_leaves_the_random_state(dense_record: ModelRecord, store: Store) -> None:
    before = torch.get_rng_state()
    load_model(dense_record, store)
    assert torch.equal(before, torch.get_rng_state())
