"""Files of a data set with other bytes than were published: refused in one line that names the folder, or read as images."""

import gzip
import io
import pickle
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
