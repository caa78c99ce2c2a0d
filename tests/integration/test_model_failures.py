"""What a user sees of a model that can not be had: a real worker process says so in one line, and takes no record."""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from common.kafka import Message
from schemas.topics import BOXES, EDITS
from tests.integration.kit import Stream, WorkerProcess, wait_until
from tests.scripted_endpoint import Answer, ScriptedEndpoint

SETTINGS = {"IMGDIFF_PROFILE": "paper", "IMGDIFF_COMPUTE__DEVICE": "cpu", "IMGDIFF_COMPUTE__DTYPE": "float32"}
DEADLINE_S = 120
"""For all of them together: they start at once, and torch takes each of them seconds to import."""

HTML = Answer(body=b"<html>It works!</html>")

SAID = {
    "no checkpoint": r"weights of tiny/nowhere: no folder {folder}/nowhere; `imgdiff models download` fetches them",
    "truncated": r"weights of tiny/truncated in {folder}/truncated: SafetensorError: ",
    "malicious": r"weights of tiny/malicious in {folder}/malicious: a pickle that asks for posix\.mkdir: refused",
    "another model": r"weights of tiny/llama in {folder}/llama: found a model of the type 'llama', expected 'blip'",
    "no device": r"setting `compute\.device`: found 'cuda:63', .*expected ",
    "web server": r"setting `models\.caption_editor\.options\.base_url`: .* is no list of models",
    "nonsense": r"settings `models\.caption_editor\.options`: a first request came to nothing: ",
}
"""How the one line begins, by fault."""


@dataclass(frozen=True)
class Bed:
    """A stream with a record for each of two workers, and the workers that were started on it, each with one fault."""

    stream: Stream
    folder: Path
    workers: Mapping[str, WorkerProcess]

    @property
    def target(self) -> Path:
        """What the payload makes."""
        return self.folder / "payload ran"


def weights_of(role: str, folder: Path) -> dict[str, str]:
    variable = f"IMGDIFF_MODELS__{role.upper()}__WEIGHTS__"
    return {f"{variable}ID": f"tiny/{folder.name}", f"{variable}PATH": str(folder)}


def sketched(*roles: str) -> dict[str, str]:
    return {f"IMGDIFF_MODELS__{role.upper()}__ADAPTER": "sketch" for role in roles}


def endpoint(base_url: str) -> dict[str, str]:
    options = "IMGDIFF_MODELS__CAPTION_EDITOR__OPTIONS__"
    return {
        "IMGDIFF_MODELS__CAPTION_EDITOR__ADAPTER": "endpoint",
        f"{options}BASE_URL": base_url,
        f"{options}MODEL": "tiny",
        f"{options}TIMEOUT_S": "300",
    }


@pytest.fixture(scope="module")
def bed(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    # Not above: every process that collects tests would import torch, which takes it seconds.
    from tests.tiny import broken

    folder = tmp_path_factory.mktemp("failures")
    stream = Stream(broker, f"test-{uuid4().hex[:12]}", folder, partitions=1, environ=SETTINGS).create()
    stream.produce_captions(["A dog sits on a sofa."])
    # Whoever takes it makes a dead letter of it.
    stream.produce([Message(stream.names.topic(BOXES.reads), key=b"1", value=b"no pair", headers=[], partition=0)])
    faults = {
        "no checkpoint": weights_of("image_encoder", folder / "nowhere"),
        "truncated": weights_of("image_encoder", broken.truncated(folder / "truncated")),
        "malicious": sketched("image_encoder")
        | weights_of("segmenter", broken.malicious(folder / "malicious", folder / "payload ran")),
        "another model": sketched("image_encoder", "segmenter")
        | weights_of("image_text_matcher", broken.another(folder / "llama")),
        "no device": weights_of("image_encoder", broken.whole(folder / "whole"))
        | {"IMGDIFF_COMPUTE__DEVICE": "cuda:63"},
    }
    with ExitStack() as ends:
        ends.callback(stream.end)
        pages = ends.enter_context(ScriptedEndpoint(lambda _: None, model_list=HTML))
        nonsense = ends.enter_context(ScriptedEndpoint(lambda _: None, first=HTML))
        workers = {name: stream.start("workers.boxes", name, **fault) for name, fault in faults.items()}
        for name, server in (("web server", pages), ("nonsense", nonsense)):
            workers[name] = stream.start("workers.edits", name, **endpoint(server.base_url))
        yield Bed(stream, folder, workers)


@pytest.mark.long
@pytest.mark.parametrize("name", SAID)
def test_it_is_one_line_and_the_worker_ends_before_it_takes_a_record(bed: Bed, name: str) -> None:
    worker = bed.workers[name]
    assert worker.wait(DEADLINE_S) == 78
    (line,) = worker.lines("ERROR")
    assert re.match("start: " + SAID[name].format(folder=re.escape(str(bed.folder))), line), line
    # No progress bars, no tracebacks, no warnings of libraries.
    assert worker.strays == []
    for route in (BOXES, EDITS):
        assert bed.stream.counters(route.worker).consumed == 0
        assert bed.stream.read(route.failed) == []


@pytest.mark.long
def test_the_payload_of_a_checkpoint_does_not_run(bed: Bed) -> None:
    from tests.tiny import broken

    assert bed.workers["malicious"].wait(DEADLINE_S) == 78
    assert not bed.target.exists()
    broken.set_off(bed.folder / "malicious")
    assert bed.target.exists(), "the trap itself works"


@pytest.mark.long
def test_a_worker_that_is_told_to_stop_while_its_models_load_does_so_at_once(bed: Bed) -> None:
    # It takes connections and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        worker = bed.stream.start("workers.edits", **endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}/v1"))
        connection, _ = silent.accept()
        with connection:
            wait_until("its page", lambda: worker.http("/livez")[0] == 200)
            assert worker.stop(10) == 0
    assert worker.lines("INFO")[-1] == "stopped before it had begun"
    assert worker.lines("ERROR") == worker.strays == []
