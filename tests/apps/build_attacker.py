"""What a command of a build tries that is after more than its source: it ends with an error when something works."""

import ctypes
import os
import socket
import sys

PTRACE_ATTACH = 16
PLATFORM = "169.254.170.2"
LIBC = ctypes.CDLL(None, use_errno=True)


def processes():
    """The processes that a build sees."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def trace(pid):
    if LIBC.ptrace(PTRACE_ATTACH, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def trace_outside():
    """A build may trace its own commands; every other number is to be nobody's."""
    own = processes()
    for pid in range(1, 5000):
        if pid not in own and LIBC.ptrace(PTRACE_ATTACH, pid, 0, 0) == 0:
            return
    raise OSError("nobody can be traced")


def read_memory(pid):
    with open(f"/proc/{pid}/mem", "rb") as file:
        file.seek(4096)
        file.read(1)


def see_the_platform():
    """The first process is the container's own, and is the only one that may have the name."""
    for pid in processes():
        with open(f"/proc/{pid}/comm") as file:
            if pid != 1 and file.read().startswith("apron"):
                return
    raise OSError("no process is the platform's")


def read_variable(name):
    for pid in processes():
        if pid == 1:
            continue
        with open(f"/proc/{pid}/environ", "rb") as file:
            if f"{name}=".encode() in file.read():
                return
    raise OSError("no process has it")


def connect(port):
    socket.create_connection((PLATFORM, port), timeout=2).close()


def attempts(storage):
    return {
        "trace the first process": lambda: trace(1),
        "read the memory of the first process": lambda: read_memory(1),
        "trace a process outside": trace_outside,
        "see a process outside": see_the_platform,
        "read the variable of a secret": lambda: read_variable("APP_SECRET"),
        "ask for credentials": lambda: connect(80),
        "ask the API": lambda: connect(443),
        "find a path to credentials": lambda: os.environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
        "find the platform's files": lambda: os.stat(storage),
    }


worked = []
for name, attempt in attempts(sys.argv[1]).items():
    try:
        attempt()
    except (OSError, KeyError) as error:
        print(f"{name}: {type(error).__name__}: {error}")
    else:
        print(f"{name}: worked")
        worked.append(name)
sys.exit(len(worked))
