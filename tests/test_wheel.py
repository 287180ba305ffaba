"""The wheel, as somebody has it who never saw the checkout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import aiohttp
import pytest

from tests.support.processes import free_port, running
from tests.support.wait import until

ROOT = Path(__file__).parent.parent
CONFIG = """\
mcp_servers:
  nobody:
    mode: remote
    endpoint: http://127.0.0.1:9/mcp
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built here without asking anybody for anything."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, env=os.environ | {"PIP_NO_INDEX": "1"})
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment: the product from the wheel, what it needs from the environment of the tests."""
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    # A path that a .pth file adds comes last, and its own .pth files are not read: the checkout stays out of sight.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def outside(command: list[object], folder: Path) -> str:
    """Run a command in a folder that is no checkout, and return what it prints."""
    done = subprocess.run(list(map(str, command)), cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def test_the_wheel_holds_every_policy_schema_and_migration_of_the_checkout(wheel: Path):
    listing = subprocess.run(
        ["git", "ls-files", "-z", "policies", "gateway"], cwd=ROOT, check=True, capture_output=True
    )
    tracked = [name for name in listing.stdout.decode().split("\0") if (ROOT / name).is_file()]
    data = {name for name in tracked if name.endswith((".rego", ".json", ".yaml", ".sql", "py.typed"))}
    assert {Path(name).suffix for name in data} >= {".rego", ".json", ".sql"}
    with zipfile.ZipFile(wheel) as archive:
        assert data <= set(archive.namelist())


def test_the_product_comes_from_the_wheel_and_not_from_the_checkout(installed: Path, tmp_path: Path):
    where = "import gateway, bundles, policies; print(gateway.__file__, bundles.__file__, policies.ROOT)"
    for path in outside([installed / "python", "-c", where], tmp_path).split():
        assert Path(path).is_relative_to(installed.parent)


def test_the_installed_command_line_prints_the_schema_of_the_configuration(installed: Path, tmp_path: Path):
    schema = json.loads(outside([installed / "portcullis", "config", "schema"], tmp_path))
    assert "mcp_servers" in schema["properties"]


async def test_the_installed_gateway_starts_decides_by_its_own_policies_and_stops(installed: Path, tmp_path: Path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    port = free_port()
    flags = ["--config", "config.yaml", "--port", port, "--state-dir", tmp_path / "state"]
    with running([installed / "portcullis", "up", *flags], tmp_path) as process:
        await until(process.said_a_line, timeout=30, what="the gateway is ready")
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/mcp", json=message) as answer,
        ):
            assert (await answer.json())["result"]["tools"] == []
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(30) == 0
