"""Readers on small files in each data set's own format, written here; nothing is downloaded."""

import os
import pickle
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from pipeline.config import DataConfig, load_config
from pipeline.data import Data, fingerprint, load_data
from pipeline.datasets import CIFAR10_FILES
from pipeline.errors import InputError

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PER_BATCH = 20


def pixels(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def write_pickle(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_cifar10(folder: Path) -> None:
    for seed, name in enumerate(CIFAR10_FILES[:-1]):
        labels = [(seed + i) % 10 for i in range(PER_BATCH)]
        files = [f"{i}.png" for i in range(PER_BATCH)]
        write_pickle(folder / name, {"batch_label": name, "labels": labels, "data": pixels(PER_BATCH, seed), "filenames": files})
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    write_pickle(folder / "batches.meta", {"num_cases_per_batch": 10000, "label_names": names, "num_vis": 3072})


def write_cifar100(folder: Path) -> None:
    for seed, name in enumerate(("train", "test")):
        fine = [i % 100 for i in range(200)]
        content = {"data": pixels(200, seed), "fine_labels": fine, "coarse_labels": [label // 5 for label in fine]}
        write_pickle(folder / name, content)
    names = {"fine_label_names": [f"fine {i}" for i in range(100)], "coarse_label_names": [f"coarse {i}" for i in range(20)]}
    write_pickle(folder / "meta", names)


def write_svhn(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, part in enumerate(("train", "test")):
        images = pixels(40, seed).reshape(32, 32, 3, 40)
        labels = (np.arange(40, dtype=np.uint8) % 10 + 1)[:, None]  # 1 ... 10
        savemat(folder / f"{part}_32x32.mat", {"X": images, "y": labels}, do_compression=True)


def write_imagenet(root: Path) -> None:
    for part in ("train", "val"):
        for shade, wnid in enumerate(("n01440764", "n01443537")):
            folder = root / part / wnid
            folder.mkdir(parents=True)
            for i in range(3):
                columns = np.linspace(0, 255, 40, dtype=np.uint8)[None, :, None]
                image = np.broadcast_to(columns, (30, 40, 3)) // (shade + 1)
                Image.fromarray(np.ascontiguousarray(image)).save(folder / f"{wnid}_{i}.JPEG", quality=95)


def load(name: str, root: Path, **settings: Any) -> Data:
    return load_data(DataConfig(name=name, root=root, **settings), 0)


@pytest.mark.parametrize("inner", ["cifar-10-batches-py", "."], ids=["torchvision's folder", "the folder itself"])
def test_cifar10(tmp_path: Path, inner: str) -> None:
    write_cifar10(tmp_path / inner)
    data = load("cifar10", tmp_path)
    assert (len(data.train), len(data.test), data.input_shape) == (5 * PER_BATCH, PER_BATCH, (3, 32, 32))
    assert (data.class_names[0], data.class_names[9]) == ("airplane", "truck")
    images, labels = data.train.load([PER_BATCH + 3])  # the fourth image of data_batch_2
    expected = pixels(PER_BATCH, 1)[3].reshape(3, 32, 32) / 255
    for channel in range(3):  # red, green and blue one after another, each by rows
        wanted = (expected[channel] - CIFAR10_MEAN[channel]) / CIFAR10_STD[channel]
        torch.testing.assert_close(images[0, channel], torch.from_numpy(wanted).float())
    assert labels.tolist() == [4]
    assert data.test.labels.tolist() == [(5 + i) % 10 for i in range(PER_BATCH)]


def python_2_pickle(data: Any, labels: list[int]) -> bytes:
    """A batch as Python 2 and an early numpy wrote it: text and bytes are one, numpy's flags are numbers."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = struct.pack("<BiBi", ord("J"), data.shape[0], ord("J"), data.shape[1]) + b"\x86"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = b"T" + struct.pack("<I", data.size) + data.tobytes()
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}(U\x04data" + array + b"(K\x01" + shape + kind + b"\x89" + content + b"tbU\x06labels](" + numbers + b"eu."


def test_cifar_as_python_2_wrote_it(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    data, labels = pixels(PER_BATCH, 9), [i % 10 for i in range(PER_BATCH)]
    content = python_2_pickle(data, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of numpy complain of the flags
        plain = pickle.loads(content, encoding="latin1")  # noqa: S301 - written by the line above
    assert np.array_equal(plain["data"], data)
    (tmp_path / "test_batch").write_bytes(content)
    loaded = load("cifar10", tmp_path, mean=(0.0,), std=(1 / 255,))
    images, found = loaded.test.load(range(PER_BATCH))
    assert np.array_equal(images.round().numpy(), data.reshape(-1, 3, 32, 32))
    assert found.tolist() == labels


def test_cifar100_has_the_fine_classes(tmp_path: Path) -> None:
    write_cifar100(tmp_path / "cifar-100-python")
    data = load("cifar100", tmp_path, validation_fraction=0.5)
    assert (data.num_classes, data.class_names[99], data.test.labels[101]) == (100, "fine 99", 1)
    assert data.preprocessing.mean == (0.5071, 0.4865, 0.4409)


@pytest.mark.parametrize("inner", ["svhn", "."])
def test_svhn(tmp_path: Path, inner: str) -> None:
    write_svhn(tmp_path / inner)
    data = load("svhn", tmp_path, mean=(0.0,), std=(1.0,))
    assert data.train.labels.tolist() == [*range(1, 10), 0] * 4  # label 10 is the digit 0
    assert (data.class_names, data.input_shape) == (tuple("0123456789"), (3, 32, 32))
    image = data.test.load([7])[0][0]
    expected = pixels(40, 1).reshape(32, 32, 3, 40)[..., 7] / 255
    torch.testing.assert_close(image, torch.from_numpy(expected).float().permute(2, 0, 1))


def test_imagenet_has_the_standard_transform(tmp_path: Path) -> None:
    from torchvision.transforms import v2

    write_imagenet(tmp_path)
    data = load("imagenet", tmp_path)
    assert (data.class_names, data.input_shape, len(data.test)) == (("n01440764", "n01443537"), (3, 224, 224), 6)
    published = v2.Compose(
        [
            v2.Resize(256),
            v2.CenterCrop(224),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with Image.open(tmp_path / "val" / "n01443537" / "n01443537_1.JPEG") as image:
        torch.testing.assert_close(data.test.load([4])[0][0], torch.as_tensor(published(image)))


@pytest.mark.parametrize(
    ("settings", "resize", "crop"),
    [
        ({"image_size": 112}, 128, 112),
        ({"image_size": 28, "resize": 28}, 28, 28),
        ({"image_size": 24, "name": "imagefolder"}, 24, 24),
        ({"image_size": 20, "resize": 24, "name": "imagefolder"}, 24, 20),
    ],
)
def test_resize_and_crop_follow_the_settings(tmp_path: Path, settings: dict[str, Any], resize: int, crop: int) -> None:
    write_imagenet(tmp_path)
    (tmp_path / "test").symlink_to(tmp_path / "val")
    data = load(**{"name": "imagenet", "root": tmp_path, **settings})
    assert (data.preprocessing.resize, data.preprocessing.crop) == (resize, (crop, crop))
    assert data.input_shape == (3, crop, crop)


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_imagenet(tmp_path)
    with pytest.raises(InputError, match=r"data\.resize 200 is smaller than the crop of 224 pixels"):
        load("imagenet", tmp_path, resize=200)
    write_cifar10(tmp_path)
    with pytest.raises(InputError, match="3 normalisation values for 1 channels"):
        load("cifar10", tmp_path, channels=1, mean=(0.1, 0.2, 0.3))


def test_colour_in_memory_can_be_made_grey_and_larger(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    data = load("cifar10", tmp_path, channels=1, image_size=40, mean=(0.0,), std=(1.0,))
    image = Image.fromarray(pixels(PER_BATCH, 0)[0].reshape(3, 32, 32).transpose(1, 2, 0)).convert("L")
    wanted = np.asarray(image.resize((40, 40), Image.Resampling.BILINEAR)) / 255
    torch.testing.assert_close(data.train.load([0])[0][0, 0], torch.from_numpy(wanted).float())


class Malicious:
    """Makes a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_asks_for_a_function_is_refused_without_running_it(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    path, target = tmp_path / "test_batch", tmp_path / "created"
    write_pickle(path, {"data": pixels(1, 0), "labels": [0], "extra": Malicious(target)})
    with pytest.raises(InputError, match=r"test_batch is not one of .*asks for \w+\.mkdir, which such a file never needs"):
        load("cifar10", tmp_path)
    assert not target.exists()
    pickle.loads(path.read_bytes())  # noqa: S301 - shows that the file would do harm
    assert target.exists()
    for name in ("os.system", "builtins.eval", "numpy.load", "numpy.core.multiarray.fromfile"):
        module, _, function = name.rpartition(".")
        path.write_bytes(b"c%s\n%s\n(S'1'\ntR." % (module.encode(), function.encode()))
        with pytest.raises(InputError, match=f"asks for {name}"):
            load("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no data_batch_3"),
        (b"", "data_batch_3 is not one of the data set's pickled files"),
        (b"PK\x03\x04 not a pickle", "data_batch_3 is not one of the data set's pickled files"),
        ([1], "holds a list"),
        ({"labels": [0]}, "holds no images under `data`"),
        ({"labels": [0], "data": np.zeros((1, 3072))}, "an array of f8"),
        ({"labels": [0], "data": np.zeros((3072, 2), np.uint8).T}, "in columns"),
        ({"labels": [0], "data": np.zeros((1, 3000), np.uint8)}, "holds no images under `data`"),
        ({"labels": [0, 1], "data": np.zeros((1, 3072), np.uint8)}, "is not a list of 1 labels from 0 to 9"),
        ({"labels": [10], "data": np.zeros((1, 3072), np.uint8)}, "is not a list of 1 labels from 0 to 9"),
    ],
)
def test_damaged_cifar_files_are_named(tmp_path: Path, content: object, message: str) -> None:
    write_cifar10(tmp_path)
    path = tmp_path / "data_batch_3"
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_pickle(path, content)
    with pytest.raises(InputError, match=message) as caught:
        load("cifar10", tmp_path)
    assert "data_batch_3" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a whole .mat file"),
        (b"nonsense" * 40, "is not a whole .mat file"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "holds X"),
        ({"X": np.zeros((2, 32, 32, 3), np.uint8), "y": np.ones((2, 1))}, "expected bytes"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.full((2, 1), 11)}, "expected 1 to 10"),
    ],
)
def test_damaged_mat_files_are_named(tmp_path: Path, content: object, message: str) -> None:
    write_svhn(tmp_path)
    path = tmp_path / "test_32x32.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        savemat(path, content)
    with pytest.raises(InputError, match=message) as caught:
        load("svhn", tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "maker", "write", "folder"),
    [
        ("cifar10", "CIFAR10", write_cifar10, "cifar-10-batches-py"),
        ("cifar100", "CIFAR100", write_cifar100, "cifar-100-python"),
        ("svhn", "SVHN", write_svhn, "."),
    ],
)
def test_what_torchvision_downloads_is_read_and_not_downloaded_again(
    name: str,
    maker: str,
    write: Callable[[Path], None],
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def fake(root: Path, download: bool, split: str = "") -> None:
        calls.append(split)
        assert download
        write(root / folder)

    monkeypatch.setattr(f"torchvision.datasets.{maker}", fake)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        load_data.cache_clear()
        data = load_data(DataConfig(name=name, download=True, validation_fraction=0.5), 0)
        assert data.input_shape == (3, 32, 32)
    assert calls == (["train", "test"] if name == "svhn" else [""])


def test_a_failing_download_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(root: Path, download: bool) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fake)
    with pytest.raises(InputError, match=r"cifar10 cannot be downloaded into .* \(no route to host\)"):
        load("cifar10", tmp_path, download=True)


def test_the_fingerprint_follows_the_files_of_its_own_data_set(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-py")
    config = DataConfig(name="cifar10", root=tmp_path)
    fingerprint.cache_clear()
    before = fingerprint(config)
    write_cifar100(tmp_path / "cifar-100-python")
    fingerprint.cache_clear()
    assert fingerprint(config) == before
    write_pickle(tmp_path / "cifar-10-batches-py" / "test_batch", {})
    fingerprint.cache_clear()
    assert fingerprint(config) != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: custom", "custom needs data.factory"),
        ("{name: digits, factory: 'a:b'}", "data.factory is for data.name: custom"),
        ("{name: imagenet, download: true}", "imagenet cannot be downloaded"),
    ],
)
def test_contradicting_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"data: {{{text}}}" if not text.startswith("{") else f"data: {text}")
    with pytest.raises(InputError, match=message):
        load_config(path)
