"""Weights in somebody's file: nothing in it runs, nothing is set aside for what it only claims, and damages are a sentence."""

import struct
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from pipeline.errors import InputError
from pipeline.state_dict import read_state_dict

from ..hostile_files import GB, safetensors_of_10_gb, torch_file_of_8_gb, zip_bomb, zip_that_climbs
from ..json_changes import torn
from ..memory import memory_grows_by


class Dangerous:
    """Would run a command when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


@pytest.mark.parametrize("kind", ["module", "reduce"])
def test_pickled_objects_are_refused_and_never_run(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.pt"
    torch.save(nn.Linear(2, 2) if kind == "module" else Dangerous(), path)
    with pytest.raises(InputError, match=r"save model\.state_dict"):
        read_state_dict(path)
    assert "executed" not in capsys.readouterr().out


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    for name, content in (("a.pt", b"nonsense"), ("b.safetensors", b"nonsense"), ("c.pt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="is not a"):
            read_state_dict(tmp_path / name)
    torch.save([torch.zeros(1)], tmp_path / "d.pt")
    with pytest.raises(InputError, match="no state dict"):
        read_state_dict(tmp_path / "d.pt")
    with pytest.raises(InputError, match="does not exist"):
        read_state_dict(tmp_path / "none.pt")


def test_ten_gigabytes_that_are_only_declared_are_refused_and_not_set_aside(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(safetensors_of_10_gb())
    (tmp_path / "long.safetensors").write_bytes(struct.pack("<Q", 10 * GB) + b"{}")
    torch_file_of_8_gb(tmp_path / "large.pt")
    with memory_grows_by(500 * 2**20):
        for name in ("w.safetensors", "long.safetensors", "large.pt"):
            with pytest.raises(InputError, match="is not a") as caught:
                read_state_dict(tmp_path / name)
            assert "memory" not in str(caught.value)


def test_a_zip_that_unpacks_to_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    zip_bomb(tmp_path / "bomb.pt")
    with memory_grows_by(32 * 2**20), pytest.raises(InputError, match=r"bytes that unpack to 67108864, as no file of torch"):
        read_state_dict(tmp_path / "bomb.pt")


def test_no_member_of_a_zip_is_written_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    zip_that_climbs(folder / "climbs.pt")
    with pytest.raises(InputError, match="is not a torch checkpoint"):
        read_state_dict(folder / "climbs.pt")
    assert [path.name for path in tmp_path.rglob("*")] == ["inner", "climbs.pt"]


WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.zeros(2)}


@pytest.mark.parametrize("form", ["safetensors", "zip", "before torch 1.6"])
@settings(max_examples=150, deadline=None)
@example(at=0.984375, new=b"\x00\x00\x01", length=3)  # a zip of several disks, as one of its numbers then says
@given(at=st.floats(0, 1, exclude_max=True), new=st.binary(max_size=4), length=st.integers(0, 4))
def test_whatever_the_bytes_are_they_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, form: str, at: float, new: bytes, length: int
) -> None:
    path = tmp_path_factory.mktemp("weights") / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        path.write_bytes(save(WEIGHTS))
    else:
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=form == "zip")
    path.write_bytes(torn(path.read_bytes(), at, new, length))
    try:
        found = read_state_dict(path)
    except InputError as error:
        assert str(path) in str(error)
        assert len(str(error).splitlines()) == 1
    else:
        save({name: value.clone().contiguous() for name, value in found.items()})  # all of it can be read
