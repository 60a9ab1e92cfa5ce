"""Photographs are found, parted and cropped the same way wherever they lie."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from .photographs import Photograph, by_package, crops_of, in_parts, opened, photographs


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A folder as /usr/share would be with two of Debian's packages."""
    for name, side in (("birds/owl", 90), ("birds/crow", 120), ("cartoon/bear", 120), ("fish/small", 20)):
        write(tmp_path / f"tuxpaint/stamps/animals/{name}.png", side)
    for name in ("Dune", "Storm", "Wood"):
        write(tmp_path / f"backgrounds/mate/nature/{name}.jpg", 100)
    return tmp_path


def write(path: Path, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((side, side + 30), 80).convert("RGB").save(path)


def test_packages_are_found_without_drawings_and_tiny_pictures(share: Path) -> None:
    counts = by_package(photographs(share))
    assert counts["tuxpaint-stamps-default"] == 2
    assert counts["mate-backgrounds"] == 3
    assert counts["scikit-learn"] == 2
    assert "lomiri-wallpapers-16.04" not in counts


def test_no_photograph_is_in_both_parts_and_both_have_half_of_every_package(share: Path) -> None:
    found = photographs(share)
    calibration, evaluation = in_parts(found)
    assert {*calibration, *evaluation} == {*found}
    assert len(calibration) + len(evaluation) == len(found)
    assert by_package(evaluation)["mate-backgrounds"] == 1
    assert by_package(calibration)["mate-backgrounds"] == 2


def test_what_other_packages_there_are_moves_no_photograph(share: Path, tmp_path: Path) -> None:
    both = in_parts(photographs(share))
    wheels = in_parts(photographs(tmp_path / "nothing here"))
    assert set(wheels.calibration) < set(both.calibration)
    assert set(wheels.evaluation) < set(both.evaluation)


def test_crops_depend_on_the_photograph_and_the_seed_alone(share: Path) -> None:
    one, other = (Photograph("mate-backgrounds", share / f"backgrounds/mate/nature/{name}.jpg") for name in ("Dune", "Wood"))
    state = torch.random.get_rng_state()
    crops = crops_of(one, 3, seed=0, side=32)
    crops_of(other, 2, seed=5, side=32)
    assert crops.shape == (3, 3, 32, 32)
    assert crops.dtype == torch.uint8
    assert torch.equal(crops, crops_of(one, 3, seed=0, side=32))
    assert not torch.equal(crops, crops_of(one, 3, seed=1, side=32))
    assert torch.equal(state, torch.random.get_rng_state())


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (90, 90), (200, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 45, 90))
    image.save(tmp_path / "cut_out.png")
    shown = opened(tmp_path / "cut_out.png")
    assert shown.getpixel((10, 10)) == (255, 255, 255)
    assert shown.getpixel((80, 10)) == (200, 0, 0)
