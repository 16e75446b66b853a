"""What makes ordinary HTTP clients find the door, in the processes of a version that declares Network.

The environment names the proxy and the authority that ends TLS there; most clients ask it. The others are led: `ssl` takes the authority
beside whatever a client brings (stripe's own bundle, certifi's), and aiohttp asks the environment without being told to. None of this
guards anything: what does not come by the door finds no way out at all.

Before: `zygote`, once confined. After: the author's module, and what it imports.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final

from ropewalk.wire.plan import DOOR_AUTHORITY, DOOR_PORT

_PROXY: Final = f"http://127.0.0.1:{DOOR_PORT}"
_ENVIRONMENT: Final = {
    # The C library's clients know the small letters only, and some others the large ones.
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _PROXY),
    "SSL_CERT_FILE": DOOR_AUTHORITY,
    "REQUESTS_CA_BUNDLE": DOOR_AUTHORITY,
}


def show() -> None:
    """Show it to what is imported from now on."""
    os.environ.update(_ENVIRONMENT)
    contexts: Any = ssl.SSLContext
    contexts.load_verify_locations = _trusting(contexts.load_verify_locations)
    socket.getaddrinfo = _explaining(socket.getaddrinfo)
    sys.meta_path.insert(0, _Aiohttp())


def _trusting(load: Callable[..., None]) -> Callable[..., None]:
    """Have a client with a list of authorities of its own take the door's as well: there is no other server that it could reach."""

    @wraps(load)
    def load_verify_locations(context: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
        load(context, *args, **kwargs)
        load(context, DOOR_AUTHORITY)

    return load_verify_locations


def _explaining(look_up: Callable[..., Any]) -> Callable[..., Any]:
    """Have whoever asks for the address of a name be told why there is none."""

    @wraps(look_up)
    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return look_up(host, *args, **kwargs)
        except socket.gaierror as error:
            raise socket.gaierror(
                error.errno,
                f"{host!r} has no address inside a twist: HTTP clients reach it by the proxy that HTTP_PROXY and HTTPS_PROXY name "
                "(trust_env=True), and nothing else can",
            ) from None

    return getaddrinfo


class _Aiohttp(MetaPathFinder):
    """Has aiohttp's sessions take the proxy from the environment, as every other client does by itself."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find `aiohttp.client`, and nothing else."""
        if name != "aiohttp.client":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def adapt(module: ModuleType) -> None:
                execute(module)
                module.ClientSession.__init__.__kwdefaults__["trust_env"] = True

            loader.exec_module = adapt
        return spec
