"""Has a secret of each kind, and says of them all that it can."""

import contextlib
import gc
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from ropewalk import Options, Priority, RetryPolicy, Secret, Twist, secret
from ropewalk.tools import Network


class KeeperOptions(Options):
    base_url: str
    other_url: str
    token: Secret = secret(urls=["{base_url}/api/*"], header="Authorization", format="Bearer {}")
    key: Secret | None = secret(urls=["{base_url}/query/*"], query="api_key", default=None)
    pin: Secret = secret()
    label: str = "one"


class Keeper(Twist):
    """Keeps secrets."""

    options: KeeperOptions
    retry = RetryPolicy(attempts=2, first=0.05)
    network = Network(urls=["{base_url}/*", "{other_url}/*"])

    async def activate(self, priority: Priority) -> None:
        await self.set("label", self.options.label)

    async def fetch(self, url: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        response = await self.network.fetch(url, headers=headers)
        return {"url": response.url, "headers": list(response.headers.items()), "body": response.text()}

    async def ask(self, url: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Ask as an ordinary client does."""
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {})) as response:
            return {"url": response.url, "headers": response.getheaders(), "body": response.read().decode("latin-1")}

    async def gossip(self) -> None:
        """Ask for what is not declared, with the key in the path."""
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://undeclared.example/{urllib.parse.quote(self.options.pin.reveal())}")

    async def fetch_knowing(self, url: str) -> int:
        """Ask for something while the pin is in memory, and return its length."""
        pin = self.options.pin.reveal()
        await self.network.fetch(url)
        return len(pin)

    async def reveal_token(self) -> str:
        return self.options.token.reveal()

    async def pin_length(self) -> int:
        return len(self.options.pin.reveal())

    async def shown(self) -> list[str]:
        options = self.options
        return [repr(options), str(options.token), f"{options.pin}", f"{options.pin!r:>20}", str(options.key)]

    async def finds(self, parts: list[str]) -> bool:
        """Return whether this process can reach a text with these parts after another."""
        wanted = "".join(parts)
        texts = (str(one) for held in gc.get_objects() for one in gc.get_referents(held) if isinstance(one, str | bytes))
        return any(wanted in text for text in texts if text != wanted)

    async def say(self) -> None:
        pin = self.options.pin.reveal()
        print("the pin is", pin)
        self.log.warning("with %s", pin, extra={"pin": pin, "deep": [{"er": f"<{pin}>"}]})
        raise ValueError(f"pin {pin} is wrong")

    async def keep(self) -> None:
        await self.set("pin", self.options.pin)

    async def slow(self) -> str:
        before = self.options.label
        await self.commit()
        response = await self.network.fetch(f"{self.options.base_url}/slow")
        return f"{before} {self.options.label} {response.status}"

    async def label(self) -> str:
        return self.options.label

    async def options_changed(self, before: KeeperOptions) -> None:
        heard: list[str] = await self.get("heard", list[str], default=[])
        changed = [name for name in ("label", "token", "pin") if getattr(before, name) != getattr(self.options, name)]
        await self.set("heard", [*heard, f"{before.label} to {self.options.label}: {changed}"])
        if self.options.label == "reveals":
            before.pin.reveal()
        if self.options.label == "bad":
            raise RuntimeError("I do not like it")
        if self.options.label == "commits":
            await self.commit()
