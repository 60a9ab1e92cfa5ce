"""Files of a data set with other bytes than were published: refused in one line that names the folder, or read as images."""

import gzip
import io
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from pipeline.config import DataConfig
from pipeline.datasets import CIFAR10_FILES, IDX_FILES, load_dataset
from pipeline.errors import InputError

from ..hostile_files import idx
from ..json_changes import torn

Files = dict[str, bytes]  # by path within the data set's folder
RANDOM = np.random.default_rng(0)


def pixels(*shape: int) -> Any:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def fashion_mnist(pack: Callable[[bytes], bytes], ending: str) -> Files:
    contents = (idx(4, 6, 6) + pixels(4, 6, 6).tobytes(), idx(4) + bytes((0, 1, 2, 9))) * 2
    return {f"{name}{ending}": pack(content) for name, content in zip(IDX_FILES, contents, strict=True)}


def cifar10() -> Files:
    *batches, names = CIFAR10_FILES
    files = {name: pickle.dumps({"labels": [0, 1, 2], "data": pixels(3, 3072)}, protocol=2) for name in batches}
    return files | {names: pickle.dumps({"label_names": [f"class {label}" for label in range(10)]}, protocol=2)}


def svhn(compressed: bool) -> Files:
    content = io.BytesIO()
    savemat(content, {"X": pixels(32, 32, 3, 3), "y": np.array([[1], [10], [3]], np.uint8)}, do_compression=compressed)
    return dict.fromkeys(("train_32x32.mat", "test_32x32.mat"), content.getvalue())


def pictures(form: str, ending: str) -> Files:
    content = io.BytesIO()
    Image.fromarray(pixels(12, 12, 3)).save(content, form)
    return dict.fromkeys(
        (f"{part}/{kind}/1.{ending}" for part in ("train", "test") for kind in ("cat", "dog")), content.getvalue()
    )


FORMS = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "TIFF": "tif", "PPM": "ppm", "WEBP": "webp", "GIF": "png"}
CASES: dict[str, tuple[str, Files, str]] = {  # the data set, its files, the one that is changed
    "idx images": ("fashion_mnist", fashion_mnist(bytes, ""), IDX_FILES[0]),
    "idx labels": ("fashion_mnist", fashion_mnist(bytes, ""), IDX_FILES[3]),
    "idx in gzip": ("fashion_mnist", fashion_mnist(gzip.compress, ".gz"), f"{IDX_FILES[0]}.gz"),
    "CIFAR images": ("cifar10", cifar10(), CIFAR10_FILES[1]),
    "CIFAR classes": ("cifar10", cifar10(), CIFAR10_FILES[-1]),
    "mat": ("svhn", svhn(compressed=False), "train_32x32.mat"),
    "mat, compressed": ("svhn", svhn(compressed=True), "train_32x32.mat"),
    **{form: ("imagefolder", pictures(form, ending), f"train/cat/1.{ending}") for form, ending in FORMS.items()},
}


@pytest.fixture(scope="module", autouse=True)
def few_pixels() -> Iterator[None]:
    """Pillow refuses images of more than 2 million pixels, instead of 179, so that no changed size fills the memory."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of a case, with its files as they were published."""
    made: dict[str, Path] = {}

    def of(case: str) -> Path:
        if case not in made:
            made[case] = tmp_path_factory.mktemp("data")
            for name, content in CASES[case][1].items():
                (made[case] / name).parent.mkdir(parents=True, exist_ok=True)
                (made[case] / name).write_bytes(content)
            assert images_of(case, made[case]) > 0
        return made[case]

    return of


def images_of(case: str, root: Path) -> int:
    """How many images there are, after all of them were decoded."""
    size = {"image_size": 8} if CASES[case][0] == "imagefolder" else {}
    data = load_dataset(DataConfig(name=CASES[case][0], root=root, **size))
    images = [split.load(range(len(split)))[0] for split in (data.train, data.test)]
    assert all(each.isfinite().all() for each in images)
    return sum(map(len, images))


@pytest.mark.filterwarnings("ignore")  # Pillow and SciPy read on where they warn
@pytest.mark.parametrize("case", CASES)
@settings(max_examples=40, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), new=st.binary(max_size=4), length=st.integers(0, 4))
def test_whatever_the_bytes_are_they_are_read_or_refused(
    case: str, at: float, new: bytes, length: int, folder: Callable[[str], Path]
) -> None:
    root, file = folder(case), CASES[case][2]
    whole = CASES[case][1][file]
    (root / file).write_bytes(torn(whole, at, new, length))
    try:
        images_of(case, root)
    except InputError as error:
        assert str(root) in str(error)
        assert len(str(error).splitlines()) == 1


def test_postscript_under_the_name_of_a_png_goes_to_no_interpreter(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[object] = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *given, **_: ran.append(given))
    root, content = folder("PNG"), io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "EPS")
    (root / "train/cat/1.png").write_bytes(content.getvalue())
    with pytest.raises(InputError, match=r"train/cat/1\.png cannot be read as an image \(cannot identify image file"):
        images_of("PNG", root)
    assert not ran


def test_numbers_of_a_type_that_there_is_not_do_not_end_the_process(folder: Callable[[str], Path]) -> None:
    """As they do in scipy.io.loadmat, which takes the type for a place in a table."""
    root, file = folder("mat"), CASES["mat"][2]
    tag, size = struct.pack("<II", 2, 32 * 32 * 3 * 3), struct.pack("<I", 32 * 32 * 3 * 3)
    (root / file).write_bytes(CASES["mat"][1][file].replace(tag, struct.pack("<I", 60_000) + size))
    with pytest.raises(
        InputError, match=r"train_32x32\.mat is not a whole \.mat file \(numbers of the type 60000, which there is not\)"
    ):
        images_of("mat", root)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64, np.float64])
def test_labels_may_be_of_any_type_of_numbers(kind: type, tmp_path: Path) -> None:
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels(32, 32, 3, 3), "y": np.array([[1], [10], [3]], kind)})
    data = load_dataset(DataConfig(name="svhn", root=tmp_path))
    assert data.train.labels.tolist() == [1, 0, 3]


@pytest.mark.parametrize(
    ("images", "labels"), [(np.zeros((32, 32, 3, 0), np.uint8), np.zeros((0, 1))), (pixels(32, 32, 3, 1), np.nan)]
)
def test_no_image_and_no_number_are_no_labels(images: Any, labels: Any, tmp_path: Path) -> None:
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": images, "y": labels})
    with pytest.raises(InputError, match=r"train_32x32\.mat has labels .*; expected 1 to 10"):
        load_dataset(DataConfig(name="svhn", root=tmp_path))
