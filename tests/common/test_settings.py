"""Where a value comes from, and what is said about one that is wrong."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from common.runtime.errors import ConfigurationError
from common.settings import (
    KafkaSettings,
    Layers,
    ModelSettings,
    RuntimeSettings,
    StageSettings,
    is_secret,
    load_layers,
    profile_names,
    settings_digest,
)
from schemas.scores import Bounds

SECTION = "qa"
"""A section that the profile says nothing about."""


class ExampleSettings(StageSettings):
    """What a worker might have."""

    window: Bounds = Bounds(low=0.9, high=0.98)
    words: tuple[int, ...] = ()
    most: int | None = 5


def example(layers: Layers) -> ExampleSettings:
    layers.common()
    return layers.section(SECTION, ExampleSettings)


def refusal(*flags: str, file: Path | None = None, **environ: str) -> str:
    """The one line that wrong settings are refused with."""
    with pytest.raises(ConfigurationError) as caught:
        example(load_layers(environ, file, flags))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def test_a_text_with_a_nul_is_refused_where_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "nul.toml"
    for text in ('blobs.url = "a\\u0000b"', 'models.text_encoder.options.x = ["a", "\\u0000"]'):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=r"nul\.toml: found a text with a NUL"):
            load_layers({}, path)


@pytest.mark.parametrize(
    ("environ", "file", "flag"),
    [
        ({"IMGDIFF_BLOBS__OPTIONS": "[" * 100_000}, None, None),
        ({"IMGDIFF_BLOBS__OPTIONS": '{"a":' * 100 + "1" + "}" * 100}, None, None),
        ({}, "blobs.options.x = " + "[" * 5_000, None),
        ({}, "blobs.options.x = " + "[" * 100 + "]" * 100, None),
        ({}, None, f"blobs.options{'.a' * 2_000}=1"),
    ],
)
def test_what_is_nested_too_deeply_is_one_line(
    tmp_path: Path, environ: dict[str, str], file: str | None, flag: str | None
) -> None:
    path = None
    if file is not None:
        path = tmp_path / "deep.toml"
        path.write_text(file)
    with pytest.raises(ConfigurationError, match=r"^[^\n]*nested"):
        load_layers(environ, path, [flag] if flag else [])


def test_each_layer_goes_over_the_one_before(file: Path) -> None:
    file.write_text("[runtime]\nmax_attempts = 4\nretry_first_s = 4\nretry_max_s = 4\nstore_threads = 4\n")
    environ = {
        "IMGDIFF_RUNTIME__RETRY_FIRST_S": "5",
        "IMGDIFF_RUNTIME__RETRY_MAX_S": "5",
        "IMGDIFF_RUNTIME__STORE_THREADS": "5",
    }
    flags = ["runtime.retry_max_s=6", "runtime.store_threads=6", "runtime.store_threads=7"]

    layers = load_layers(environ, file, flags)

    runtime = layers.common().runtime
    assert runtime.prefetch_threads == RuntimeSettings().prefetch_threads
    assert (runtime.max_attempts, runtime.retry_first_s, runtime.retry_max_s, runtime.store_threads) == (4, 5, 6, 7)
    assert {key: origin for key, origin in layers.origins.items() if key.startswith("runtime.")} == {
        "runtime.max_attempts": f"file {file}",
        "runtime.retry_first_s": "environment IMGDIFF_RUNTIME__RETRY_FIRST_S",
        "runtime.retry_max_s": "--set runtime.retry_max_s",
        "runtime.store_threads": "--set runtime.store_threads",
    }


def test_the_profile_lies_below_everything(file: Path) -> None:
    assert load_layers({}).origins["boxes.max_boxes"] == "profile sketch"
    file.write_text("[boxes]\nmax_boxes = 7\n")
    layers = load_layers({}, file)
    assert layers.values["boxes"]["max_boxes"] == 7
    assert layers.origins["boxes.max_boxes"] == f"file {file}"
    assert layers.origins["boxes.overlap.high"] == "profile sketch"


def test_every_profile_names_all_models() -> None:
    assert "sketch" in profile_names()
    for name in profile_names():
        common = load_layers({}, profile=name).common()
        assert common.profile == name


def test_the_option_for_the_profile_goes_over_the_variable() -> None:
    layers = load_layers({"IMGDIFF_PROFILE": "nonsense"}, profile="sketch")
    assert layers.common().profile == "sketch"
    assert layers.origins["profile"] == "--profile"


def test_the_file_may_be_named_by_a_variable(file: Path) -> None:
    file.write_text('prefix = "mine"\n')
    assert load_layers({"IMGDIFF_SETTINGS": str(file)}).common().prefix == "mine"


def test_variables_that_are_no_settings_are_left_alone() -> None:
    environ = {"IMGDIFF_FAULT": "boxes:after_store:1:SIGKILL", "IMGDIFF_INSTANCE": "a", "KAFKA__BOOTSTRAP_SERVERS": "b"}
    assert load_layers(environ).common() == load_layers({}).common()


def test_tables_are_merged_key_by_key() -> None:
    flags = ["qa.window.high=0.95", 'qa={"batch_size": 3, "most": null}', "qa.words=[1, 2]"]
    layers = load_layers({"IMGDIFF_QA__WINDOW": '{"low": 0.8}'}, flags=flags)
    assert example(layers) == ExampleSettings(batch_size=3, window=Bounds(low=0.8, high=0.95), words=(1, 2), most=None)
    assert layers.origins["qa.window.low"] == "environment IMGDIFF_QA__WINDOW"
    assert layers.origins["qa.window.high"] == "--set qa.window.high"


@pytest.mark.parametrize(
    ("flags", "window"),
    [
        (["qa.window.low=0.5"], Bounds(low=0.5, high=0.98)),
        (["qa.window.high=1"], Bounds(low=0.9, high=1.0)),
        (["qa.window.high_inclusive=true"], Bounds(low=0.9, high=0.98, high_inclusive=True)),
        (['qa.window={"high": null}'], Bounds(low=0.9)),
    ],
)
def test_one_side_of_bounds_leaves_the_other_as_it_is(flags: list[str], window: Bounds) -> None:
    assert example(load_layers({}, flags=flags)).window == window


def test_an_underscore_may_be_a_dash_in_a_flag() -> None:
    layers = load_layers({}, flags=["region-captions.batch-size=3"])
    assert layers.values["region_captions"]["batch_size"] == "3"


@pytest.mark.parametrize("text", ["{curly", "[square"])
def test_a_password_may_begin_with_a_bracket(text: str) -> None:
    common = load_layers({"IMGDIFF_KAFKA__SASL_PLAIN_PASSWORD": text}).common()
    assert common.kafka.sasl_plain_password == SecretStr(text)


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1", "a:b", "a:0", "a:65536", "::1:9092", "kafka://a:9092", "a:1,", "a:1 b:2"]
)
def test_what_is_no_address_of_a_broker_is_no_broker_that_is_down(text: str) -> None:
    assert refusal(f"kafka.bootstrap_servers={text}") == (
        "setting `kafka.bootstrap_servers` (from --set kafka.bootstrap_servers): expected host:port[,host:port], "
        f"found {text!r}"
    )


@pytest.mark.parametrize("text", ["a:1", "a-b_c.example:9092, 10.0.0.1:65535", "[::1]:9092,[fe80::1%eth0]:9092"])
def test_addresses_of_brokers(text: str) -> None:
    assert load_layers({}, flags=[f"kafka.bootstrap_servers={text}"]).common().kafka.bootstrap_servers == text


def test_an_unknown_key_is_named_with_where_it_stands(file: Path) -> None:
    assert refusal(IMGDIFF_KAFAK__BOOTSTRAP_SERVERS="x").startswith(
        "environment IMGDIFF_KAFAK__BOOTSTRAP_SERVERS: unknown setting `kafak`, expected one of blobs, boxes, "
    )
    assert refusal("kafak.bootstrap_servers=x").startswith("--set kafak.bootstrap_servers: unknown setting `kafak`")
    assert refusal(IMGDIFF_KAFKA__BROKERS="x").startswith(
        "environment IMGDIFF_KAFKA__BROKERS: unknown setting `kafka.brokers`, expected one of bootstrap_servers, "
    )
    assert refusal("qa.window.lo=1") == (
        "--set qa.window.lo: unknown setting `qa.window.lo`, expected one of high, high_inclusive, low, low_inclusive"
    )
    assert refusal("qa.windw.low=1") == (
        "--set qa.windw.low: unknown setting `qa.windw`, expected one of batch_size, batch_wait_s, most, window, words"
    )
    assert refusal("models.segmenter.weights.idd=x", "models.segmenter.weights.id=y").startswith(
        "--set models.segmenter.weights.idd: unknown setting `models.segmenter.weights.idd`, expected one of files, id"
    )
    file.write_text("[kafak]\n")
    assert refusal(file=file).startswith(f"file {file}: unknown setting `kafak`")
    file.write_text("[runtime]\nattempts = 3\n")
    assert refusal(file=file).startswith(f"file {file}: unknown setting `runtime.attempts`, expected one of accept_")


def test_a_wrong_value_is_named_with_where_it_stands(file: Path) -> None:
    assert refusal(IMGDIFF_RUNTIME__MAX_ATTEMPTS="many") == (
        "setting `runtime.max_attempts` (from environment IMGDIFF_RUNTIME__MAX_ATTEMPTS): "
        "Input should be a valid integer, unable to parse string as an integer, found 'many'"
    )
    assert refusal("http.port=70000") == (
        "setting `http.port` (from --set http.port): Input should be less than or equal to 65535, found '70000'"
    )
    file.write_text("[qa]\nbatch_size = 0\n")
    assert refusal(file=file).startswith(f"setting `qa.batch_size` (from file {file}): Input should be greater than")
    assert refusal("qa.window.low=nan").startswith("setting `qa.window.low` (from --set qa.window.low): ")


def test_an_item_of_a_list_is_laid_to_whoever_gave_the_list() -> None:
    assert refusal('qa.words=[1, "two"]').startswith("setting `qa.words.1` (from --set qa.words): ")


def test_bounds_that_cross_are_laid_to_all_who_set_them() -> None:
    message = refusal("qa.window.high=0.5", IMGDIFF_QA__WINDOW__LOW="0.6")
    assert message == (
        "setting `qa.window` (from environment IMGDIFF_QA__WINDOW__LOW and --set qa.window.high): "
        "Value error, low 0.6 lies above high 0.5"
    )


def test_a_value_where_a_table_belongs_is_laid_to_who_put_it_there() -> None:
    assert refusal("boxes.overlap.high=1", "boxes.overlap=wide", "qa=3").startswith("setting `qa` (from --set qa): ")
    assert refusal("qa.window=0.4") == (
        "setting `qa.window` (from --set qa.window): expected a table of low, high, low_inclusive, high_inclusive, "
        'such as {"low": 0.9, "high": 0.98}, found \'0.4\''
    )
    assert refusal("http=80").endswith("expected a table of host, port, found '80'")
    assert refusal("models.segmenter=sam").endswith("expected a table of adapter, weights, options, found 'sam'")
    layers = load_layers({}, flags=["boxes.overlap=wide"])
    assert layers.origins["boxes.overlap"] == "--set boxes.overlap"
    assert "boxes.overlap.high" not in layers.origins


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.settings._read_profile", lambda name: {})
    assert refusal() == "setting `models` (from the defaults): Field required"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"prefix = [", "not TOML: "),
        (b"prefix = '\xff'", "not TOML: "),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_can_not_be_read_is_named(file: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        file.write_bytes(content)
    assert refusal(file=file).startswith(f"settings file {file}: {message}")


def test_an_unknown_profile_is_told_those_that_there_are() -> None:
    assert refusal(IMGDIFF_PROFILE="skech").startswith("setting `profile`: found 'skech', expected one of ")
    assert "sketch" in refusal(IMGDIFF_PROFILE="skech")


def test_a_flag_needs_a_value() -> None:
    assert refusal("qa.batch_size") == (
        "--set qa.batch_size: expected KEY=VALUE, such as boxes.pair_similarity.low=0.88"
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("IMGDIFF_KAFKA", '{"sasl_plain_password": {"hunter2": 1}}'),
        ("IMGDIFF_KAFKA", '{"sasl_plain_password": "hunter2"'),  # not closed
        ("IMGDIFF_KAFKA", '["hunter2"]'),
        ("IMGDIFF_KAFKA__SASL_PLAIN_PASSWORD__X", "hunter2"),
        ("IMGDIFF_KAFKA__SASL_PLAIN_PASWORD", "hunter2"),  # misspelt
        ("IMGDIFF_BLOBS__OPTIONS", "secret=hunter2"),
        ("IMGDIFF_BLOBS__OPTIONS", '{"secret": "hunter2"'),
        ("IMGDIFF_MODELS__SEGMENTER__OPTIONS", '["hunter2"]'),
    ],
)
def test_what_may_be_a_secret_is_never_shown(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=variable) as caught:
        example(load_layers({variable: text}))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__, "a traceback would show the values"


def test_a_secret_does_not_show_in_the_settings_themselves() -> None:
    common = load_layers({"IMGDIFF_KAFKA__SASL_PLAIN_PASSWORD": "hunter2"}).common()
    assert "hunter2" not in f"{common!r} {common} {common.model_dump_json()}"
    assert common.kafka.sasl_plain_password is not None
    assert common.kafka.sasl_plain_password.get_secret_value() == "hunter2"


@pytest.mark.parametrize("key", ["sasl_plain_password", "aws_secret_access_key", "api_key", "apikey", "session_TOKEN"])
def test_secrets_are_known_by_their_names(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize("key", ["ssl_keyfile", "bootstrap_servers", "batch_size", "url", "max_new_tokens"])
def test_other_names_are_no_secrets(key: str) -> None:
    assert not is_secret(key)


def test_the_digest_changes_with_every_value_and_with_nothing_else() -> None:
    digests = [
        settings_digest(ExampleSettings()),
        settings_digest(ExampleSettings(batch_size=3)),
        settings_digest(ExampleSettings(window=Bounds(low=0.9, high=0.98, high_inclusive=True))),
        settings_digest(ExampleSettings(most=None)),
        settings_digest(ExampleSettings(), KafkaSettings()),
        settings_digest(KafkaSettings(), ExampleSettings()),
    ]
    assert len(set(digests)) == len(digests)
    assert digests[0] == settings_digest(ExampleSettings(window=Bounds(low=0.9, high=0.98)))
    assert all(len(digest) == 12 and int(digest, 16) >= 0 for digest in digests)


def test_the_digest_knows_no_secrets_but_every_number_of_tokens() -> None:
    def digest(**options: object) -> str:
        return settings_digest(
            ModelSettings(adapter="endpoint", options={"decoding": {"max_new_tokens": 64}} | options)
        )

    assert digest(api_key="sk-1") == digest()
    assert digest(decoding={"max_new_tokens": 65}) != digest()
    assert digest(model="m") != digest()


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ExampleSettings().batch_size = 3  # type: ignore[misc]


def test_none_takes_a_value_away_and_opens_a_side() -> None:
    flags = ["qa.most=none", 'qa.window={"low": "none", "high": 0.97}']
    section = load_layers({}, flags=flags).section(SECTION, ExampleSettings)
    assert section.most is None
    assert section.window == Bounds(high=0.97)
    with pytest.raises(ConfigurationError, match=r"qa\.batch_size"):
        load_layers({}, flags=["qa.batch_size=none"]).section(SECTION, ExampleSettings)
