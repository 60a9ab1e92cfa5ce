"""Images with labels, of which some are loaded at a time: held in memory, or taken one by one from a data set of the kind
that torch has (`__len__`, and `__getitem__` that gives image and label)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import InputError
from pipeline.preprocess import GREY, normalise, preprocess
from pipeline.records import Preprocessing

DECODERS = 4  # threads that decode the images of one batch
# what Pillow may take a file for, whatever its name: PostScript, for one, it would hand to an interpreter
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


@runtime_checkable
class MapDataset(Protocol):
    """A data set of torch's kind."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class TensorSplit:
    """Images held in memory as bytes (n, C, H, W)."""

    def __init__(self, images: Tensor, labels: Tensor, how: Preprocessing) -> None:
        self.images, self.labels, self.how = images, labels, how
        # then a whole batch is normalised at once
        self.as_stored = how.resize is None and how.crop is None and images.shape[1] in (GREY, how.channels)

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Preprocessed images and labels."""
        chosen = torch.as_tensor(indices)
        pixels = self.images[chosen]
        if self.as_stored:
            return normalise(pixels, self.how), self.labels[chosen]
        return torch.stack([preprocess(image, self.how) for image in pixels]), self.labels[chosen]


class DatasetSplit:
    """Images of a data set, taken from it when asked for, on so many threads; one thread is the caller's own."""

    def __init__(self, dataset: MapDataset, labels: Tensor, how: Preprocessing, threads: int = 1) -> None:
        self.dataset, self.labels, self.how, self.threads = dataset, labels, how, threads

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Preprocessed images and labels. Raises InputError if the images differ in size."""
        if self.threads == 1:
            images = [self._image(index) for index in indices]
        else:  # threads, since the process that runs a flow has some and must not fork
            with ThreadPoolExecutor(self.threads) as pool:
                images = list(pool.map(self._image, indices))
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            raise InputError(f"images differ in size: {sorted(shapes)[:3]}; set data.image_size to bring them to one")
        return torch.stack(images), self.labels[torch.as_tensor(indices)]

    def _image(self, index: int) -> Tensor:
        image, _ = self.dataset[index]
        try:
            return preprocess(image, self.how)
        except InputError as error:
            raise InputError(f"image {index}: {error}") from error


def folder_split(folder: Path, how: Preprocessing) -> tuple[DatasetSplit, tuple[str, ...]]:
    """The images of <folder>/<class>/, and the classes in the order of their labels. Raises InputError if there are none."""
    from torchvision.datasets import ImageFolder

    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected {folder}/<class>/<image files>")
    try:
        dataset = ImageFolder(folder, loader=_decoded, allow_empty=True)
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no class folders; expected {folder}/<class>/<image files>") from error
    if not len(dataset):
        raise InputError(f"{folder} holds no images; expected {folder}/<class>/<image files>")
    return DatasetSplit(dataset, torch.tensor(dataset.targets), how, DECODERS), tuple(dataset.classes)


def _decoded(path: str) -> Image.Image:
    try:
        with Path(path).open("rb") as file:
            image = Image.open(file, formats=FORMATS)
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image ({' '.join(str(error).split())}); replace or remove it") from error
    return image
