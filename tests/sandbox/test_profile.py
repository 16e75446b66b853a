"""The sandbox as a value: what follows from the facts about a host."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ropewalk.sandbox.assessment import assess
from ropewalk.sandbox.facts import HostFacts, gather_facts
from ropewalk.sandbox.profile import describe_profile, make_plan, printable
from ropewalk.sandbox.syscalls import NAMES
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
    site_packages=["/opt/python/lib/python3.11/site-packages", "/usr/lib/python3/dist-packages"],
    beside={
        "/opt/python/lib/python3.11": ["asyncio", "os.py"],
        "/usr/lib": ["python3", "x86_64-linux-gnu"],
        "/usr/lib/python3": ["debpython"],
    },
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
    plain: Any = msgspec.json.decode(msgspec.json.encode(printable(describe_profile(HOST, "/data/bundles"))))
    assert list(plain["seccomp"]) == [str(number) for number in range(len(plain["seccomp"]))]
    assert len(plain["seccomp"]) == max(NAMES) + 1
    assert (plain["seccomp"]["0"], plain["seccomp"]["101"], plain["seccomp"]["9"]) == ("allow", "EPERM", "arguments")
    assert (plain["seccomp_beyond"], plain["seccomp_x32"], plain["seccomp_foreign"]) == ("ENOSYS", "kill", "kill")
    assert plain["seccomp_names"]["101"] == "ptrace"


def test_what_is_printed_of_rules_is_an_attempts() -> None:
    plain: Any = printable(describe_profile(HOST, "/data/bundles"))
    threads, otherwise = plain["seccomp_rules"]["56"]
    assert (threads["verdict"], otherwise) == ("allow", {"when": [], "verdict": "EPERM"})
    assert plain["seccomp"]["317"] == "EPERM", "an attempt adds no filter"
    assert set(plain["seccomp_zygote"]) == {"56", "317"}


def test_without_a_filter_none_is_printed() -> None:
    assert printable(describe_profile(HOST, "/b", "unsafe"))["seccomp"] is None


def test_without_namespaces_what_is_read_has_its_own_name_and_no_installed_package() -> None:
    profile = describe_profile(HOST, "/data/bundles", "landlock")
    readable = [rule.path for rule in profile.landlock.rules if "read_file" in rule.allow]
    assert "/data/bundles/{bundle}" in readable
    assert {path for path in readable if path.startswith(("/opt/python/lib", "/usr/lib"))} == {
        "/opt/python/lib/python3.11/asyncio",
        "/opt/python/lib/python3.11/os.py",
        "/usr/lib/python3/debpython",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/ssl/cert.pem",
    }
    assert {path for path in readable if path.startswith("/srv")} == {
        *(f"/srv/ropewalk/{name}" for name in ("__init__.py", "errors.py", "sdk", "guest", "wire")),
        "/srv/venv/msgspec",
    }


def test_without_namespaces_nothing_is_mounted_or_mapped() -> None:
    plan = make_plan(describe_profile(HOST, "/b", "landlock"), HOST)
    assert (plan.namespaces, plan.mounts, plan.uid_map, plan.confinement.namespaces) == (0, [], [], False)
    assert plan.confinement.landlock is not None
    assert plan.confinement.table is not None


def test_unsafe_is_resource_limits_and_nothing_else() -> None:
    confinement = make_plan(describe_profile(HOST, "/b", "unsafe"), HOST).confinement
    assert (confinement.namespaces, confinement.landlock, confinement.table, confinement.no_fork) == (False, None, None, None)
    assert confinement.limits == make_plan(describe_profile(HOST, "/b", "landlock"), HOST).confinement.limits


def test_this_host_is_good_enough_for_these_tests() -> None:
    assert assess(gather_facts()).problems == []


def test_what_is_below_the_floor_says_what_to_do() -> None:
    bad = changed(machine="aarch64", kernel="5.10.0", user_namespaces=False, landlock_abi=3, seccomp=False)
    problems = assess(bad).problems
    assert [problem.means for problem in problems] == ["machine", "kernel", "namespaces", "seccomp"]
    assert all(len(problem.detail) > 40 for problem in problems)


def test_what_is_absent_says_what_stands_in() -> None:
    findings = {finding.means: finding for finding in assess(changed(landlock_abi=0, user=1000)).findings}
    assert [findings[means].state for means in ("landlock", "landlock scopes", "identity")] == ["absent"] * 3
    assert assess(changed(landlock_abi=0, user=1000)).problems == []


@pytest.mark.parametrize(("abi", "below"), [(0, ["namespaces"]), (3, ["namespaces"]), (4, []), (7, [])])
def test_landlock_stands_in_for_namespaces_from_version_4_on(abi: int, below: list[str]) -> None:
    found = assess(changed(user_namespaces=False, landlock_abi=abi))
    assert [problem.means for problem in found.problems] == below
    assert found.profile == "landlock"


def test_namespaces_that_cannot_be_used_are_none() -> None:
    assert assess(changed(namespaces=["user", "mount", "ipc"])).profile == "landlock"
    assert assess(HOST).profile == "user-namespace"


def test_without_a_sandbox_only_the_machine_has_to_fit() -> None:
    poor = changed(user_namespaces=False, landlock_abi=0, seccomp=False)
    assert (assess(poor, unsafe=True).profile, assess(poor, unsafe=True).problems) == ("unsafe", [])
    assert assess(changed(machine="riscv64"), unsafe=True).problems != []
