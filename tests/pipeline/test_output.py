from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipeline.config import RunConfig, load_config
from pipeline.errors import InputError
from pipeline.output import LONGEST, Place, folder_of, place, shared_at

PLAIN = st.text("abcXYZ019._=-", min_size=1, max_size=8).filter(lambda part: part != "..")


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIR_PRUNER_CACHE", str(tmp_path))
    return tmp_path


def test_a_folder_is_its_own_and_shared_with_nobody(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(caches.parent)
    assert place("runs") == Path("runs")
    assert folder_of(Path("runs")) == caches.parent / "runs"
    assert shared_at(caches.parent / "runs" / "store" / "a.onnx") is None
    assert shared_at(caches / "runs") is None  # a folder there that is none of a URL's


def test_a_url_has_a_working_folder_in_the_cache(caches: Path) -> None:
    assert place("s3://bucket/some/prefix/") == "s3://bucket/some/prefix"
    folder = folder_of("s3://bucket/some/prefix")
    assert folder == caches / "s3+bucket+some+prefix"
    found = shared_at(folder / "store" / "a.onnx")
    assert found
    assert (found[0].url, found[1]) == ("s3://bucket/some/prefix", "store/a.onnx")


@given(scheme=st.sampled_from(["s3", "file", "memory"]), host=st.just("") | PLAIN, parts=st.lists(PLAIN, min_size=1, max_size=5))
def test_the_name_of_a_working_folder_tells_its_url(scheme: str, host: str, parts: list[str]) -> None:
    url = f"{scheme}://{'/'.join((host, *parts))}"
    found = shared_at(folder_of(place(url)) / "x")
    assert found
    assert found[0].url == place(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://me:hush-hush@bucket/prefix", "holds a user or password"),
        ("s3://bucket/a/../../b", "not of the form"),
        ("s3://bucket/a?versionId=hush-hush", "not of the form"),
        ("s3://bucket/a+b", "not of the form"),
        ("S3 ://bucket", "not of the form"),
        ("s3://bucket/" + "a" * LONGEST, "not of the form"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_repeated(tmp_path: Path, url: str, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("name: a\n")
    with pytest.raises(InputError, match=message) as caught:
        load_config(file, (f"output={url}",))
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["7", "[a]", "null", "{a: 1}"])
def test_anything_else_is_refused(tmp_path: Path, value: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"output: {value}\n")
    with pytest.raises(InputError, match="give a folder, or a URL such as"):
        load_config(file)


@pytest.mark.parametrize("given", [Path("runs"), "s3://bucket/prefix"])
def test_a_config_keeps_it_through_json(given: Path | str) -> None:
    config = RunConfig(output=given)
    assert RunConfig.model_validate_json(config.model_dump_json()).output == given
    assert RunConfig.model_validate(config.model_dump(mode="json")).output == given
    assert TypeAdapter(Place).json_schema() == {"type": "string"}


def test_the_environment_says_where_if_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RunConfig().output == Path("runs")
    monkeypatch.setenv("FAIR_PRUNER_OUTPUT", "s3://bucket/prefix")
    assert RunConfig().output == "s3://bucket/prefix"
    assert RunConfig(output=Path("here")).output == Path("here")
