"""`imgdiff models` as people meet it: what is listed, what a check says, and one line where something is wrong."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.settings import profile_names
from ops.cli.main import main
from tests.ops.models.hub_server import HubServer, commit_of, serving

TENSORS = b"tensors" * 1_000
FILES = {"config.json": b"{}", "model.safetensors": TENSORS}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with serving() as server:
        server.models["owner/tiny"] = dict(FILES)
        yield server


@pytest.fixture
def settings(here: Path, hub: HubServer) -> list[str]:
    """Settings in which two roles share one model, and the others need no weights."""
    file = here / "settings.toml"
    weights = 'weights = { id = "owner/tiny", files = ["config.json", "*.safetensors"] }'
    file.write_text(
        f'[weights]\nhub = "{hub.url}"\n'
        f'[models]\nimage_encoder = {{ adapter = "clip", {weights} }}\ntext_encoder = {{ adapter = "clip", {weights} }}\n'
    )
    return ["--settings", str(file)]


def listed(settings: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main(["models", "list", "--json", *settings]) == 0
    return {each["role"]: each for each in json.loads(capsys.readouterr().out)["models"]}


def test_from_missing_to_locked(
    settings: list[str], hub: HubServer, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listed(settings, capsys)
    assert before["caption_editor"]["weights"] is None
    weights = before["image_encoder"]["weights"]
    assert isinstance(weights, dict)
    assert (weights["state"], weights["pinned"], weights["revision"], weights["bytes"]) == (
        "missing",
        False,
        "main",
        None,
    )
    assert main(["models", "check", *settings]) == 78
    assert "imgdiff models download" in capsys.readouterr().out

    assert main(["models", "download", *settings]) == 0
    said = capsys.readouterr()
    commit = commit_of(FILES)
    assert said.out == f"owner/tiny\t{commit}\t{len(TENSORS) + 2}\n"
    assert "terms as its publisher states them: not known here" in said.err
    assert len(hub.asked("GET", "/model.safetensors")) == 1

    after = listed(settings, capsys)["text_encoder"]["weights"]
    assert isinstance(after, dict)
    assert (after["state"], after["pinned"], after["revision"], after["bytes"]) == (
        "locked",
        True,
        commit,
        len(TENSORS) + 2,
    )
    assert main(["models", "check", *settings]) == 0
    assert capsys.readouterr().out == f"owner/tiny: {commit}\n"


def test_a_check_reads_the_files_again(settings: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "download", *settings])
    path = here / ".imgdiff" / "weights" / "owner" / "tiny" / "model.safetensors"
    path.write_bytes(TENSORS[::-1])
    capsys.readouterr()
    assert main(["models", "check", *settings]) == 78
    assert "model.safetensors has the SHA-256" in capsys.readouterr().out
    assert main(["models", "check", "--json", *settings]) == 78
    (found,) = json.loads(capsys.readouterr().out)["models"]
    assert "model.safetensors" in found["problem"]


@pytest.mark.parametrize(
    ("change", "state", "detail"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "partial", "model.safetensors is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "differs", "has 3 bytes"),
        (
            lambda folder: (folder / "b.safetensors").write_bytes(b"whose"),
            "differs",
            "b.safetensors is not in the lock",
        ),
        (lambda folder: (folder.parents[2] / "weights.lock.json").unlink(), "complete", ""),
    ],
)
def test_what_is_there_is_said(
    settings: list[str], here: Path, capsys: pytest.CaptureFixture[str], *, change: object, state: str, detail: str
) -> None:
    main(["models", "download", *settings])
    assert callable(change)
    change(here / ".imgdiff" / "weights" / "owner" / "tiny")
    weights = listed(settings, capsys)["image_encoder"]["weights"]
    assert isinstance(weights, dict)
    assert weights["state"] == state
    assert detail in (weights["detail"] or "")


def test_another_revision_than_the_locked_one_differs(settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "download", *settings])
    both = [f"models.{role}.weights.revision=v2" for role in ("image_encoder", "text_encoder")]
    flags = [*settings, "--set", both[0], "--set", both[1]]
    weights = listed(flags, capsys)["image_encoder"]["weights"]
    assert isinstance(weights, dict)
    assert (weights["state"], weights["pinned"]) == ("differs", False)


def test_a_profile_without_weights_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--profile", "sketch"]) == 0
    assert "the profile sketch needs no weights" in capsys.readouterr().err
    assert main(["models", "check", "--profile", "sketch"]) == 0
    assert "the profile sketch needs no weights" in capsys.readouterr().out
    assert main(["models", "download", "--profile", "sketch"]) == 0
    assert "nothing to download" in capsys.readouterr().err


@pytest.mark.parametrize("profile", profile_names())
def test_every_profile_is_listed_with_licences_and_nothing_invented(
    profile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for role, model in listed(["--profile", profile], capsys).items():
        weights = model["weights"]
        if weights is None:
            continue
        assert isinstance(weights, dict)
        assert weights["licence"], f"{role}: {weights['id']} has no licence in ops/models/licences.py"
        assert (weights["state"], weights["pinned"], weights["bytes"]) == ("missing", False, None)
        assert weights["computed_bytes"], f"{role}: {weights['id']} has no size in ops/models/sizes.py"


@pytest.mark.parametrize("profile", ["paper", "code", "recipe"])
def test_the_total_before_the_download_counts_each_model_once(profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json", "--profile", profile]) == 0
    found = json.loads(capsys.readouterr().out)
    sizes = {each["weights"]["id"]: each["weights"]["computed_bytes"] for each in found["models"]}
    assert len(sizes) < len(found["models"])
    assert found["total"] == {"bytes": sum(sizes.values()), "computed": True, "unknown": []}

    assert main(["models", "list", "--profile", profile]) == 0
    shown = capsys.readouterr()
    assert f"~{sum(sizes.values()) / 1e9:.1f} GB in all, each model once" in shown.err
    editor = next(line for line in shown.out.splitlines() if line.startswith("caption_editor\t"))
    assert f"\t~{found['models'][0]['weights']['computed_bytes'] / 1e9:.1f} GB\tmissing" in editor


def test_another_model_is_not_shown_with_the_size_of_the_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--profile", "recipe", "--set", "models.caption_editor.weights.id=owner/other"]
    weights = listed(flags, capsys)["caption_editor"]["weights"]
    assert isinstance(weights, dict)
    assert (weights["bytes"], weights["computed_bytes"]) == (None, None)
    main(["models", "list", *flags])
    assert "in all, each model once, without owner/other: not known here" in capsys.readouterr().err


def test_a_folder_of_ones_own_is_no_part_of_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--profile", "recipe", "--set", "models.caption_editor.weights.path=mine"]
    assert main(["models", "list", "--json", *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"][0]["weights"]["computed_bytes"] is None
    sizes = {each["weights"]["id"]: each["weights"]["computed_bytes"] for each in found["models"][1:]}
    assert found["total"] == {"bytes": sum(sizes.values()), "computed": True, "unknown": []}


def test_the_locked_size_counts_once_it_is_there(
    settings: list[str], hub: HubServer, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id = "Salesforce/blip-itm-base-coco"
    hub.models[id] = dict(FILES)
    file = here / "settings.toml"
    file.write_text(file.read_text().replace("owner/tiny", id))
    before = listed(settings, capsys)["image_encoder"]["weights"]
    assert isinstance(before, dict)
    assert (before["bytes"], before["computed_bytes"]) == (None, 4 * 223_744_258)
    main(["models", "list", *settings])
    assert "~0.9 GB in all" in capsys.readouterr().err

    assert main(["models", "download", *settings]) == 0
    after = listed(settings, capsys)["image_encoder"]["weights"]
    assert isinstance(after, dict)
    assert (after["bytes"], after["computed_bytes"]) == (len(TENSORS) + 2, None)
    main(["models", "list", *settings])
    shown = capsys.readouterr()
    assert "\t0.00 GB\tlocked" in shown.out
    assert shown.err == "0.00 GB in all, each model once\n"


@pytest.mark.parametrize("command", ["list", "check", "download"])
def test_two_places_of_one_model_are_refused(
    command: str, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flag = "models.text_encoder.weights.revision=v2"
    assert main(["models", command, *settings, "--set", flag]) == 78
    line = capsys.readouterr().err
    assert "`models.image_encoder.weights` and `models.text_encoder.weights`" in line


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--set", "weights.hub=http://127.0.0.1:1"], 1, "http://127.0.0.1:1 can not be reached"),
        (["--role", "painter"], 64, "no role 'painter', expected one of caption_editor"),
    ],
)
def test_a_download_that_can_not_be_is_one_line(
    settings: list[str], capsys: pytest.CaptureFixture[str], flags: list[str], code: int, said: str
) -> None:
    assert main(["models", "download", *settings, *flags]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err.splitlines()[-1]
    assert "Traceback" not in shown.err


def test_only_the_asked_roles_are_downloaded(settings: list[str], hub: HubServer) -> None:
    assert main(["models", "download", *settings, "--role", "caption_editor"]) == 0
    assert hub.requests == []
    assert main(["models", "download", *settings, "--role", "text_encoder"]) == 0
    assert hub.asked("GET", "/model.safetensors") == [None]


def test_without_the_extra_it_names_it(
    settings: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["models", "download", *settings]) == 78
    assert "pip install 'imgdiff[models]'" in capsys.readouterr().err


def test_looking_needs_no_model_library(settings: list[str]) -> None:
    code = (
        "import sys; from ops.cli.main import main\n"
        "for what in ('list', 'check'): main(['models', what, *sys.argv[1:]])\n"
        "print([m for m in ('torch', 'transformers', 'huggingface_hub', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *settings], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
