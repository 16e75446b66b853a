"""The sandbox as a value: what follows from the facts about a host."""

from __future__ import annotations

import msgspec

from ropewalk.sandbox.assessment import assess
from ropewalk.sandbox.facts import HostFacts, gather_facts
from ropewalk.sandbox.profile import describe_profile, make_plan, printable
from ropewalk.wire.plan import Bind, Empty, Link, decode_plan, encode_plan

HOST = HostFacts(
    machine="x86_64",
    kernel="6.18.1-generic",
    user=0,
    group=0,
    maps_nobody=True,
    namespaces=["user", "mount", "pid", "net", "ipc", "uts", "cgroup"],
    user_namespaces=True,
    landlock_abi=7,
    seccomp=True,
    executable="/opt/python/bin/python3.11",
    libraries=["/usr/lib", "/lib"],
    links={"/lib": "usr/lib"},
    interpreter=[
        ("/opt/python/bin/python3.11", "/opt/python/bin/python3.11"),
        ("/opt/python/lib/python3.11", "/opt/python/lib/python3.11"),
    ],
    site_packages=["/opt/python/lib/python3.11/site-packages"],
    data=[("/usr/share/zoneinfo", "/usr/share/zoneinfo"), ("/usr/lib/ssl/cert.pem", "/usr/lib/ssl/cert.pem")],
    package="/srv/ropewalk",
    package_files=["__init__.py", "cli", "errors.py", "guest", "sdk", "storage", "wire"],
    msgspec="/srv/venv/msgspec",
)


def changed(**facts: object) -> HostFacts:
    """Return the host with other facts."""
    return msgspec.structs.replace(HOST, **facts)


def test_the_sandbox_sees_its_own_part_of_the_package() -> None:
    profile = describe_profile(HOST, "/data/bundles")
    ours = [step.source for step in profile.mounts if isinstance(step, Bind) and step.target.startswith("/ropewalk/ropewalk/")]
    assert ours == [f"/srv/ropewalk/{name}" for name in ("__init__.py", "errors.py", "sdk", "guest", "wire")]


def test_installed_packages_are_covered_after_the_library_is_bound() -> None:
    mounts = describe_profile(HOST, "/data/bundles").mounts
    library = mounts.index(Bind(source="/opt/python/lib/python3.11", target="/opt/python/lib/python3.11"))
    assert mounts.index(Empty(target="/opt/python/lib/python3.11/site-packages")) > library


def test_what_a_folder_shows_already_is_not_bound_again() -> None:
    mounts = describe_profile(HOST, "/data/bundles").mounts
    assert Link(target="/lib", to="usr/lib") in mounts
    assert "/usr/lib/ssl/cert.pem" not in [step.target for step in mounts]


def test_root_lets_guests_be_nobody_and_a_user_themselves() -> None:
    assert describe_profile(HOST, "/b").identity.user == 65534
    alone = describe_profile(changed(user=1000, group=100), "/b").identity
    assert (alone.user, alone.uid_map[0].outside, alone.gid_map[0].outside) == (None, 1000, 100)
    assert describe_profile(changed(maps_nobody=False), "/b").identity.user is None


def test_landlock_denies_what_the_kernel_knows() -> None:
    assert describe_profile(changed(landlock_abi=1), "/b").landlock.deny_net == []
    newest = describe_profile(HOST, "/b").landlock
    assert "ioctl_dev" in newest.deny
    assert newest.scopes == ["abstract_unix_socket", "signal"]
    assert make_plan(describe_profile(changed(landlock_abi=0), "/b"), HOST).confinement.landlock is None


def test_no_rule_of_landlock_allows_writing() -> None:
    assert {access for rule in describe_profile(HOST, "/b").landlock.rules for access in rule.allow} == {"read_file", "read_dir"}


def test_the_plan_crosses_unchanged() -> None:
    plan = make_plan(describe_profile(HOST, "/data/bundles"), HOST)
    assert decode_plan(encode_plan(plan)) == plan


def test_the_profile_can_be_printed() -> None:
    text = msgspec.json.encode(printable(describe_profile(HOST, "/data/bundles")))
    assert b'"ptrace"' in text


def test_this_host_is_good_enough_for_these_tests() -> None:
    assert assess(gather_facts()).problems == []


def test_what_is_below_the_floor_says_what_to_do() -> None:
    bad = changed(machine="aarch64", kernel="5.10.0", user_namespaces=False, seccomp=False)
    problems = assess(bad).problems
    assert [problem.means for problem in problems] == ["machine", "kernel", "namespaces", "seccomp"]
    assert all(len(problem.detail) > 40 for problem in problems)


def test_what_is_absent_says_what_stands_in() -> None:
    findings = {finding.means: finding for finding in assess(changed(landlock_abi=0, user=1000)).findings}
    assert [findings[means].state for means in ("landlock", "landlock scopes", "identity")] == ["absent"] * 3
    assert assess(changed(landlock_abi=0, user=1000)).problems == []
