"""The tools that every twist may declare."""

from __future__ import annotations

from ropewalk.sdk.network import Network as Network
from ropewalk.sdk.plot import Plot as Plot
