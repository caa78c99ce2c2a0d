"""Fetches weights and locks what came: the same call again fetches what the lock says, on any machine."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from common.models.digests import sha256_of
from common.models.lock import LockedFile, LockedModel, read_lock, write_lock
from common.models.weights import answers, digests_of, files_in, folder_of, requested_of
from common.runtime.errors import ConfigurationError
from common.settings import WeightsSettings, WeightsSource
from ops.models.fetch import Told, fetch
from ops.models.hub import Hub, HubModel

BY_DIGEST = "sha256:"
"""How the revision of a file begins that has no other than its own content."""

_DIGITS = 12


@dataclass(slots=True)
class Downloader:
    """Downloads into the folder of the settings. `say` is told what begins, `told` how a file from a URL gets on."""

    settings: WeightsSettings
    say: Callable[[str], None]
    told: Told
    bars: bool
    update: bool = False
    _hub: Hub | None = field(default=None, init=False)

    def download(self, source: WeightsSource) -> LockedModel | None:
        """Fetch and lock a model; None for a folder of the user's own, which is not touched.

        With `update` a branch is looked up anew; else what the lock answers is fetched again as it was.
        Raises ConfigurationError or TransientError, each in one line.
        """
        if source.path is not None:
            self.say(f"{source.id}: in {source.path}, nothing to download")
            return None
        locked = read_lock(self.settings.lock_file).models.get(source.id)
        kept = locked if locked is not None and not self.update and answers(locked, source) else None
        folder = folder_of(source, self.settings)
        try:
            with _no_empty_folders(folder):
                found = (self._from_hub if source.url is None else self._from_url)(source, folder, kept)
            self._lock(source, folder, locked, found)
        except OSError as error:
            raise ConfigurationError(f"weights of {source.id}: {error}") from error
        return found

    def _from_hub(self, source: WeightsSource, folder: Path, kept: LockedModel | None) -> LockedModel:
        if self._hub is None:
            self._hub = Hub(self.settings.hub, bars=self.bars)
        model = self._hub.find(source, kept.revision if kept is not None else source.revision)
        self.say(
            f"{source.id}: {len(model.files)} files, {model.size / 1e9:.2f} GB, from {model.hub} at {model.commit}"
        )
        digests = digests_of(source, self.settings)
        for name, sha256 in digests.of(name for name in files_in(folder, source.files) if name in model.files).items():
            if not model.files[name].is_at(folder / name, sha256):
                self.say(f"{source.id}: {name} here is another, fetched again")
                (folder / name).unlink()
        self._hub.fetch(model, folder)
        found = digests.of(model.files)
        _check_announced(model, folder, found)
        files = {name: LockedFile(size=(folder / name).stat().st_size, sha256=found[name]) for name in found}
        if kept is not None:
            _check_kept(source, folder, kept, files)
            files = {**kept.files, **files}
        return LockedModel(origin=model.hub, requested=source.revision, revision=model.commit, files=files)

    def _from_url(self, source: WeightsSource, folder: Path, kept: LockedModel | None) -> LockedModel:
        assert source.url is not None
        (name,) = source.files
        path = folder / name
        wanted = kept.files.get(name) if kept is not None else None
        if wanted is None or not path.is_file() or sha256_of(path) != wanted.sha256:
            self.say(f"{source.id}: {name} from {source.url}")
            path.unlink(missing_ok=True)
            fetch(source.url, path, self.told)
        sha256 = sha256_of(path)
        files = {name: LockedFile(size=path.stat().st_size, sha256=sha256)}
        if kept is not None:
            _check_kept(source, folder, kept, files)
        parts = urlsplit(source.url)
        return LockedModel(
            origin=f"{parts.scheme}://{parts.netloc}",
            requested=requested_of(source),
            revision=BY_DIGEST + sha256[:_DIGITS],
            files=files,
        )

    def _lock(self, source: WeightsSource, folder: Path, before: LockedModel | None, found: LockedModel) -> None:
        # What an older revision left would be taken for part of this one.
        if before is not None:
            for name in set(before.files) - set(found.files):
                (folder / name).unlink(missing_ok=True)
        # Read again: another download may have written in between.
        lock = read_lock(self.settings.lock_file)
        write_lock(self.settings.lock_file, lock.having(source.id, found))


@contextmanager
def _no_empty_folders(folder: Path) -> Iterator[None]:
    """A download that brings nothing takes away the folders that it made: they would look like a model."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    finally:
        for each in made:
            with suppress(OSError):  # something lies in it
                each.rmdir()


def _check_announced(model: HubModel, folder: Path, digests: Mapping[str, str]) -> None:
    """What is not as the hub announced it does not stay: a later download would keep it."""
    for name, file in model.files.items():
        if not file.is_at(folder / name, digests[name]):
            (folder / name).unlink()
            raise ConfigurationError(
                f"weights of {model.id}: {model.hub} sent a {name} that differs from what it announced "
                f"({_described(file.size, file.sha256 or file.git_sha1)}): removed; try again, or another `weights.hub`"
            )


def _check_kept(source: WeightsSource, folder: Path, kept: LockedModel, files: Mapping[str, LockedFile]) -> None:
    """The same revision has to bring the same bytes as when it was locked."""
    for name, file in files.items():
        wanted = kept.files.get(name)
        if wanted is not None and wanted != file:
            (folder / name).unlink()
            raise ConfigurationError(
                f"weights of {source.id}: {name} came with the SHA-256 {file.sha256}, the lock file has {wanted.sha256} for "
                f"{kept.requested}: removed; `--update` locks what is there now"
            )


def _described(size: int | None, digest: str | None) -> str:
    return ", ".join(filter(None, [f"{size} bytes" if size is not None else "", f"digest {digest}" if digest else ""]))
