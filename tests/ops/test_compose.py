"""docker-compose.yml, as far as it can be checked without a Docker engine: against the program that it starts."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from common.blobs import Blobs
from common.settings import Layers, load_layers, section_of
from ops.broker.jars import KAFKA_VERSION
from ops.broker.properties import server_properties
from ops.cli.main import main
from ops.workers import spec_of
from schemas.topics import ROUTES
from tests.s3_server import KEY, SECRET, S3Server

ROOT = Path(__file__).parents[2]
WORKERS = [route.worker for route in ROUTES]
PROGRAMS = ["topics", *WORKERS]


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


COMPOSE: dict[str, Any] = read("docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def mounts(service: str) -> dict[str, str]:
    """Source by target."""
    parts = [mount.split(":") for mount in SERVICES[service].get("volumes", [])]
    return {target: source for source, target, *_ in parts}


def settings_of(service: str) -> Layers:
    return load_layers(SERVICES[service]["environment"])


@pytest.mark.parametrize("worker", WORKERS)
def test_every_worker_has_its_service(worker: str) -> None:
    service = SERVICES[worker]
    assert service["command"] == f"worker {worker}"
    assert "/readyz" in service["healthcheck"]["test"][-1]
    assert service["restart"] == "on-failure"


@pytest.mark.parametrize("worker", WORKERS)
def test_every_variable_is_a_setting_of_its_program(worker: str) -> None:
    layers = settings_of(worker)
    common = layers.common()
    layers.section(section_of(worker), spec_of(worker).settings)
    assert common.http.host == "0.0.0.0"
    assert f":{common.http.port}/readyz" in SERVICES[worker]["healthcheck"]["test"][-1]
    grace = SERVICES[worker]["stop_grace_period"]
    assert int(re.fullmatch(r"(\d+)s", grace)[1]) > common.runtime.drain_budget_s + 5  # type: ignore[index]


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_is_one_of_ours(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert SERVICES[program]["image"] == "imgdiff:local"
    assert main([*SERVICES[program]["command"].split(), "--help"]) == 0
    assert "Usage: imgdiff" in capsys.readouterr().out


def test_the_commands_in_the_header_are_ours(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    commands = re.findall(r"docker compose run --rm (?:-T )?(\S+) (\S+)", text)
    assert [command for _, command in commands] == ["ingest", "status"]
    for service, command in commands:
        assert service in SERVICES
        assert main([command, "--help"]) == 0


def test_images_are_pinned() -> None:
    images = {name: service["image"] for name, service in SERVICES.items() if "build" not in service}
    images["Dockerfile"] = re.findall(r"^FROM (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    for name, image in images.items():
        assert re.search(r":[^:]*\d+\.\d+\.\d+|:RELEASE\.\d{4}-\d{2}-\d{2}T", image), f"{name}: {image} is not pinned"
    assert images["kafka"] == f"apache/kafka:{KAFKA_VERSION}"


def test_the_image_has_every_package_and_the_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    dockerfile = (ROOT / "Dockerfile").read_text()
    sources = [word for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()]
    packages = [name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    assert set(packages) <= set(sources)
    assert all((ROOT / source).exists() for source in sources)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{source}" in allowed for source in sources)
    assert re.search(r"^ENTRYPOINT \[\"imgdiff\"\]$", dockerfile, re.MULTILINE)
    assert "imgdiff" in project["project"]["scripts"]
    assert "s3" in project["project"]["optional-dependencies"]


def test_what_is_mounted_exists_and_volumes_are_declared() -> None:
    for name in SERVICES:
        for source in mounts(name).values():
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name} mounts {source}"
            else:
                assert source in COMPOSE["volumes"]


def test_dependencies_can_be_met() -> None:
    one_shots = {"topics", "bucket"}
    for service in SERVICES.values():
        wanted = service.get("depends_on", {})
        for other, how in wanted.items() if isinstance(wanted, dict) else []:
            condition = how["condition"]
            assert condition == ("service_completed_successfully" if other in one_shots else "service_healthy")
            assert other in one_shots or "healthcheck" in SERVICES[other]


def test_topics_and_store_are_made_when_their_places_are_there() -> None:
    assert set(SERVICES["topics"]["depends_on"]) == {"kafka", "bucket"}
    assert set(SERVICES["bucket"]["depends_on"]) == {"store"}


def test_an_s3_takes_the_options_and_credentials_as_they_are_given(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the address, and the values of key and secret."""
    environment = SERVICES["edits"]["environment"]
    bucket = urlsplit(environment["IMGDIFF_BLOBS__URL"]).netloc
    s3_server.client().create_bucket(Bucket=bucket)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    blobs = settings_of("edits").common().blobs
    assert set(blobs.options) == {"endpoint_url"}
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= set(environment)
    store = Blobs(blobs.model_copy(update={"options": {"endpoint_url": s3_server.url}}))
    store.initialise()
    store.check()
    assert store.get(store.put(b"pixels")) == b"pixels"


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_kafka_has_the_settings_of_the_local_broker() -> None:
    """But for where it listens and keeps its data, and the session time-out: only the local broker recovers by itself."""
    different = {"listeners", "controller.quorum.voters", "log.dirs", "broker.session.timeout.ms"}
    local = dict(line.split("=", 1) for line in server_properties(1, 2).splitlines())
    kafka = SERVICES["kafka"]["environment"]
    for key, value in local.items():
        if key not in different:
            assert kafka[f"KAFKA_{key.upper().replace('.', '_')}"] == value, key
    assert "KAFKA_BROKER_SESSION_TIMEOUT_MS" not in kafka
    assert kafka["KAFKA_LOG_DIRS"] in mounts("kafka")


def test_programs_find_kafka_and_the_store() -> None:
    common = settings_of("edits").common()
    assert (
        f"INSIDE://{common.kafka.bootstrap_servers}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    )
    environment = SERVICES["edits"]["environment"]
    for url, options in [
        (common.blobs.url, common.blobs.options),
        (environment["IMGDIFF_DATASET__URL"], json.loads(environment["IMGDIFF_DATASET__OPTIONS"])),
    ]:
        assert urlsplit(options["endpoint_url"]).hostname in SERVICES
        assert SERVICES["bucket"]["command"] == f"mb --ignore-existing store/{urlsplit(url).netloc}"
    store = SERVICES["store"]["environment"]
    bucket = urlsplit(SERVICES["bucket"]["environment"]["MC_HOST_store"])
    keys = {(store["MINIO_ROOT_USER"], store["MINIO_ROOT_PASSWORD"]), (bucket.username, bucket.password)}
    assert keys == {(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])}
    assert f"http://{bucket.hostname}:{bucket.port}" == common.blobs.options["endpoint_url"]


def test_prometheus_finds_every_worker() -> None:
    assert mounts("prometheus")["/etc/prometheus/prometheus.yml"] == "./ops/prometheus/prometheus.yml"
    [job] = read("ops/prometheus/prometheus.yml")["scrape_configs"]
    [discovery] = job["dns_sd_configs"]
    assert discovery["names"] == WORKERS
    assert discovery["type"] == "A"
    assert {settings_of(worker).common().http.port for worker in WORKERS} == {discovery["port"]}


def test_grafana_has_its_data_source_and_dashboards() -> None:
    assert mounts("grafana")["/etc/grafana/provisioning"] == "./ops/grafana/provisioning"
    [source] = read("ops/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    url = urlsplit(source["url"])
    assert f"127.0.0.1:{url.port}:{url.port}" in SERVICES[str(url.hostname)]["ports"]
    [provider] = read("ops/grafana/provisioning/dashboards/imgdiff.yml")["providers"]
    folder = ROOT / mounts("grafana")[provider["options"]["path"]]
    dashboards = sorted(folder.glob("*.json"))
    assert dashboards
    for dashboard in dashboards:
        text = dashboard.read_text()
        used = set(
            re.findall(r'"uid": "([^"]+)"', json.dumps([p.get("datasource") for p in json.loads(text)["panels"]]))
        )
        assert used <= {source["uid"]}, dashboard.name


def test_docker_itself_accepts_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    done = subprocess.run([docker, "compose", "config", "-q"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
