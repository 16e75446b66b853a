"""The Network tool: HTTP requests to what the twist declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

from ropewalk.errors import InvalidValue, ValueTooLarge
from ropewalk.sdk.checks import positive_seconds
from ropewalk.sdk.http import Response
from ropewalk.sdk.secrets import Secret
from ropewalk.sdk.tokens import Callback
from ropewalk.sdk.tool import BuiltIn
from ropewalk.sdk.unit import AnyMethod, what_an_event_runs
from ropewalk.sdk.values import encode
from ropewalk.wire.messages import Fetch, HttpAnswer, WebhookCreate, WebhookDelete

BODY_LIMIT: Final = 12 * 1024 * 1024
"""Most bytes of a request's body: with its envelope it has to fit into one message."""

ParamValue = str | int | float | bool | None


class Network(BuiltIn):
    """HTTP requests to the URLs that match the declared patterns.

    Args:
        urls: patterns such as `https://api.example.com/*`, `https://*.example.com`, `*`; `{name}` stands for an option.
    """

    kind: ClassVar[str] = "Network"

    def __init__(self, *, urls: Sequence[str]) -> None:
        if isinstance(urls, str) or set(map(type, urls)) - {str}:
            raise TypeError(f"Network(urls=[...]) takes a list of URL patterns, not {urls!r:.80}")
        self.urls = tuple(urls)

    def declared(self) -> dict[str, Any]:
        """Return the patterns."""
        return {"urls": list(self.urls)}

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        params: Mapping[str, ParamValue | Sequence[ParamValue]] | None = None,
        json: object = None,
        content: str | bytes | None = None,
        timeout: float | timedelta = 30,
    ) -> Response:
        """Make a request and return its answer, whatever its status; redirects are followed, at most 5.

        Args:
            url: absolute, http or https.
            method: the HTTP method.
            headers: header fields.
            params: added to the URL's query; None values are left out, lists become repeated names.
            json: the body, as JSON.
            content: or the body as it is; text is sent in UTF-8.
            timeout: seconds, or a timedelta, for all of it.

        Raises:
            NetworkDenied: the URL is not declared, or leads to an address that is not public.
            NetworkError: the request could not be made, or its answer not read.
            FetchTimeout: it took longer than `timeout`.
            ValueTooLarge: the body has more than 12 MiB, or the answer's more than 32 MiB.
        """
        bound = self._ropewalk
        host = bound.running.host
        fields = _header_fields(headers)
        body = _body(json, content, fields)
        message = Fetch(
            id=host.next_id(),
            ns=bound.ns,
            method=method.upper(),
            url=with_params(url, params),
            headers=fields,
            body=body,
            timeout=positive_seconds(timeout, "timeout"),
        )
        answer: HttpAnswer = await host.call(message)
        return Response(answer, message.method)

    async def create_webhook(
        self,
        callback_or_method: Callback | AnyMethod | str,
        /,
        *args: object,
        respond: bool = False,
        secret: str | Secret | None = None,
        signature: Literal["github", "stripe", "slack", "standard", "hmac-sha256"] | None = None,
        challenge: Literal["slack", "meta", "microsoft"] | None = None,
    ) -> str:
        """Return a new URL whose requests run a method, each in an execution of its own that is durable before it is answered.

        The URL may be given away at once; requests wait until this execution commits, and are refused when it does not.

        Args:
            callback_or_method: a callback, or a method as `callback` takes it; it is called with the WebhookRequest first.
            *args: bound arguments; after those of the callback, if it has any.
            respond: have the sender wait for what the method returns: text, a WebhookResponse, or JSON.
            secret: what the sender signs its requests with, a text or a secret option; others are refused then.
            signature: how it signs them.
            challenge: whose handshake is answered, by the host, without running anything.

        Raises:
            CallbackNotFound: there is no such callback or method.
            TypeError: the arguments cannot fit the method.
            InvalidValue: a scheme is not known, or the secret cannot be used with it.
            PermissionDenied: the secret option is one that the host keeps (`urls=`).
            QueueFull: the instance has as many webhooks as it may.
        """
        bound = self._ropewalk
        host = bound.running.host
        token, target, arguments = what_an_event_runs(bound, callback_or_method, args, 1)
        message = WebhookCreate(
            id=host.next_id(),
            ns=bound.ns,
            callback=token,
            target=target,
            arguments=arguments,
            respond=bool(respond),
            secret=secret.reveal() if isinstance(secret, Secret) else secret,
            signature=signature,
            challenge=challenge,
        )
        url: str = await host.call(message)
        return url

    async def delete_webhook(self, url: str) -> None:
        """Have a webhook take no more requests, by the token in its URL, whatever comes before that; no error when it is gone already.

        What it has received before this execution commits still runs.
        """
        bound = self._ropewalk
        host = bound.running.host
        await host.call(WebhookDelete(id=host.next_id(), ns=bound.ns, url=str(url)))


def with_params(url: object, params: Mapping[str, ParamValue | Sequence[ParamValue]] | None) -> str:
    """Return `url` with `params` added to its query and without its fragment. Raises TypeError, InvalidValue."""
    if not isinstance(url, str):
        raise TypeError(f"a URL is a text, not {url!r:.80}")
    pairs = [
        (name, _param(value))
        for name, given in (params or {}).items()
        for value in (given if isinstance(given, list | tuple) else [given])
        if value is not None
    ]
    try:
        query = urlencode(pairs)
        url.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"the URL {url!r:.120} or its params have lone surrogates, which no URL can say") from None
    if not pairs and "#" not in url:
        return url
    scheme, place, path, given_query, _ = urlsplit(url)
    return urlunsplit((scheme, place, path, "&".join(filter(None, (given_query, query))), ""))


def _param(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _header_fields(headers: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> list[tuple[str, str]]:
    if headers is None:
        return []
    given = cast("Mapping[str, str]", headers).items() if isinstance(headers, Mapping) else headers
    return [(name, value) for name, value in given]


def _body(json: object, content: str | bytes | None, fields: list[tuple[str, str]]) -> bytes:
    """Return the request's body, and add its content type to the header fields unless it is there."""
    if json is not None and content is not None:
        raise TypeError("fetch() takes json= or content=, not both")
    if json is not None:
        if not any(name.lower() == "content-type" for name, _ in fields):
            fields.append(("Content-Type", "application/json"))
        return encode(json, "json=", limit=BODY_LIMIT)
    body = content.encode() if isinstance(content, str) else bytes(memoryview(content or b""))
    if len(body) > BODY_LIMIT:
        raise ValueTooLarge(f"the request's body has {len(body):,} bytes and may have {BODY_LIMIT:,}: send it in parts")
    return body
