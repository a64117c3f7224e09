"""The files of docs/deploy: they parse, agree with the program and with each other, and grant nothing that is not needed."""

import configparser
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vault.settings import Settings

DEPLOY = Path(__file__).parents[1] / "docs" / "deploy"
USER = 10001
MANIFESTS = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DATABASES = ("data", "keys", "ledger")


def settings_in(text):
    return set(re.findall(r"\bCDV_[A-Z_]+\b", text))


@pytest.mark.parametrize(
    "file", [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()], ids=lambda path: path.name
)
def test_every_setting_that_a_file_names_exists(file):
    known = {f"CDV_{name.upper()}" for name in Settings.model_fields}
    assert settings_in(file.read_text()) <= known


# --- containers on one machine


def test_vault_runs_without_privileges_and_writes_only_to_its_volumes():
    vault = COMPOSE["services"]["vault"]
    assert vault["read_only"] is True
    assert vault["cap_drop"] == ["ALL"]
    assert vault["security_opt"] == ["no-new-privileges:true"]
    assert vault["memswap_limit"] == vault["mem_limit"], "nothing is swapped out"
    assert vault["ulimits"]["core"] == 0
    assert {volume.partition(":")[2] for volume in vault["volumes"]} == {"/srv/vault", "/srv/key"}


def test_only_the_proxy_is_reachable_from_outside():
    services = COMPOSE["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    closed = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    assert all(set(services[name]["networks"]) <= closed for name in ("vault", *DATABASES))


def test_each_database_has_a_server_a_volume_and_a_password_of_its_own():
    services = [COMPOSE["services"][name] for name in DATABASES]
    assert len({volume for service in services for volume in service["volumes"]}) == 3
    assert len({secret for service in services for secret in service["secrets"]}) == 3
    urls = [
        COMPOSE["services"]["vault"]["environment"][f"CDV_{name}_URL"] for name in ("DATABASE", "KEYSTORE", "LEDGER")
    ]
    for url, name, service in zip(urls, DATABASES, services, strict=True):
        user = service["environment"]["POSTGRES_USER"]
        assert url == f"postgresql://{user}@{name}/{service['environment']['POSTGRES_DB']}"


def test_everything_that_the_compose_file_names_is_declared():
    services = COMPOSE["services"].values()
    named = {volume.partition(":")[0] for service in services for volume in service.get("volumes", ())}
    assert {name for name in named if not name.startswith(".")} == set(COMPOSE["volumes"])
    assert {secret for service in services for secret in service.get("secrets", ())} == set(COMPOSE["secrets"])
    assert {network for service in services for network in service["networks"]} == set(COMPOSE["networks"])


def test_secrets_are_in_folders_that_git_and_the_image_leave_out():
    ignored = (DEPLOY / ".gitignore").read_text().split()
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    assert "/secrets/" in ignored
    assert ".env" in ignored
    assert (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")[1] == "*", "what is not named stays out"


# --- the image


def instructions(name):
    text = re.sub(r"\\\n", " ", (DEPLOY / name).read_text())
    return [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]


def test_image_runs_as_a_user_without_a_name_that_could_change():
    final = instructions("Dockerfile")
    assert ["USER", f"{USER}:{USER}"] in final
    after = final[final.index(["USER", f"{USER}:{USER}"]) :]
    assert not [word for word, _ in after if word in ("RUN", "COPY", "ADD")], (
        "nothing is installed as the service's user"
    )
    assert {"HEALTHCHECK", "ENTRYPOINT", "STOPSIGNAL"} <= {word for word, _ in after}


def test_what_the_image_copies_exists():
    root = DEPLOY.parents[1]
    for word, rest in instructions("Dockerfile"):
        if word == "COPY" and not rest.startswith("--from"):
            assert all((root / name).exists() for name in rest.split()[:-1])


# --- the cluster


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_manifest_states_its_kind(file):
    manifest = yaml.safe_load(file.read_text())
    assert manifest["apiVersion"]
    assert manifest["kind"]


@pytest.mark.parametrize("name", ["deployment.yaml", "job/job.yaml"])
def test_pods_meet_the_restricted_standard(name):
    pod = yaml.safe_load((DEPLOY / "kubernetes" / name).read_text())["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == USER
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_kustomization_names_every_manifest_beside_it():
    for folder in (DEPLOY / "kubernetes", DEPLOY / "kubernetes" / "job"):
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert set(kustomization["resources"]) == files


def test_probes_ask_the_routes_that_exist():
    container = yaml.safe_load((DEPLOY / "kubernetes" / "deployment.yaml").read_text())["spec"]["template"]["spec"][
        "containers"
    ][0]
    paths = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"/healthz", "/readyz"}


# --- one server


def test_unit_keeps_keys_in_memory_and_the_service_in_its_folder():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "vault.service")
    service = unit["Service"]
    assert service["LimitCORE"] == "0"
    assert service["MemorySwapMax"] == "0"
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"] == "/srv/vault"
    assert service["CapabilityBoundingSet"] == ""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_unit_is_one_that_systemd_takes():
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(DEPLOY / "vault.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- hashes

ROOT = DEPLOY.parents[1]
HASHED = (DEPLOY / "requirements.hashes.txt").read_text()
PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;]+)(?: ; ([^\\\n]+?))? *\\?$", re.MULTILINE)


def pins(text):
    return {name: (version, marker) for name, version, marker in PIN.findall(text)}


def test_the_hashed_versions_are_those_of_the_lock():
    locked, hashed = pins((ROOT / "requirements.lock").read_text()), pins(HASHED)
    assert len(hashed) > 50
    assert {name: locked.get(name, ("no version",))[0] for name in hashed} == {
        name: version for name, (version, _marker) in hashed.items()
    }


def test_everything_that_the_vault_needs_is_hashed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["parquet"]]
    names, todo = set(), [Requirement(each) for each in needed]
    while todo:  # what is installed here says what it needs in turn
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in names or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        names.add(name)
        for each in requires(name) or ():
            further = Requirement(each)
            extras = requirement.extras or {""}
            if not further.marker or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(Requirement(each.partition(";")[0]))
    assert names - pins(HASHED).keys() == set()


def test_every_pin_has_hashes_and_no_index_is_named():
    blocks = re.split(r"\n(?=[a-z0-9])", HASHED)[1:]
    assert len(blocks) == len(pins(HASHED))
    for block in blocks:
        first, *rest = block.rstrip().split(" \\\n")
        assert rest, first
        assert all(re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}", line) for line in rest), first
    assert "://" not in HASHED


def test_installs_for_use_take_hashed_artefacts_alone():
    for file in (DEPLOY / "Dockerfile", ROOT / "docs" / "operating.md"):
        text = file.read_text()
        assert "/opt/vault/bin/pip install" in text
        for arguments in re.findall(r"/opt/vault/bin/pip install ([^\n]*)", text):
            assert "--require-hashes" in arguments or "--no-deps" in arguments, file.name
