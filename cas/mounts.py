"""On which kind of file system a path lies; network file systems are refused.

LMDB shares a memory map and process-shared locks between processes. Neither is coherent between
the clients of a network file system, so two hosts would corrupt the store without an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from cas.errors import AccessError

__all__ = ["file_system_of", "refuse_network_file_system"]

_MOUNT_TABLE: Final = Path("/proc/self/mountinfo")
_NETWORK: Final = re.compile(
    r"(nfs\d*|cifs|smb\d*|smbfs|9p|afs|auristorfs|kafs|coda|ncpfs?|ceph|gfs2?|glusterfs|ocfs2"
    r"|lustre|lustre_lite|beegfs|orangefs|pvfs2|gpfs|panfs|wekafs|davfs|acfs"
    r"|fuse\.(sshfs|s3fs|gcsfuse|rclone|glusterfs|ceph|ceph-fuse|cephfs|davfs2?|juicefs|goofys"
    r"|mount-s3|smbnetfs|curlftpfs|moosefs|mfs|seaweedfs|blobfuse2?|nfs\w*|afp\w*|lizardfs))"
)
_MOUNT_POINT_FIELD: Final = 4
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


def _unescape(field: str) -> str:
    """Return a field of the mount table with its octal escapes decoded: a space is ``040``, say."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)


def file_system_of(path: Path, mount_table: Path = _MOUNT_TABLE) -> str | None:
    """Return the kind of file system (``ext4``, ``nfs4``) that holds the real ``path``.

    It is that of the longest mount point which is a prefix of the path, the last one mounted
    where several are the same.

    Returns:
        The kind, or ``None`` where the system has no such table.
    """
    try:
        table = mount_table.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    best: tuple[int, str] | None = None
    for line in table.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) <= _MOUNT_POINT_FIELD:
            continue
        point = Path(_unescape(fields[_MOUNT_POINT_FIELD]))
        if path.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = len(point.parts), _unescape(after.split(" ")[0])
    return best[1] if best else None


def refuse_network_file_system(path: Path, mount_table: Path = _MOUNT_TABLE) -> None:
    """Check that the real ``path`` is not on a network file system.

    Raises:
        AccessError: It is.
    """
    kind = file_system_of(path, mount_table)
    if kind is not None and _NETWORK.fullmatch(kind):
        raise AccessError(
            f"{path} is on a network file system ({kind}), where locks and memory maps are not "
            "shared reliably between machines, so the store could be damaged without notice; put "
            "HIVE_HOME on a local disk, or pass force_network=True if only one machine uses it",
            path=path,
        )
