"""A filter of system calls for the sandbox: those that make namespaces, hide memory or reach into processes fail.

Other limits already bind; this removes ways around them. Memory that belongs to no process, such as a file in memory,
escapes a count by process, and in a user namespace of its own a program could mount file systems without limit. No
notebook needs these calls; each fails with "Operation not permitted".
"""

from __future__ import annotations

import errno
import platform
import struct

# Numbers on x86-64 and on 64-bit ARM.
REFUSED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "kexec_load": (246, 104), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
}  # fmt: skip
CLONE, CLONE3, MMAP = (56, 220), (435, 435), (9, 222)
NAMESPACES = 0x7E020080  # the flags of clone that make a new namespace
SHARED, ANONYMOUS = 0x01, 0x20  # flags of mmap
X32 = 0x40000000  # bit of the numbers of x86-64's second set of calls
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

LOAD, EQUAL, LEAST, ANY, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, MACHINE, ARGUMENTS = 0, 4, 16  # where these stand in what a filter is given; eight bytes an argument
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000


def program() -> bytes | None:
    """Return the filter as the kernel takes it; None on a machine whose numbers are not known."""
    if platform.machine() not in MACHINES:
        return None
    column, machine = MACHINES[platform.machine()]
    lines = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, machine), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    lines += [(LEAST, 0, 1, X32), (RETURN, 0, 0, REFUSE | errno.ENOSYS)]
    for numbers in REFUSED.values():
        lines += [(EQUAL, 0, 1, numbers[column]), (RETURN, 0, 0, REFUSE | errno.EPERM)]
    # The C library tries clone3 first, whose flags lie where a filter cannot read; then clone.
    lines += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, REFUSE | errno.ENOSYS)]
    lines += [(EQUAL, 0, 4, CLONE[column]), (LOAD, 0, 0, ARGUMENTS)]
    lines += [(ANY, 0, 1, NAMESPACES), (RETURN, 0, 0, REFUSE | errno.EPERM), (RETURN, 0, 0, ALLOW)]
    # Memory that is shared and has no file stays when it is unmapped, and then belongs to no process.
    lines += [(EQUAL, 0, 4, MMAP[column]), (LOAD, 0, 0, ARGUMENTS + 8 * 3), (ANY, 0, 2, ANONYMOUS), (ANY, 0, 1, SHARED)]
    lines += [(RETURN, 0, 0, REFUSE | errno.EPERM), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
