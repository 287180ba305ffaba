"""The shipped policy in a real OPA of its own, asked over HTTP on a unix socket; everything here blocks."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bundles.bundle import Content, build
from bundles.custom import CustomPolicy
from bundles.signing import SigningKey
from bundles.sources import custom_content, policy_content
from gateway.pdp.opa_binary import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

BUNDLES = ("policy", "custom", "tenants", "live")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("opa", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


class Judge:
    """One OPA process. Without `bundles`, documents and policies are put and deleted by its REST API."""

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None) -> None:
        file = folder / "opa.json"
        file.write_text(json.dumps(config or {}))
        address = folder / "opa.sock"
        arguments = ["run", "--server", "--addr", f"unix://{address}", "--log-level", "error", "--skip-version-check"]
        self._process = subprocess.Popen(
            [find().path, *arguments, "--config-file", file],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._connection = _UnixConnection(address)
        self._wait("/health")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def ask(self, entrypoint: str, question: Any) -> dict[str, Any] | None:
        """Return the decision as it is sent, None where OPA gives none."""
        path = f"/v1/data/portcullis/{entrypoint}/decision?strict-builtin-errors"
        status, answer = self._exchange("POST", path, json.dumps({"input": question}).encode())
        return json.loads(answer).get("result") if status == 200 else None

    def admits(self, entrypoint: str, question: Any) -> bool:
        """Whether a decision says yes in any way, be it only that a tool is visible."""
        decision = self.ask(entrypoint, question) or {}
        return bool(decision.get("allow") or decision.get("visible") or decision.get("ids"))

    def get(self, path: str) -> Any:
        """Return a document."""
        return json.loads(self._exchange("GET", f"/v1/data/{path}", b"")[1])["result"]

    def put(self, path: str, document: Any) -> None:
        """Replace a document; `path` has slashes."""
        self._must("PUT", f"/v1/data/{path}", json.dumps(document).encode())

    def delete(self, path: str) -> None:
        """Delete a document that may not be there."""
        self._exchange("DELETE", f"/v1/data/{path}", b"")

    def put_policies(self, files: Mapping[str, bytes]) -> None:
        """Add or replace Rego files."""
        for name, text in files.items():
            self._must("PUT", f"/v1/policies/{name}", text)

    def delete_policies(self, names: Iterable[str]) -> None:
        """Delete Rego files."""
        for name in names:
            self._must("DELETE", f"/v1/policies/{name}", b"")

    def load(self, documents: Mapping[str, Any]) -> None:
        """Replace everything that policy judges by: `bundles` (the manifests), `portcullis_data`, `portcullis_live`."""
        for name, path in (("bundles", "system/bundles"), ("portcullis_data", None), ("portcullis_live", None)):
            if name not in documents:
                self.delete(path or name)
            elif path:
                # A manifest without roots owns everything, and OPA then refuses the next `put`.
                self.put(path, {bundle: _rooted(bundle, held) for bundle, held in documents[name].items()})
            else:
                self.put(name, documents[name])

    def _must(self, method: str, path: str, body: bytes) -> None:
        status, answer = self._exchange(method, path, body)
        if status >= 300:
            raise AssertionError(f"{method} {path}: {status} {answer.decode()}")

    def _exchange(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        self._connection.request(method, path, body=body)
        response = self._connection.getresponse()
        return response.status, response.read()

    def _wait(self, path: str) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._exchange("GET", path, b"")[0] == 200:
                    return
            self._connection.close()
            time.sleep(0.02)
        raise AssertionError(f"OPA never answered {path} with 200")

    def activated(self) -> None:
        """Wait until all configured bundles are active."""
        self._wait("/health?bundles")


def _rooted(bundle: str, held: Mapping[str, Any]) -> dict[str, Any]:
    return {**held, "manifest": {**held.get("manifest", {}), "roots": [f"nothing/{bundle}"]}}


def core() -> dict[str, bytes]:
    """Return the shipped Rego, by path."""
    return dict(policy_content().files)


@contextlib.contextmanager
def open_judge(custom: CustomPolicy | None = None) -> Iterator[Judge]:
    """Run an OPA with the shipped policy and no documents."""
    with tempfile.TemporaryDirectory(prefix="judge-") as folder, Judge(Path(folder)) as judge:
        judge.put_policies({**core(), **(custom or CustomPolicy()).files})
        yield judge


@contextlib.contextmanager
def bundled_judge(
    documents: Mapping[str, Any], custom: CustomPolicy, names: tuple[str, ...] = BUNDLES
) -> Iterator[Judge]:
    """Run an OPA that has activated the signed bundles of these names."""
    key = SigningKey.generate()
    contents = {
        "policy": policy_content(),
        "custom": custom_content(custom),
        "tenants": Content.document("portcullis_data", documents["portcullis_data"]),
        "live": Content.document("portcullis_live", documents["portcullis_live"]),
    }
    with tempfile.TemporaryDirectory(prefix="judge-") as name:
        folder = Path(name)
        bundles = {}
        for bundle in names:
            (folder / f"{bundle}.tar.gz").write_bytes(build(bundle, contents[bundle], 42, key))
            resource = f"file://{folder}/{bundle}.tar.gz"
            bundles[bundle] = {"resource": resource, "signing": {"keyid": "sync", "scope": bundle}}
        config = {"bundles": bundles, "keys": {"sync": {"algorithm": "ES256", "key": key.public_pem}}}
        with Judge(folder, config) as judge:
            judge.activated()
            yield judge
