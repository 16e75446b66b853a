"""A twist that keeps what its webhooks receive."""

from __future__ import annotations

from typing import Any

from ropewalk import Options, PermissionDenied, Priority, Secret, Tool, Twist, WebhookRequest, WebhookResponse, secret
from ropewalk.tools import Network


class ReceiverOptions(Options):
    web: str = "http://127.0.0.1:1"
    signing: Secret | None = secret(default=None)


class Inner(Tool):
    network = Network(urls=["*"])

    async def listen(self) -> str:
        return await self.network.create_webhook("heard", "inner")

    async def heard(self, request: WebhookRequest, what: str) -> None:
        await self.set(f"heard {what}", request.method)


class Receiver(Twist):
    """Keeps what it receives."""

    options: ReceiverOptions
    network = Network(urls=["{web}/*"])
    inner = Inner()

    async def activate(self, priority: Priority) -> None:
        await self.set("url", await self.network.create_webhook(self.on_hook, "bound"))

    async def on_hook(self, request: WebhookRequest, what: str) -> None:
        seen = {
            "trigger": self.execution.trigger,
            "what": what,
            "id": request.id,
            "method": request.method,
            "path": request.path,
            "params": request.params,
            "headers": dict(request.headers),
            "body": request.body,
            "raw": request.raw_body.hex()[:200_000],
            "size": len(request.raw_body),
        }
        await self.set_many({f"seen {self.execution.id}": seen, "seen": seen})
        await self.set("count", await self.get("count", int, default=0) + 1)

    async def create(self, method: str, arguments: list[Any], keywords: dict[str, Any]) -> str:
        return await self.network.create_webhook(method, *arguments, **keywords)

    async def create_signed(self) -> str:
        return await self.network.create_webhook(self.on_hook, "signed", secret=self.options.signing, signature="github")

    async def create_twice(self) -> list[str]:
        return [await self.network.create_webhook(self.on_hook, "same") for _ in range(2)]

    async def create_of_callback(self) -> list[str]:
        callback = await self.callback(self.on_hook, "called back")
        return [callback, await self.network.create_webhook(callback)]

    async def forget_callback(self, callback: str) -> None:
        await self.delete_callback(callback)

    async def deactivate(self) -> None:
        try:
            await self.network.create_webhook(self.on_hook, "too late")
        except PermissionDenied as denied:
            self.log.info("%s", denied)

    async def create_in_tool(self) -> str:
        return await self.inner.listen()

    async def delete(self, url: str) -> None:
        await self.network.delete_webhook(url)

    async def create_and_wait(self, fails: bool, keywords: dict[str, Any]) -> None:
        """Give a URL away before this commits, and go on when the test lets it."""
        url = await self.network.create_webhook(self.on_hook, "early", **keywords)
        await self.network.fetch(f"{self.options.web}/one/early", params={"url": url})
        if fails:
            raise ValueError("no")

    async def create_and_fail_once(self) -> str:
        url = await self.network.create_webhook(self.on_hook, "again")
        await self.network.fetch(f"{self.options.web}/one/again", params={"url": url})
        if self.execution.attempt == 1:
            raise ValueError("not yet")
        return url

    async def answer(self, request: WebhookRequest, how: str) -> Any:
        await self.set("count", await self.get("count", int, default=0) + 1)
        match how:
            case "text":
                return "héllo"
            case "json":
                return {"got": request.body}
            case "none":
                return None
            case "whole":
                return WebhookResponse(status=418, headers={"X-Tea": "yes", "Content-Type": "text/tea"}, body="pot")
            case "bytes":
                return WebhookResponse(body=b"\x00\xff")
            case "no content":
                return WebhookResponse(status=204)
            case "forged":
                return {"answer_is": "http", "status": 200, "headers": [["set-cookie", "a=b"]]}
            case "slow":
                await self.network.fetch(f"{self.options.web}/silent", timeout=60)
            case _:
                raise ValueError("no answer")
        return "late"
