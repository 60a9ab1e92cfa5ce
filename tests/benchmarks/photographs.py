"""Real photographs that come with wheels and Debian packages, in two parts, and random crops of them.

Wheels: foolbox (20 of ImageNet, with their classes), scikit-image, scikit-learn, matplotlib. Debian's packages, as far as they
are installed: tuxpaint-stamps-default (animals, cut out, here on white; a few are drawings), lomiri-wallpapers-16.04,
mate-backgrounds, plasma-workspace-wallpapers.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

SHARE = Path("/usr/share")
SMALLEST, LARGEST = 80, 512  # shorter side in pixels: below it is left out, above it is resized once, before cropping
AREA = (0.35, 1.0)  # of the photograph, that a crop shows


class Photograph(NamedTuple):
    """A picture file, the package that it comes with, and its class in ImageNet if the package says so."""

    package: str
    path: Path
    label: int | None = None

    @property
    def digest(self) -> int:
        """A number that depends on nothing but the package and the names of file and folders."""
        name = "/".join((self.package, *self.path.parts[-4:]))
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


class Parts(NamedTuple):
    """Photographs of which no one is in both."""

    calibration: list[Photograph]
    evaluation: list[Photograph]


def photographs(share: Path = SHARE) -> list[Photograph]:
    """All that are there, in a fixed order; those of Debian's packages lie in `share`."""
    labelled = _files(_folder("foolbox") / "data", "imagenet_*.jpg")
    places = [
        ("scikit-image", _folder("skimage") / "data", "astronaut.png chelsea.png coffee.png motorcycle_left.png rocket.jpg"),
        ("scikit-learn", _folder("sklearn") / "datasets" / "images", "*.jpg"),
        ("matplotlib", _folder("matplotlib") / "mpl-data" / "sample_data", "grace_hopper.jpg"),
        ("tuxpaint-stamps-default", share / "tuxpaint" / "stamps" / "animals", "**/*.png"),
        ("lomiri-wallpapers-16.04", share / "backgrounds", "*_by_*.jpg"),
        ("mate-backgrounds", share / "backgrounds" / "mate" / "nature", "*.jpg"),
        ("plasma-workspace-wallpapers", share / "wallpapers", "*/contents/images/2560x1600.jpg"),
    ]
    found = [Photograph("foolbox", path, int(path.stem.split("_")[-1])) for path in labelled]
    found += [Photograph(package, path) for package, folder, patterns in places for path in _files(folder, patterns)]
    return found


def in_parts(found: Sequence[Photograph]) -> Parts:
    """Half of each package's photographs for calibration and half for evaluation, in the order of their digests."""
    parts = Parts([], [])
    for package in dict.fromkeys(photograph.package for photograph in found):
        mine = sorted((one for one in found if one.package == package), key=lambda one: one.digest)
        parts.calibration.extend(mine[::2])
        parts.evaluation.extend(mine[1::2])
    return parts


def by_package(found: Sequence[Photograph]) -> dict[str, int]:
    """How many there are of each package."""
    return dict(Counter(photograph.package for photograph in found))


def crops_of(photograph: Photograph, count: int, seed: int, side: int = 224) -> Tensor:
    """Random resized and mirrored crops, uint8 (count, 3, side, side); they depend on the photograph and `seed` alone."""
    image = opened(photograph.path)
    if min(image.size) > LARGEST:
        image = v2.functional.resize(image, [LARGEST], InterpolationMode.BICUBIC)
    crop = v2.Compose([v2.RandomResizedCrop(side, AREA, interpolation=InterpolationMode.BICUBIC), v2.RandomHorizontalFlip()])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(photograph.digest % 2**32 + seed)
        return torch.stack([v2.functional.pil_to_tensor(crop(image)) for _ in range(count)])


def opened(path: Path) -> Image.Image:
    """A picture in RGB; what is transparent becomes white."""
    with Image.open(path) as file:
        image = file.convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    return ground.convert("RGB")


def _files(folder: Path, patterns: str) -> list[Path]:
    found = {path for pattern in patterns.split() for path in folder.glob(pattern) if path.is_file() and not path.is_symlink()}
    return [path for path in sorted(found) if "cartoon" not in path.parts and _shorter_side(path) >= SMALLEST]


def _shorter_side(path: Path) -> int:
    with Image.open(path) as image:
        return min(image.size)


def _folder(package: str) -> Path:
    """Where a package lies, without importing it; a folder that is not there if it is not installed."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path(package)
