"""Trained weights from somebody's file: tensors by name, and nothing in the file is ever run."""

import pickle
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fair_pruner.errors import first_line
from pipeline.errors import InputError

PICKLE = b"\x80"  # how files of torch before 1.6 begin; newer ones are zip archives


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name from safetensors or a torch file; never runs code from the file. Raises InputError."""
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path} is not a safetensors file: {first_line(error)}") from error
    _check_torch_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says beside an error stands in the error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds pickled objects, which may run code when loaded; save model.state_dict() (or safetensors) instead"
        ) from error
    except Exception as error:  # what a damaged file raises is as manifold as its damages
        raise InputError(f"{path} is not a torch checkpoint: {first_line(error)}") from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path} holds no state dict; expected a mapping of names to tensors")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _check_torch_file(path: Path) -> None:
    """Raises InputError if it is none by its first bytes, or one whose members unpack to more than it holds."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                if file.read(1) == PICKLE:
                    return
            raise InputError(f"{path} is not a torch checkpoint; expected a state dict saved by torch.save, or .safetensors")
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a torch checkpoint: {first_line(error)}") from error
    if unpacked > path.stat().st_size:  # torch.save does not compress
        raise InputError(
            f"{path} has {path.stat().st_size} bytes that unpack to {unpacked}, as no file of torch.save does; save it anew"
        )
