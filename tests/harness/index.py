"""A package index on loopback (PEP 503), with wheels that tests make themselves, well formed or not.

    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"}, requires=["beta>=2"])
    index.add_file("alpha", "alpha-2.0.tar.gz", content)
Every path that was asked for is in `requests`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Index:
    """The index, to a test. `files` are by project and name: content, and the hash that is claimed for it."""

    host: str = ""
    files: dict[str, dict[str, tuple[bytes, str]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    silent: bool = False
    ending: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """What `package_index` is set to."""
        return f"{self.host}/simple"

    def add(self, name: str, version: str, files: Mapping[str, str | bytes], *, requires: Iterable[str] = ()) -> None:
        """Publish a pure wheel of these files."""
        self.add_file(name, f"{name}-{version}-py3-none-any.whl", wheel(name, version, files, requires))

    def add_file(self, name: str, file: str, content: bytes, *, claimed: str | None = None) -> None:
        """Publish a file as it is; `claimed` is the hash that the index says it has."""
        self.files.setdefault(name, {})[file] = (content, claimed or hashlib.sha256(content).hexdigest())

    def add_source(self, name: str, version: str, files: Mapping[str, str], *, trace: str) -> None:
        """Publish a source distribution whose build makes a wheel of these files, and leaves a file `trace` behind."""
        self.add_file(name, f"{name}-{version}.tar.gz", source(name, version, wheel(name, version, files), trace))

    def answer(self, path: str) -> bytes | None:
        """Return what a path holds."""
        match path.strip("/").split("/"):
            case ["simple", name] if name in self.files:
                links = [f'<a href="/files/{name}/{file}#sha256={sha}">{file}</a>' for file, (_, sha) in self.files[name].items()]
                return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
            case ["files", name, file] if file in self.files.get(name, {}):
                return self.files[name][file][0]
            case _:
                return None


def wheel(name: str, version: str, files: Mapping[str, str | bytes], requires: Iterable[str] = ()) -> bytes:
    """Return a wheel whose archive has these members after its metadata, whatever they are."""
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {one}" for one in requires), ""]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(metadata))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for path, text in files.items():
            archive.writestr(path, text)
    return content.getvalue()


_BACKEND = """
import base64, pathlib
pathlib.Path({trace!r}).touch()

def build_wheel(folder, config_settings=None, metadata_directory=None):
    pathlib.Path(folder, {file!r}).write_bytes(base64.b64decode({wheel!r}))
    return {file!r}
"""


def source(name: str, version: str, built: bytes, trace: str) -> bytes:
    """Return a source distribution that brings its own way to build the wheel `built`."""
    backend = _BACKEND.format(trace=trace, file=f"{name}-{version}-py3-none-any.whl", wheel=base64.b64encode(built))
    files = {
        "backend.py": backend,
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


@contextmanager
def serving_index() -> Iterator[Index]:
    """Serve an empty index for as long as the block runs."""
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.requests.append(self.path)
            if index.silent:
                index.ending.wait(60)
            content = index.answer(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Type", "text/html" if self.path.startswith("/simple/") else "application/octet-stream")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.host = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()
