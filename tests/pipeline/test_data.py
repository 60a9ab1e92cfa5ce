import gzip
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.config import DataConfig
from pipeline.data import batches, fingerprint, load_data
from pipeline.datasets import DEBIAN_FASHION_MNIST, per_class
from pipeline.errors import InputError


def write_idx(path: Path, values: torch.Tensor, compress: bool) -> None:
    header = bytes([0, 0, 8, values.dim()]) + struct.pack(f">{values.dim()}I", *values.shape)
    content = header + values.to(torch.uint8).numpy().tobytes()
    path.write_bytes(gzip.compress(content) if compress else content)


@pytest.fixture(params=[True, False], ids=["gzipped", "plain"])
def idx_folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    ending = ".gz" if request.param else ""
    for part, count in (("train", 40), ("t10k", 20)):
        images = torch.arange(count * 784).remainder(251).view(count, 28, 28)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{ending}", images, request.param)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{ending}", torch.arange(count) % 10, request.param)
    return tmp_path


def write_images(root: Path, classes: dict[str, int], size: tuple[int, int] = (12, 9)) -> None:
    for part in ("train", "test"):
        for shade, (name, count) in enumerate(classes.items()):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", size, (40 * shade, i, 0)).save(folder / f"{i}.png")


def test_the_splits_of_digits_are_disjoint_balanced_and_reproducible() -> None:
    data = load_data(DataConfig(validation_fraction=0.2), 5)
    assert set(data.fit_indices) | set(data.validation_indices) == set(range(len(data.train)))
    assert not set(data.fit_indices) & set(data.validation_indices)
    counts = torch.bincount(data.train.labels[list(data.validation_indices)])
    assert counts.min() >= 27
    assert counts.max() <= 30
    load_data.cache_clear()
    assert load_data(DataConfig(validation_fraction=0.2), 5).fit_indices == data.fit_indices
    other = load_data(DataConfig(validation_fraction=0.2), 6)
    assert other.validation_indices != data.validation_indices
    assert torch.equal(other.test.labels, data.test.labels)  # the test split never depends on the seed


def test_a_share_of_the_training_images_keeps_the_classes_and_the_validation_images() -> None:
    whole, part = load_data(DataConfig(), 5), load_data(DataConfig(train_images=400), 5)
    assert abs(len(part.fit_indices) - 400) <= 5  # rounded class by class
    assert set(part.fit_indices) < set(whole.fit_indices)
    assert part.validation_indices == whole.validation_indices
    assert not set(part.fit_indices) & set(part.validation_indices)
    counts = [torch.bincount(data.train.labels[list(data.fit_indices)]) for data in (whole, part)]
    torch.testing.assert_close(counts[1].float(), counts[0] * 400 / len(whole.fit_indices), rtol=0, atol=0.51)
    assert load_data(DataConfig(train_images=len(whole.fit_indices)), 5).fit_indices == whole.fit_indices
    assert load_data(DataConfig(train_images=400), 6).fit_indices != part.fit_indices
    with pytest.raises(InputError, match=f"train_images is 9999, digits has {len(whole.fit_indices)} beside the validation"):
        load_data(DataConfig(train_images=9999), 5)


def test_the_split_can_have_a_seed_of_its_own() -> None:
    def split(seed: int | None, of_the_run: int) -> tuple[tuple[int, ...], ...]:
        data = load_data(DataConfig(seed=seed, train_images=300), of_the_run)
        return data.fit_indices, data.validation_indices

    assert split(7, 0) == split(7, 1) == split(None, 7)
    assert split(7, 0) != split(8, 0)


def test_no_test_image_of_digits_is_a_training_image() -> None:
    from sklearn.datasets import load_digits

    data = load_data(DataConfig(), 0)
    assert len(data.train) + len(data.test) == len(load_digits().target)


def test_batches_keep_order_and_are_normalised() -> None:
    data = load_data(DataConfig(), 0)
    images, labels = zip(*batches(data.train, [5, 3, 9], 2), strict=True)
    assert torch.equal(torch.cat(labels), data.train.labels[[5, 3, 9]])
    assert [len(part) for part in images] == [2, 1]
    everything, _ = data.train.load(range(len(data.train)))
    assert abs(float(everything.mean())) < 0.05
    assert abs(float(everything.std()) - 1) < 0.05


def test_idx_files_are_read_and_grey_can_be_repeated(idx_folder: Path) -> None:
    data = load_data(DataConfig(name="fashion_mnist", root=idx_folder, channels=3, mean=(0.0,), std=(1.0,)), 0)
    images, labels = data.train.load([2])
    assert data.input_shape == (3, 28, 28)
    assert torch.equal(images[0, 0], images[0, 2])
    torch.testing.assert_close(images[0, 0].flatten(), torch.arange(2 * 784, 3 * 784).remainder(251) / 255)
    assert labels.tolist() == [2]


@pytest.mark.skipif(not DEBIAN_FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_debian_package_is_found() -> None:
    data = load_data(DataConfig(name="fashion_mnist"), 0)
    assert (len(data.train), len(data.test), data.num_classes) == (60000, 10000, 10)


def test_an_image_folder_is_resized_and_normalised(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 6, "dog": 4})
    data = load_data(DataConfig(name="imagefolder", root=tmp_path, image_size=8, mean=(0.0,), std=(1.0,)), 0)
    assert (data.class_names, data.input_shape) == (("cat", "dog"), (3, 8, 8))
    (images, labels), *_ = batches(data.test, [9], 4)
    assert labels.tolist() == [1]
    torch.testing.assert_close(images[0, :, 0, 0], torch.tensor([40 / 255, 3 / 255, 0.0]))


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 2, "dog": 2})
    config = DataConfig(name="imagefolder", root=tmp_path)
    before = fingerprint(config)
    fingerprint.cache_clear()
    assert fingerprint(config) == before
    Image.new("RGB", (12, 9)).save(tmp_path / "train" / "cat" / "new.png")
    fingerprint.cache_clear()
    assert fingerprint(config) != before


@given(st.lists(st.integers(0, 4), min_size=5, max_size=60), st.integers(1, 8), st.integers(0, 99))
def test_per_class_draws_that_many_of_each_class(labels: list[int], amount: int, seed: int) -> None:
    chosen = per_class(torch.tensor(labels), 5, amount, seed)
    assert len(set(chosen)) == len(chosen)
    for label in range(5):
        assert sum(labels[i] == label for i in chosen) == min(amount, labels.count(label))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(name="imagefolder"), "data.root is not set"),
        (DataConfig(name="imagefolder", root=Path("/nonexistent")), "is not a folder"),
        (DataConfig(name="imagenet"), r"data.root is not set; .* val/<class>/"),
        (DataConfig(name="cifar10", root=Path("/nonexistent")), "has no data_batch_1; cifar10 is made of .* data.download: true"),
        (DataConfig(name="cifar100", root=Path("/nonexistent")), "has no train; .* cifar-100-python"),
        (DataConfig(name="svhn", root=Path("/nonexistent")), "has no train_32x32.mat"),
        (DataConfig(name="fashion_mnist", root=Path("/nonexistent")), "dataset-fashion-mnist"),
        (DataConfig(mean=(0.1, 0.2)), "2 normalisation values for 1 channels"),
    ],
)
def test_data_that_is_not_there_is_refused(config: DataConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_data(config, 0)


def test_folders_that_do_not_match_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 2, "dog": 2})
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "cow")
    with pytest.raises(InputError, match="different classes"):
        load_data(DataConfig(name="imagefolder", root=tmp_path), 0)


def test_images_of_another_size_in_the_test_folder_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 2, "dog": 2})
    Image.new("RGB", (6, 9)).save(tmp_path / "test" / "cat" / "0.png")
    with pytest.raises(InputError, match=r"set data\.image_size"):
        load_data(DataConfig(name="imagefolder", root=tmp_path), 0)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 3, "dog": 3})
    whole = (tmp_path / "test" / "dog" / "2.png").read_bytes()
    data = load_data(DataConfig(name="imagefolder", root=tmp_path), 0)
    for content in (b"nonsense", whole[:-30], b""):
        (tmp_path / "test" / "dog" / "2.png").write_bytes(content)
        with pytest.raises(InputError, match=r"2\.png cannot be read as an image"):
            data.test.load([0, 5])


def test_a_file_that_is_no_idx_file_is_refused(idx_folder: Path) -> None:
    for path in idx_folder.iterdir():
        path.write_bytes(gzip.compress(b"nonsense") if path.suffix == ".gz" else b"nonsense")
    with pytest.raises(InputError, match="not an idx file"):
        load_data(DataConfig(name="fashion_mnist", root=idx_folder), 0)


def test_an_idx_file_that_is_cut_short_is_refused(idx_folder: Path) -> None:
    (path,) = idx_folder.glob("t10k-images*")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte.* is not a whole idx file"):
        load_data(DataConfig(name="fashion_mnist", root=idx_folder), 0)
