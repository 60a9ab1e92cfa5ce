import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pipeline.config import DataConfig
from pipeline.data import Data, fingerprint, load_data
from pipeline.errors import InputError

pytestmark = pytest.mark.usefixtures("code_allowed")

HEAD = """
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

class Images(Dataset):
    def __init__(self, images, labels):
        self.images, self.given, self.asked = images, labels, 0

    def __len__(self):
        return len(self.given)

    def __getitem__(self, index):
        self.asked += 1
        return self.images[index], self.given[index]

labels = [0, 1, 2] * 4
bytes_ = torch.arange(12 * 3 * 5 * 6).remainder(256).to(torch.uint8).view(12, 3, 5, 6)
pil = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in bytes_]
floats = bytes_.double() / 100 - 1
"""


@pytest.fixture
def custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], DataConfig]]:
    """Writes a module whose `make` ends with the given lines, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(lines: str, **settings: object) -> DataConfig:
        body = "".join(f"    {line}\n" for line in lines.splitlines())
        (tmp_path / "fp_custom.py").write_text(f"{HEAD}\ndef make():\n{body}")
        return DataConfig.model_validate({"name": "custom", "factory": "fp_custom:make", **settings})

    load_data.cache_clear()
    fingerprint.cache_clear()
    yield write
    load_data.cache_clear()
    sys.modules.pop("fp_custom", None)


def load(config: DataConfig) -> Data:
    return load_data(config, 0)


def test_bytes_are_scaled_and_normalised(custom: Callable[..., DataConfig]) -> None:
    lines = "return Images(bytes_, labels), Images(bytes_, labels), ['a', 'b', 'c']"
    data = load(custom(lines, mean=(0.5,), std=(0.25, 0.5, 1.0)))
    assert (data.class_names, data.input_shape) == (("a", "b", "c"), (3, 5, 6))
    assert data.train.labels.tolist() == [0, 1, 2] * 4
    pixels = torch.arange(90, 180).view(3, 5, 6) / 255
    torch.testing.assert_close(data.test.load([1])[0][0], (pixels - 0.5) / torch.tensor([0.25, 0.5, 1.0]).view(3, 1, 1))
    assert not data.preprocessing.normalised_by_dataset


def test_pil_images_give_the_same_as_bytes_and_can_be_resized(custom: Callable[..., DataConfig]) -> None:
    data = load(custom("return Images(bytes_, labels), Images(pil, labels)", image_size=4, resize=5))
    assert (data.class_names, data.input_shape) == (("0", "1", "2"), (3, 4, 4))
    assert torch.equal(data.train.load([3, 7])[0], data.test.load([3, 7])[0])


def test_float_tensors_stay_as_they_are(custom: Callable[..., DataConfig]) -> None:
    data = load(custom("return Images(floats, labels), Images(floats, labels)"))
    assert data.preprocessing.normalised_by_dataset
    images, labels = data.train.load([4, 2])
    expected = torch.arange(12 * 90).remainder(256).view(12, 3, 5, 6) / 100 - 1
    torch.testing.assert_close(images, expected[[4, 2]])
    assert (images.dtype, labels.tolist()) == (torch.float32, [1, 2])


@pytest.mark.parametrize(
    ("lines", "asked"),
    [
        ("data.targets = labels", 1),
        ("data.targets = torch.tensor(labels)", 1),
        ("data.labels = torch.tensor(labels).numpy()", 1),
        ("data.labels = ['cat', 'dog', 'cow']", 12),
        ("data.targets = labels[:3]", 12),
        ("", 12),
    ],
)
def test_labels_come_from_an_attribute_or_from_the_items(custom: Callable[..., DataConfig], lines: str, asked: int) -> None:
    config = custom(f"data = Images(bytes_, labels)\n{lines}\nmake.data = data\nreturn data, Images(bytes_, labels)")
    data = load(config)
    assert data.train.labels.tolist() == [0, 1, 2] * 4
    made = sys.modules["fp_custom"].make.data
    assert asked <= made.asked <= asked + 2  # and once or twice for the first image


def test_a_subset_and_tensor_labels_work(custom: Callable[..., DataConfig]) -> None:
    lines = "data = TensorDataset(bytes_, torch.tensor(labels))\nreturn Subset(data, range(6)), Subset(data, range(6, 12))"
    data = load(custom(lines))
    assert (len(data.train), data.test.labels.tolist()) == (6, [0, 1, 2, 0, 1, 2])


def test_the_fingerprint_follows_the_source(custom: Callable[..., DataConfig]) -> None:
    before = fingerprint(custom("return 1"))
    fingerprint.cache_clear()
    assert fingerprint(custom("return 1")) == before
    fingerprint.cache_clear()
    assert fingerprint(custom("return 2")) != before


GOOD = "Images(bytes_, labels)"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("return 1", "returns a int; expected"),
        (f"return ({GOOD},)", "returns a tuple of 1"),
        (f"return {GOOD}, 3", "the test data is a int; expected __len__ and __getitem__"),
        (f"return Images([], []), {GOOD}", "the training data is empty"),
        ("raise KeyError('no such file')", "fp_custom:make raises KeyError"),
        (f"return {GOOD}, {GOOD}, 'abc'", "the class names are a str"),
        (f"return {GOOD}, {GOOD}, ['a', 'b']", "the training labels are not 0 to 1, there is one 2"),
        (f"return {GOOD}, {GOOD}, ['a', 'b', 'c', 'd']", "the training labels are not 0 to 3, there is no 3"),
        (f"return Images(bytes_, [1, 2] * 6), {GOOD}", "the training labels are not 0 to 1, there is no 0"),
        (f"return Images(bytes_, [0, 10**9] * 6), {GOOD}", "there is no 1"),
        (f"return Images(bytes_, [0, 1] * 6), {GOOD}", "the test data has label 2, which the training data lacks"),
        (f"return Images(bytes_, [0.5] * 12), {GOOD}", "item 0 of the training data cannot be had"),
        (f"return Images(bytes_[:3], labels), {GOOD}", "item 3 of the training data cannot be had .IndexError"),
        (f"bad = {GOOD}\nbad.targets = [1] * 12\nreturn bad, {GOOD}", "has label 0, its .targets says 1"),
        (f"return Images(bytes_[:, 0], labels), {GOOD}", r"a uint8 tensor of shape \(5, 6\); expected a PIL image"),
        (f"return Images(bytes_.numpy(), labels), {GOOD}", "the first image is a ndarray"),
        (f"return {GOOD}, Images(floats, labels)", "image 0: the image is a float64 tensor"),
        (f"return {GOOD}, Images(bytes_[..., :4], labels)", "set data.image_size"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(custom: Callable[..., DataConfig], lines: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(custom(lines))
    assert "\n" not in str(caught.value)


def test_settings_without_effect_are_refused(custom: Callable[..., DataConfig]) -> None:
    config = custom("return Images(floats, labels), Images(floats, labels)", mean=(0.5,), image_size=4)
    with pytest.raises(InputError, match=r"on which data.image_size, data.mean has no effect"):
        load(config)


def test_a_factory_that_is_no_function_is_refused(custom: Callable[..., DataConfig]) -> None:
    config = custom("return 1").model_copy(update={"factory": "fp_custom:labels"})
    with pytest.raises(InputError, match="fp_custom:labels is a list; expected a function"):
        load(config)
