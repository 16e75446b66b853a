"""What a webhook's URL is made of, and names that all who know of webhooks share."""

from __future__ import annotations

from typing import Final

PATH: Final = "/webhooks/"
"""What comes before the token in a webhook's URL; what comes after it, and a slash, is the sender's."""

DEFAULT: Final = "http://127.0.0.1:8420"
"""What URLs begin with while no node has ever listened and no setting says otherwise."""

LISTENING: Final = "url"
"""The fact that says where a node has last listened, for processes that listen nowhere."""

SEALED_AS: Final = "webhooks"
"""What a signing secret is sealed for, with its webhook's id."""


def url_of(base: str, token: str) -> str:
    """Return the URL of the webhook with this token."""
    return f"{base.rstrip('/')}{PATH}{token}"
