"""The files of a model on this machine: refused where they differ from the lock, named by their content without one."""

import ast
import json
import logging
import os
import re
from pathlib import Path

import pytest

from common.models import digests
from common.models.digests import sha256_of
from common.models.lock import Lock, LockedFile, LockedModel, read_lock, write_lock
from common.models.weights import UNLOCKED, find_weights
from common.runtime.errors import ConfigurationError
from common.settings import WeightsSettings, WeightsSource

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def settings(tmp_path: Path) -> WeightsSettings:
    return WeightsSettings(folder=tmp_path / "weights", lock_file=tmp_path / "weights.lock.json")


@pytest.fixture
def source() -> WeightsSource:
    return WeightsSource(id="owner/tiny", files=("config.json", "*.safetensors", "text/"))


@pytest.fixture
def folder(settings: WeightsSettings) -> Path:
    folder = settings.folder / "owner" / "tiny"
    (folder / "text").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"tensors")
    (folder / "text" / "vocab.txt").write_text("a b")
    (folder / "README.md").write_text("not named by the settings")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "left.safetensors").write_bytes(b"hidden")
    return folder


NAMES = ("config.json", "model.safetensors", "text/vocab.txt")


def lock(settings: WeightsSettings, folder: Path, names: tuple[str, ...] = NAMES) -> LockedModel:
    files = {name: LockedFile(size=(folder / name).stat().st_size, sha256=sha256_of(folder / name)) for name in names}
    model = LockedModel(origin="https://hub.test", requested="main", revision=COMMIT, files=files)
    write_lock(settings.lock_file, Lock().having("owner/tiny", model))
    return model


def refusal(source: WeightsSource, settings: WeightsSettings) -> str:
    with pytest.raises(ConfigurationError) as refused:
        find_weights(source, settings)
    line = str(refused.value)
    assert "\n" not in line
    assert "owner/tiny" in line
    return line


def test_locked_files_have_the_locked_commit(source: WeightsSource, settings: WeightsSettings, folder: Path) -> None:
    lock(settings, folder)
    found = find_weights(source, settings)
    assert (found.id, found.revision, found.folder) == ("owner/tiny", COMMIT, folder)
    assert found.file("config.json") == folder / "config.json"
    with pytest.raises(ConfigurationError, match=r"vocab\.bin is missing"):
        found.file("vocab.bin")


def test_no_folder_names_both_ways_out(source: WeightsSource, settings: WeightsSettings) -> None:
    line = refusal(source, settings)
    assert str(settings.folder / "owner" / "tiny") in line
    assert "imgdiff models download" in line
    assert "weights.path" in line


@pytest.mark.parametrize("locked", [True, False])
def test_a_named_file_is_missing(source: WeightsSource, settings: WeightsSettings, folder: Path, locked: bool) -> None:
    if locked:
        lock(settings, folder)
    (folder / "config.json").unlink()
    assert "config.json is missing" in refusal(source, settings)


def test_a_cut_file_is_refused_without_reading_it(
    source: WeightsSource, settings: WeightsSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(settings, folder)
    (folder / "model.safetensors").write_bytes(b"ten")
    monkeypatch.setattr(digests, "sha256_of", lambda path: pytest.fail(f"read {path}"))
    assert "model.safetensors has 3 bytes, expected 7" in refusal(source, settings)


def test_other_contents_of_the_same_size_are_refused(
    source: WeightsSource, settings: WeightsSettings, folder: Path
) -> None:
    model = lock(settings, folder)
    find_weights(source, settings)
    (folder / "model.safetensors").write_bytes(b"TENSORS")
    line = refusal(source, settings)
    assert model.files["model.safetensors"].sha256 in line
    assert str(settings.lock_file) in line


def test_a_file_that_nobody_locked_is_refused(source: WeightsSource, settings: WeightsSettings, folder: Path) -> None:
    lock(settings, folder)
    (folder / "extra.safetensors").write_bytes(b"whose?")
    assert "extra.safetensors is not in the lock file" in refusal(source, settings)


def test_a_lock_of_other_files_is_not_enough(source: WeightsSource, settings: WeightsSettings, folder: Path) -> None:
    lock(settings, folder, ("model.safetensors",))
    assert "config.json is not in the lock file; `imgdiff models download`" in refusal(source, settings)


def test_another_revision_than_the_locked_one_is_refused(
    source: WeightsSource, settings: WeightsSettings, folder: Path
) -> None:
    lock(settings, folder)
    named = source.model_copy(update={"revision": COMMIT})
    assert find_weights(named, settings).revision == COMMIT
    line = refusal(source.model_copy(update={"revision": "v2"}), settings)
    assert COMMIT in line
    assert "v2" in line


def test_a_folder_of_ones_own_under_a_locked_id_has_to_be_the_locked_files(
    source: WeightsSource, settings: WeightsSettings, folder: Path, tmp_path: Path
) -> None:
    lock(settings, folder)
    elsewhere = folder.rename(tmp_path / "elsewhere")
    local = source.model_copy(update={"path": elsewhere, "revision": "v2"})
    assert find_weights(local, settings).revision == COMMIT
    (elsewhere / "config.json").write_text("[]")
    assert "config.json has the SHA-256" in refusal(local, settings)


def test_unlocked_files_are_named_by_their_contents(
    source: WeightsSource, settings: WeightsSettings, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        first = find_weights(source, settings).revision
    assert re.fullmatch(rf"{UNLOCKED}[0-9a-f]{{12}}", first)
    assert "not pinned" in caplog.text
    os.utime(folder / "model.safetensors", (1, 1))
    (folder / "README.md").write_text("other")
    assert find_weights(source, settings).revision == first
    (folder / "model.safetensors").write_bytes(b"TENSORS")
    second = find_weights(source, settings).revision
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert len({first, second, find_weights(source, settings).revision}) == 3


def test_a_restart_reads_only_what_changed(
    source: WeightsSource, settings: WeightsSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def reading(path: Path) -> str:
        read.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(digests, "sha256_of", reading)
    lock(settings, folder)
    find_weights(source, settings)
    assert sorted(read) == ["config.json", "model.safetensors", "vocab.txt"]
    read.clear()
    find_weights(source, settings)
    assert read == []
    os.utime(folder / "config.json", ns=(1, 1))
    find_weights(source, settings)
    assert read == ["config.json"]
    read.clear()
    find_weights(source, settings, trusting=False)
    assert sorted(read) == ["config.json", "model.safetensors", "vocab.txt"]


@pytest.mark.parametrize("memory", ["", "[]", '{"config.json": 3}'])
def test_a_broken_memory_is_only_read_past(
    source: WeightsSource, settings: WeightsSettings, folder: Path, memory: str
) -> None:
    lock(settings, folder)
    find_weights(source, settings)
    (path,) = (settings.folder / ".digests").iterdir()
    path.write_text(memory)
    assert find_weights(source, settings).revision == COMMIT
    assert "model.safetensors" in json.loads(path.read_text())


def test_no_place_for_the_memory_costs_only_time(
    source: WeightsSource, settings: WeightsSettings, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock(settings, folder)
    (settings.folder / ".digests").write_text("in the way")
    assert find_weights(source, settings).revision == COMMIT
    assert "the next start reads the files again" in caplog.text


def test_a_pickle_beside_safetensors_is_nobodys(settings: WeightsSettings, folder: Path, source: WeightsSource) -> None:
    both = source.model_copy(update={"files": (*source.files, "pytorch_model*.bin", "whole.bin")})
    before = find_weights(source, settings).revision
    (folder / "pytorch_model-1.bin").write_bytes(b"the same once more")
    assert find_weights(both, settings).revision == before
    lock(settings, folder)
    assert find_weights(both, settings).revision == COMMIT
    (folder / "model.safetensors").unlink()
    settings.lock_file.unlink()
    assert "whole.bin is missing" in refusal(both, settings)


def test_a_pickle_alone_counts(settings: WeightsSettings, folder: Path, source: WeightsSource) -> None:
    (folder / "model.safetensors").rename(folder / "model.bin")
    pickled = source.model_copy(update={"files": ("*.bin",)})
    first = find_weights(pickled, settings).revision
    (folder / "model.bin").write_bytes(b"TENSORS")
    assert find_weights(pickled, settings).revision != first


def test_a_lock_is_written_alike_whatever_the_order(settings: WeightsSettings, folder: Path, tmp_path: Path) -> None:
    model = lock(settings, folder)
    turned = model.model_copy(update={"files": dict(reversed(model.files.items()))})
    write_lock(tmp_path / "turned.json", Lock().having("owner/tiny", turned))
    assert (tmp_path / "turned.json").read_bytes() == settings.lock_file.read_bytes()
    assert read_lock(settings.lock_file).models["owner/tiny"] == model


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 2}',
        '{"models": {"a/b": {"origin": "", "requested": "", "revision": "", "files": 3}}}',
    ],
)
def test_a_broken_lock_is_one_line(source: WeightsSource, settings: WeightsSettings, folder: Path, text: str) -> None:
    settings.lock_file.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        find_weights(source, settings)
    assert str(refused.value).startswith(f"lock file {settings.lock_file}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["/etc/passwd", "../other/model.bin", "a/../../b", "a//b"])
def test_a_lock_names_no_file_outside_the_folder(settings: WeightsSettings, folder: Path, name: str) -> None:
    model = lock(settings, folder)
    value = Lock().having("owner/tiny", model).model_dump(mode="json")
    value["models"]["owner/tiny"]["files"][name] = {"size": 1, "sha256": "0" * 64}
    settings.lock_file.write_text(json.dumps(value))
    with pytest.raises(ConfigurationError, match="no path inside the model's folder"):
        read_lock(settings.lock_file)


PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas"}
UNPICKLERS = {"load", "loads", "Unpickler", "read_pickle", "open"}


def unrestricted(tree: ast.AST) -> list[str]:
    """Calls that may run what a file says: an unpickler without limits, or code that comes with a checkpoint."""
    return [f"{ast.unparse(node)[:80]}" for node in ast.walk(tree) if isinstance(node, ast.Call) and _runs_files(node)]


def _runs_files(call: ast.Call) -> bool:
    given = {keyword.arg: keyword.value for keyword in call.keywords}

    def says(name: str, value: bool) -> bool:
        said = given.get(name)
        return isinstance(said, ast.Constant) and said.value is value

    called = ast.unparse(call.func)
    module, _, function = called.rpartition(".")
    return (
        (called == "torch.load" and not says("weights_only", True))
        or called in {"torch.jit.load", "torch.hub.load"}
        or (module.partition(".")[0] in PICKLES and function in UNPICKLERS)
        or ("trust_remote_code" in given and not says("trust_remote_code", False))
        or ("allow_pickle" in given and not says("allow_pickle", False))
        or ("safe_only" in given and not says("safe_only", True))
    )


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=flag)", True),
        ("torch.load(path, map_location='cpu', weights_only=True)", False),
        ("pickle.loads(data)", True),
        ("pickle.Unpickler(file)", True),
        ("json.loads(data)", False),
        ("AutoModel.from_pretrained(folder, trust_remote_code=True)", True),
        ("np.load(path, allow_pickle=True)", True),
        ("torch_safe_load(path, safe_only=False)", True),
    ],
)
def test_the_search_for_unpicklers_finds_them(text: str, caught: bool) -> None:
    assert bool(unrestricted(ast.parse(text))) is caught


def test_nothing_unpickles_without_limits() -> None:
    files = [path for package in ("schemas", "common", "workers", "ops") for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    found = {str(path.relative_to(ROOT)): unrestricted(ast.parse(path.read_text())) for path in files}
    assert {path: calls for path, calls in found.items() if calls} == {}
    direct = re.compile(r"^\s*from (pickle|torch) import .*\b(load|loads|Unpickler)\b", re.MULTILINE)
    assert [str(path) for path in files if direct.search(path.read_text())] == []
