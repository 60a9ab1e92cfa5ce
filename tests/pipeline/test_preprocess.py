import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from pipeline.errors import InputError
from pipeline.preprocess import normalise, preprocess
from pipeline.records import Preprocessing
from pipeline.splits import TensorSplit

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOUR, GREY = Preprocessing(channels=3, mean=MEAN, std=STD), Preprocessing(channels=1, mean=(0.3,), std=(0.4,))


def image(height: int = 30, width: int = 40, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (channels, height, width), generator=generator, dtype=torch.uint8)


def as_pil(pixels: torch.Tensor) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).squeeze(2).numpy()))


@pytest.mark.parametrize(
    ("resize", "crop"), [(None, None), (16, None), (None, (20, 24)), (20, (16, 16)), (64, (60, 60)), (None, (36, 50))]
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("found", [1, 3])
def test_the_steps_against_torchvisions_transforms(
    resize: int | None, crop: tuple[int, int] | None, channels: int, found: int
) -> None:
    mean, std = MEAN[:channels], STD[:channels]
    how = Preprocessing(channels=channels, resize=resize, crop=crop, mean=mean, std=std)
    steps = [
        v2.Grayscale(1) if channels == 1 else v2.RGB(),
        *([v2.Resize(resize)] if resize else []),
        *([v2.CenterCrop(list(crop))] if crop else []),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(mean), list(std)),
    ]
    pixels = image(channels=found)
    from_pil = preprocess(as_pil(pixels), how)
    torch.testing.assert_close(from_pil, torch.as_tensor(v2.Compose(steps)(as_pil(pixels))))
    assert from_pil.dtype == torch.float32
    assert torch.equal(preprocess(pixels, how), from_pil)  # however the image is held


@pytest.mark.parametrize(
    "how",
    [COLOUR, GREY, COLOUR.model_copy(update={"resize": 9, "crop": (8, 8)}), GREY.model_copy(update={"crop": (5, 6)})],
)
@pytest.mark.parametrize("found", [1, 3])
def test_a_split_in_memory_gives_the_same_values(how: Preprocessing, found: int) -> None:
    pixels = torch.stack([image(10, 12, found), image(10, 12, found).flip(1)])
    loaded, labels = TensorSplit(pixels, torch.tensor([5, 6]), how).load([1, 0, 1])
    assert torch.equal(loaded, torch.stack([preprocess(pixels[i], how) for i in (1, 0, 1)]))
    assert labels.tolist() == [6, 5, 6]


def test_the_formula() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1)
    expected = [(value - mean) / std for value, mean, std in zip((0, 0.2, 1), MEAN, STD, strict=True)]
    torch.testing.assert_close(normalise(pixels, COLOUR).flatten(), torch.tensor(expected))


def test_it_comes_back_from_json_unchanged() -> None:
    how = COLOUR.model_copy(update={"resize": 256, "crop": (224, 224)})
    again = Preprocessing.model_validate_json(how.model_dump_json())
    assert again == how
    assert torch.equal(preprocess(image(), again), preprocess(image(), how))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_an_image_that_its_data_set_normalised_stays_as_it_is(dtype: torch.dtype) -> None:
    how = COLOUR.model_copy(update={"normalised_by_dataset": True})
    given = torch.randn(3, 4, 5).to(dtype)
    assert torch.equal(preprocess(given, how), given.float())
    with pytest.raises(InputError, match="a uint8 tensor of shape"):
        preprocess(image(), how)


@pytest.mark.parametrize(
    ("given", "how", "message"),
    [
        (torch.zeros(3, 4, 4), COLOUR, "a float32 tensor of shape"),
        (image()[0], COLOUR, r"a uint8 tensor of shape \(30, 40\)"),
        (np.zeros((4, 4, 3)), COLOUR, "a ndarray"),
        (image(channels=4), COLOUR, "an image of 4 channels"),
        (Image.new("I;16", (4, 4)), COLOUR, "mode I;16"),
        (Image.new("F", (4, 4)), GREY, "mode F"),
    ],
)
def test_other_things_are_refused(given: Image.Image | torch.Tensor, how: Preprocessing, message: str) -> None:
    with pytest.raises(InputError, match=message):
        preprocess(given, how)
