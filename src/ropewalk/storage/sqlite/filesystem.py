"""Which file system a path is on: SQLite's write-ahead log needs memory that all processes share, so none that spans machines."""

from __future__ import annotations

import os
from pathlib import Path

NETWORKED = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "orangefs", "pvfs2", "smb2", "smb3", "smbfs"}
    | {"fuse.ceph-fuse", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.mfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)
"""Names, as the kernel lists them, of file systems that machines share."""


def network_filesystem(folder: Path) -> str | None:
    """Return the name of the network file system that holds `folder`; None for a local one, or where the kernel doesn't tell."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    name = filesystem_of(os.stat(folder).st_dev, mounts)
    return name if name in NETWORKED else None


def filesystem_of(device: int, mounts: str) -> str | None:
    """Return the file system's name of `device` in the text of a `mountinfo` (proc(5)), None when it is not listed."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        if separator and before.split(" ", 3)[2] == wanted:
            return after.split(" ", 1)[0]
    return None
