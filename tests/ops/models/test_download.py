"""Downloads from a hub on this machine, through the hub's real client."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from common.models.lock import LockedModel, read_lock
from common.models.weights import find_weights
from common.runtime.errors import ConfigurationError, TransientError
from common.settings import WeightsSettings, WeightsSource
from ops.models import fetch as fetching
from ops.models.download import Downloader
from tests.ops.models.hub_server import HubServer, commit_of, serving

TENSORS = bytes(range(256)) * 4_000
FILES = {
    "config.json": b'{"a": 1}',
    "model.safetensors": TENSORS,
    "text/vocab.txt": b"a b",
    "pytorch_model.bin": b"not asked for",
    ".gitattributes": b"hidden",
}
SOURCE = WeightsSource(id="owner/tiny", files=("config.json", "*.safetensors", "text/"))
NEEDED = {"config.json", "model.safetensors", "text/vocab.txt"}


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with serving() as server:
        server.models["owner/tiny"] = dict(FILES)
        yield server


@dataclass
class Place:
    """One machine: a folder for weights, and what was said."""

    settings: WeightsSettings
    said: list[str] = field(default_factory=list)

    def download(self, source: WeightsSource = SOURCE, *, update: bool = False) -> LockedModel:
        done = Downloader(self.settings, self.said.append, lambda done, total: None, bars=False, update=update)
        model = done.download(source)
        assert model is not None
        return model

    @property
    def folder(self) -> Path:
        return self.settings.folder / "owner" / "tiny"

    def files(self) -> set[str]:
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return {path.as_posix() for path in found if not path.parts[0].startswith(".")}


def place_at(folder: Path, hub: str, lock: Path | None = None) -> Place:
    return Place(WeightsSettings(folder=folder / "weights", lock_file=lock or folder / "lock.json", hub=hub))


@pytest.fixture
def place(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return place_at(tmp_path, hub.url)


def refusal(place: Place, kind: type[Exception] = ConfigurationError, source: WeightsSource = SOURCE) -> str:
    with pytest.raises(kind) as refused:
        place.download(source)
    assert type(refused.value) is kind
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_a_download_is_whole_locked_and_found(place: Place, hub: HubServer) -> None:
    model = place.download()
    assert place.files() == NEEDED
    assert (place.folder / "model.safetensors").read_bytes() == TENSORS
    assert model.revision == commit_of(FILES)
    assert (model.origin, model.requested) == (hub.url, "main")
    assert model.files["model.safetensors"].sha256 == hashlib.sha256(TENSORS).hexdigest()
    assert set(model.files) == NEEDED
    assert read_lock(place.settings.lock_file).models == {"owner/tiny": model}
    assert find_weights(SOURCE, place.settings).revision == model.revision
    assert any("3 files" in line and model.revision in line for line in place.said)


def test_pickles_are_fetched_only_where_there_is_nothing_else(place: Place, hub: HubServer) -> None:
    both = SOURCE.model_copy(update={"files": ("config.json", "*.safetensors", "pytorch_model*.bin")})
    assert set(place.download(both).files) == {"config.json", "model.safetensors"}
    del hub.models["owner/tiny"]["model.safetensors"]
    moved = place.download(both, update=True)
    assert set(moved.files) == place.files() == {"config.json", "pytorch_model.bin"}


def test_a_second_download_fetches_nothing_and_writes_the_same_lock(place: Place, hub: HubServer) -> None:
    place.download()
    before = place.settings.lock_file.read_bytes()
    hub.requests.clear()
    place.download()
    assert [path for method, path, _ in hub.requests if "resolve" in path] == []
    assert place.settings.lock_file.read_bytes() == before


def test_a_cut_connection_is_gone_on_with(place: Place, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the client has not written yet is lost with the connection; its chunks are larger than this whole file.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.cuts["model.safetensors"] = 100_000
    place.download()
    first, second = hub.asked("GET", "/model.safetensors")
    assert first is None
    assert second == "bytes=100000-"
    assert (place.folder / "model.safetensors").read_bytes() == TENSORS


def test_a_later_download_keeps_what_is_whole(place: Place, hub: HubServer) -> None:
    hub.forged["model.safetensors"] = TENSORS[::-1]
    refusal(place)
    assert not place.settings.lock_file.exists()
    hub.forged.clear()
    hub.requests.clear()
    place.download()
    assert hub.asked("GET", "/config.json") == []
    assert hub.asked("GET", "/model.safetensors") == [None]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_the_announced_one_is_refused_and_removed(place: Place, hub: HubServer, name: str) -> None:
    hub.forged[name] = FILES[name][::-1]
    line = refusal(place)
    assert name in line
    assert "differs from what it announced" in line
    assert hub.url in line
    assert not (place.folder / name).exists()
    assert not place.settings.lock_file.exists()


def test_a_damaged_file_is_fetched_again(place: Place, hub: HubServer) -> None:
    place.download()
    (place.folder / "model.safetensors").write_bytes(TENSORS[::-1])
    hub.requests.clear()
    place.download()
    assert hub.asked("GET", "/model.safetensors") == [None]
    assert (place.folder / "model.safetensors").read_bytes() == TENSORS


def test_a_lock_brings_the_same_commit_to_another_machine(place: Place, hub: HubServer, tmp_path: Path) -> None:
    first = place.download()
    hub.tags["owner/tiny"] = {"old": dict(FILES)}
    hub.models["owner/tiny"]["config.json"] = b"moved on"
    other = place_at(tmp_path / "other", hub.url, place.settings.lock_file)
    assert other.download() == first
    assert (other.folder / "config.json").read_bytes() == FILES["config.json"]


def test_update_moves_on_and_leaves_nothing_of_the_old_revision(place: Place, hub: HubServer) -> None:
    place.download()
    hub.models["owner/tiny"] = {**FILES, "config.json": b"moved on", "new.safetensors": b"new"}
    del hub.models["owner/tiny"]["model.safetensors"]
    moved = place.download(update=True)
    assert moved.revision == commit_of(hub.models["owner/tiny"])
    assert place.files() == set(moved.files) == {"config.json", "new.safetensors", "text/vocab.txt"}
    assert find_weights(SOURCE, place.settings).revision == moved.revision


def test_a_revision_of_ones_own_is_fetched_and_found(place: Place, hub: HubServer) -> None:
    hub.tags["owner/tiny"] = {"v2": {**FILES, "config.json": b"second"}}
    place.download()
    second = SOURCE.model_copy(update={"revision": "v2"})
    with pytest.raises(ConfigurationError, match="the settings name v2"):
        find_weights(second, place.settings)
    model = place.download(second)
    assert (model.requested, model.revision) == ("v2", commit_of(hub.tags["owner/tiny"]["v2"]))
    assert find_weights(second, place.settings).revision == model.revision


def test_the_files_of_two_roles_are_locked_together(place: Place) -> None:
    place.download(SOURCE.model_copy(update={"files": ("config.json",)}))
    model = place.download(SOURCE.model_copy(update={"files": ("*.safetensors",)}))
    assert set(model.files) == {"config.json", "model.safetensors"}


def test_a_locked_file_that_came_otherwise_is_refused(place: Place, hub: HubServer) -> None:
    place.download()
    lock = json.loads(place.settings.lock_file.read_text())
    lock["models"]["owner/tiny"]["files"]["config.json"]["sha256"] = "0" * 64
    place.settings.lock_file.write_text(json.dumps(lock))
    line = refusal(place)
    assert "config.json came with the SHA-256" in line
    assert "--update" in line


def test_a_folder_of_ones_own_is_left_alone(place: Place, hub: HubServer, tmp_path: Path) -> None:
    done = Downloader(place.settings, place.said.append, lambda done, total: None, bars=False)
    assert done.download(SOURCE.model_copy(update={"path": tmp_path})) is None
    assert hub.requests == []
    assert not place.settings.lock_file.exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (WeightsSource(id="owner/none"), "has no such model"),
        (SOURCE.model_copy(update={"revision": "v9"}), "has no revision v9"),
        (SOURCE.model_copy(update={"files": ("absent.json",)}), "has no file absent.json in the revision main"),
        (SOURCE.model_copy(update={"files": ("*.onnx",)}), r"has no file \*.onnx"),
        (SOURCE.model_copy(update={"id": "no good/id at all"}), "does not answer as a hub does"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(place: Place, source: WeightsSource, said: str) -> None:
    line = refusal(place, source=source)
    assert said.replace("\\", "") in line
    assert f"weights of {source.id}" in line
    assert not place.settings.lock_file.exists()


def test_a_gated_model_names_the_token(place: Place, hub: HubServer) -> None:
    hub.gated.add("owner/tiny")
    assert "HF_TOKEN" in refusal(place)


def test_a_file_name_that_leads_out_of_the_folder_is_refused(place: Place, hub: HubServer, tmp_path: Path) -> None:
    hub.models["owner/tiny"]["../../../out.safetensors"] = b"out"
    assert "out.safetensors" in refusal(place)
    assert list(tmp_path.rglob("out.safetensors")) == []


def test_no_network_is_one_line(place: Place, tmp_path: Path) -> None:
    line = refusal(place_at(tmp_path, "http://127.0.0.1:1"), TransientError)
    assert "http://127.0.0.1:1 can not be reached" in line
    assert not place.settings.folder.exists()


def test_offline_by_its_own_variable_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    try:
        assert "HF_HUB_OFFLINE" in refusal(place)
    finally:
        monkeypatch.undo()
        close_session()


def test_a_mirror_is_asked_and_nobody_else(place: Place, hub: HubServer, tmp_path: Path) -> None:
    with serving() as mirror:
        mirror.models["owner/tiny"] = dict(FILES)
        model = place_at(tmp_path / "mirrored", f"{mirror.url}/").download()
        assert model.origin == mirror.url
        assert mirror.asked("GET", "/model.safetensors") == [None]
    assert hub.requests == []


# A single file from a URL.

FILE = "/releases/v1/tiny.pt"


@pytest.fixture
def single(hub: HubServer) -> WeightsSource:
    hub.plain[FILE] = TENSORS
    return WeightsSource(id="owner/tiny", url=f"{hub.url}{FILE}", files=("tiny.pt",))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSE_S", 0.0)


def test_a_file_from_a_url_goes_by_its_digest(place: Place, hub: HubServer, single: WeightsSource) -> None:
    model = place.download(single)
    sha256 = hashlib.sha256(TENSORS).hexdigest()
    assert model.revision == f"sha256:{sha256[:12]}"
    assert (model.origin, model.requested) == (hub.url, single.url)
    assert find_weights(single, place.settings).revision == model.revision
    assert place.files() == {"tiny.pt"}
    hub.requests.clear()
    assert place.download(single) == model
    assert hub.requests == []


def test_a_url_that_moved_is_another_revision(place: Place, hub: HubServer, single: WeightsSource) -> None:
    place.download(single)
    hub.plain["/releases/v2/tiny.pt"] = TENSORS[::-1]
    moved = single.model_copy(update={"url": f"{hub.url}/releases/v2/tiny.pt"})
    with pytest.raises(ConfigurationError, match="/releases/v2/"):
        find_weights(moved, place.settings)
    place.download(moved)
    assert (place.folder / "tiny.pt").read_bytes() == TENSORS[::-1]
    assert find_weights(moved, place.settings).revision.startswith("sha256:")


def test_a_locked_url_has_to_bring_the_same_bytes(place: Place, hub: HubServer, single: WeightsSource) -> None:
    place.download(single)
    (place.folder / "tiny.pt").unlink()
    hub.plain[FILE] = TENSORS[::-1]
    assert "tiny.pt came with the SHA-256" in refusal(place, source=single)
    assert not (place.folder / "tiny.pt").exists()


def test_a_cut_file_from_a_url_is_gone_on_with(place: Place, hub: HubServer, single: WeightsSource) -> None:
    hub.cuts[FILE] = 1_000
    place.download(single)
    assert hub.asked("GET", FILE) == [None, "bytes=1000-"]
    assert (place.folder / "tiny.pt").read_bytes() == TENSORS


def test_a_later_process_goes_on_with_a_cut_file(place: Place, hub: HubServer, single: WeightsSource) -> None:
    hub.cuts[FILE] = 1_000
    with pytest.raises(KeyboardInterrupt):
        Downloader(place.settings, place.said.append, _interrupt, bars=False).download(single)
    assert place.files() == set()
    hub.requests.clear()
    place.download(single)
    assert hub.asked("GET", FILE) == ["bytes=1000-"]
    assert (place.folder / "tiny.pt").read_bytes() == TENSORS


def _interrupt(done: int, total: int | None) -> None:
    assert total == len(TENSORS)
    raise KeyboardInterrupt


@pytest.mark.parametrize("tagged", [True, False])
def test_a_file_that_changed_since_the_cut_is_fetched_anew(
    place: Place, hub: HubServer, single: WeightsSource, tagged: bool
) -> None:
    hub.tagged = tagged
    hub.cuts[FILE] = 1_000
    with pytest.raises(KeyboardInterrupt):
        Downloader(place.settings, place.said.append, _interrupt, bars=False).download(single)
    hub.plain[FILE] = TENSORS[::-1]
    place.download(single)
    assert (place.folder / "tiny.pt").read_bytes() == TENSORS[::-1]


def test_a_url_without_a_file_is_one_line(place: Place, hub: HubServer, single: WeightsSource) -> None:
    hub.plain.clear()
    assert f"{single.url}: 404" in refusal(place, source=single)


def test_a_url_out_of_reach_is_one_line(place: Place, single: WeightsSource) -> None:
    away = single.model_copy(update={"url": "http://127.0.0.1:1/tiny.pt"})
    assert "http://127.0.0.1:1/tiny.pt: " in refusal(place, TransientError, away)


def test_a_download_that_brings_nothing_leaves_no_folder_that_was_not_there(
    place: Place, hub: HubServer, single: WeightsSource
) -> None:
    hub.plain.clear()
    place.settings.folder.mkdir()
    refusal(place, source=single)
    assert list(place.settings.folder.iterdir()) == []
    place.settings.folder.rmdir()
    refusal(place, source=single)
    assert not place.settings.folder.exists()
