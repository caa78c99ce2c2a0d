"""Every setting, and where it came from."""

import pytest

from common.runtime.errors import ConfigurationError
from common.secrets import HIDDEN
from common.settings import load_layers
from ops.effective import EffectiveSetting, effective_settings, section_kinds


def found(environ: dict[str, str] | None = None, flags: tuple[str, ...] = ()) -> dict[str, EffectiveSetting]:
    return {each.key: each for each in effective_settings(load_layers(environ or {}, flags=flags))}


def test_each_layer_is_named_where_it_decides() -> None:
    settings = found({"IMGDIFF_BOXES__BATCH_SIZE": "4", "IMGDIFF_PREFIX": "p"}, ("boxes.max_boxes=2", "prefix=q"))
    assert settings["boxes.batch_size"] == EffectiveSetting(
        "boxes.batch_size", 4, "environment IMGDIFF_BOXES__BATCH_SIZE"
    )
    assert settings["boxes.max_boxes"] == EffectiveSetting("boxes.max_boxes", 2, "--set boxes.max_boxes")
    assert (settings["prefix"].value, settings["prefix"].origin) == ("q", "--set prefix")
    assert settings["models.segmenter.adapter"].origin == "profile sketch"
    assert settings["qa.batch_size"].origin == "default"


def test_every_worker_and_ingest_are_there() -> None:
    assert set(section_kinds()) == {"ingest", "edits", "pairs", "boxes", "region_captions", "qa", "dataset"}
    keys = found()
    assert all(any(key.startswith(f"{section}.") for key in keys) for section in section_kinds())


@pytest.mark.parametrize(
    ("flag", "key", "shown"),
    [
        ("kafka.sasl_plain_password=hush", "kafka.sasl_plain_password", HIDDEN),
        ('blobs.options={"secret": "hush", "endpoint_url": "http://store"}', "blobs.options.secret", HIDDEN),
        ('dataset.options={"access_token": "hush"}', "dataset.options.access_token", HIDDEN),
        ("blobs.url=s3://me:hush@store/path", "blobs.url", f"s3://{HIDDEN}@store/path"),
    ],
)
def test_secrets_are_hidden(flag: str, key: str, shown: str) -> None:
    settings = found(flags=(flag,))
    assert settings[key].value == shown
    assert "hush" not in str(settings.values())


def test_what_is_no_secret_is_shown() -> None:
    assert found(flags=('blobs.options={"endpoint_url": "http://store"}',))["blobs.options.endpoint_url"].value == (
        "http://store"
    )


@pytest.mark.parametrize("flag", ["boxes.batch_sze=1", "ingest.batch_size=none", "dataset.url={}"])
def test_a_wrong_setting_of_any_section_is_named(flag: str) -> None:
    with pytest.raises(ConfigurationError, match=f"setting `{flag.partition('=')[0]}`"):
        found(flags=(flag,))
