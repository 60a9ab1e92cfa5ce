"""From a decoded image to the model's input: the same steps in training, evaluation, calibration and behind the exported file."""

import torch
from PIL import Image
from torch import Tensor

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.records import Preprocessing

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NORMALISATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # mean and deviation per channel, of pixels in [0, 1]
    "digits": ((0.3053,), (0.3760,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "imagenet": IMAGENET,
    "imagefolder": IMAGENET,
    "custom": ((0.0,), (1.0,)),
}
IMAGENET_CROP, IMAGENET_RESIZE = 224, 256
GREY, COLOUR = 1, 3
DEEP_MODES = ("I", "F")  # how names of Pillow's modes with more than 8 bits begin


def preprocess(image: Image.Image | Tensor, how: Preprocessing) -> Tensor:
    """A decoded image (PIL, or uint8 (C, H, W)) as the model's input, float32 (C, H, W).

    Colour becomes grey or grey is repeated, then resize, centre crop (over a black border if the image is smaller), scale and
    normalisation. Pillow resizes, tensors too, so the values depend neither on the machine nor on how the image is held. With
    `how.normalised_by_dataset` the image must be a float tensor, which is returned as float32. Raises InputError otherwise.
    """
    from torchvision.transforms.v2 import functional as transforms

    if how.normalised_by_dataset:
        if isinstance(image, Tensor) and is_pixels(image, floating=True):
            return image.float()
        raise InputError(f"the image is {described(image)}; the data set promised normalised float tensors (C, H, W)")
    pixels = _bytes_of(image, how)
    return normalise(transforms.center_crop(pixels, list(how.crop)) if how.crop else pixels, how)


def normalise(pixels: Tensor, how: Preprocessing) -> Tensor:
    """uint8 (..., C, H, W) -> float32 (..., channels, H, W); one channel is repeated if the model takes more."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (how.mean, how.std))
    return (pixels.float() * how.scale - mean) / std


def standard_preprocessing(config: DataConfig, channels: int) -> Preprocessing:
    """What the configuration asks for on images of so many channels; where it says nothing, the data set's standard."""
    channels = config.channels or channels
    mean, std = (values[:channels] for values in NORMALISATION[config.name])
    side, resize = config.image_size, config.resize
    if config.name == "imagenet":
        side = side or IMAGENET_CROP
        resize = resize or round(side * IMAGENET_RESIZE / IMAGENET_CROP)
    if side and resize and resize < side:
        raise InputError(f"data.resize {resize} is smaller than the crop of {side} pixels; raise it or lower data.image_size")
    return Preprocessing(
        channels=channels,
        resize=resize or side,
        crop=(side, side) if side else None,
        mean=per_channel(config.mean or mean, channels),
        std=per_channel(config.std or std, channels),
    )


def per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One value per channel; a single value serves all of them."""
    if len(values) not in (1, channels):
        raise InputError(f"{len(values)} normalisation values for {channels} channels; give one, or one per channel")
    return values * channels if len(values) == 1 else values


def is_pixels(image: object, *, floating: bool) -> bool:
    """Whether this is a tensor (C, H, W): of any float type, or of bytes."""
    if not isinstance(image, Tensor) or image.dim() != 3:
        return False
    return image.is_floating_point() if floating else image.dtype == torch.uint8


def described(image: object) -> str:
    """What was found in place of an image."""
    if isinstance(image, Tensor):
        return f"a {str(image.dtype).removeprefix('torch.')} tensor of shape {tuple(image.shape)}"
    return f"a {type(image).__name__}"


def _bytes_of(image: Image.Image | Tensor, how: Preprocessing) -> Tensor:
    """The image as uint8 (C, H, W), resized; C is `how.channels`, or 1 if it is grey."""
    from torchvision.transforms.v2 import functional as transforms

    if isinstance(image, Image.Image):
        return _bytes_of_pil(image, how)
    if not is_pixels(image, floating=False):
        raise InputError(f"the image is {described(image)}; expected a PIL image or a uint8 tensor (C, H, W)")
    found = image.shape[0]
    if how.resize is None and found in (GREY, how.channels):
        return image
    if found not in (GREY, COLOUR) or how.channels not in (GREY, COLOUR):
        raise InputError(f"an image of {found} channels cannot be resized or brought to {how.channels}; only 1 and 3 can")
    return _bytes_of_pil(transforms.to_pil_image(image), how)


def _bytes_of_pil(image: Image.Image, how: Preprocessing) -> Tensor:
    from torchvision.transforms.v2 import functional as transforms

    if image.mode.startswith(DEEP_MODES):
        raise InputError(f"the image has Pillow's mode {image.mode}; convert it to 8 bits a channel")
    image = image.convert("L" if how.channels == GREY else "RGB")
    pixels: Tensor = transforms.pil_to_tensor(image if how.resize is None else transforms.resize(image, [how.resize]))
    return pixels
