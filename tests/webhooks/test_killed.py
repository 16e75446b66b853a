"""Nodes that are killed while they take requests in: what was acknowledged runs, what was not may come again, and each runs once."""

from __future__ import annotations

import itertools
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.harness.commands import Cli
from tests.harness.waiting import until

TWIST = Path(__file__).parent / "twists" / "receiver.py"


class Sender:
    """A provider that names its deliveries, and sends each until it is acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.unanswered = 0
        self.url = ""
        self._numbers = itertools.count(1)
        self._stop = threading.Event()

    def has_sent(self, count: int) -> bool:
        """Whether so many were acknowledged."""
        return len(self.acknowledged) >= count

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send from four threads for as long as the block runs."""
        threads = [threading.Thread(target=self._send_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _send_all(self) -> None:
        while not self._stop.is_set():
            self._send(f"d{next(self._numbers)}")

    def _send(self, name: str) -> None:
        while name not in self.acknowledged:
            request = urllib.request.Request(self.url, data=b"x" * 500, headers={"Idempotency-Key": name}, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    assert answer.status == 202
                    self.acknowledged[name] = answer.read()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                self.unanswered += 1
                time.sleep(0.02)  # as a provider would, before it sends again


@pytest.fixture
def killed_often(cli: Cli) -> Cli:
    """A database whose instance may run as much as comes."""
    cli.environment |= {"ROPEWALK_PACE_BURST": "100000"}
    return cli


def test_each_delivery_runs_once_whatever_is_killed(killed_often: Cli) -> None:
    cli, sender = killed_often, Sender()
    node = cli.start()
    instance = (cli.json("deploy", str(TWIST)), cli.json("activate", "receiver", "--wait"))[1]["instance"]
    url = cli.json("store", "get", instance, "url")
    token = url.rpartition("/")[2]
    sender.url = url
    with sender.sending():
        for round_ in range(1, 4):
            until(partial(sender.has_sent, 30 * round_), "some deliveries to be acknowledged")
            node.kill()
            node = cli.start()
            sender.url = f"{node.url}/webhooks/{token}"
    assert node.terminate() == 0
    cli.json("drain", "--until-idle")
    received = cli.json("webhooks", instance)
    names = [row["delivery"] for row in received]
    assert len(names) == len(set(names))
    assert set(names) >= set(sender.acknowledged)
    assert {row["status"] for row in received} == {"succeeded"}
    assert cli.json("store", "get", instance, "count") == len(names)
    assert sender.unanswered > 0


def test_a_url_leads_to_whichever_node_listens(cli: Cli) -> None:
    cli.environment["ROPEWALK_PUBLIC_URL"] = "https://hooks.example.com/in/"
    cli.json("deploy", str(TWIST))
    instance = cli.json("activate", "receiver", "--wait")["instance"]
    url = cli.json("store", "get", instance, "url")
    assert url.startswith("https://hooks.example.com/in/webhooks/wh_")
    made = cli.json("invoke", instance, "create", "--args", '["answer", ["json"], {"respond": true}]')["result"]
    token = made.rpartition("/")[2]
    worker = cli.launch("--role", "worker")
    try:
        with cli.serving("--role", "web") as web:
            request = urllib.request.Request(
                f"{web.url}/webhooks/{token}", data=b"[1]", headers={"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.read() == b'{"got":[1]}'
            cli.json("invoke", instance, "delete", "--args", f'["{made}"]')
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(request, timeout=30)
            with urllib.request.urlopen(f"{web.url}/metrics", timeout=30) as metrics:
                told = metrics.read().decode()
    finally:
        worker.end()
    assert "ropewalk_webhooks_accepted_total 1.0" in told
    assert 'ropewalk_webhooks_refused_total{reason="unknown"} 1.0' in told
