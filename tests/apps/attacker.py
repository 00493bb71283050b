"""An application that is after more than it has. What it may do it does with boto3, as others do."""

import ctypes
import os
import ssl
import urllib.error
import urllib.request

import boto3
from served import serve

PLATFORM = "169.254.170.2"
TOKEN = "/etc/apron/identity/token"
PTRACE_ATTACH = 16
LIBC = ctypes.CDLL(None, use_errno=True)


def said(request):
    """The status of an answer and what it begins with."""
    context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as response:
            return f"{response.status} {response.read(400).decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(400).decode()}"


def traced(pid):
    if LIBC.ptrace(PTRACE_ATTACH, pid, 0, 0) == 0:
        return "worked"
    return os.strerror(ctypes.get_errno())


def outcome(attempt):
    try:
        return str(attempt())
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def written():
    with open(TOKEN, "w") as token:
        token.write("x")
    return "worked"


def memory():
    with open("/proc/1/mem", "rb") as file:
        file.seek(4096)
        return f"worked: {len(file.read(1))}"


def attempts(query):
    """What each attempt came to."""
    unsigned = urllib.request.Request(f"https://{PLATFORM}/", b"{}", {
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AppRunner.ListServices"})
    tried = {
        "trace-init": lambda: traced(1),
        "trace-others": lambda: [traced(pid) for pid in range(2, 64) if pid != os.getpid()].count("worked"),
        "memory-of-init": memory,
        "others-credentials": lambda: said(f"http://{PLATFORM}{query['credentials']}"),
        "guessed-credentials": lambda: said(f"http://{PLATFORM}/v2/credentials/{'00' * 32}"),
        "unsigned-call": lambda: said(unsigned),
        "registry": lambda: said(f"https://{PLATFORM}/v2/"),
        "git": lambda: said(f"https://{PLATFORM}/git/x.git/info/refs?service=git-upload-pack"),
        "storage": lambda: os.path.exists(query["storage"]),
        "token": written,
    }
    return {name: outcome(attempt) for name, attempt in tried.items()}


def answer(path, query):
    if path == "/whoami":
        return {"arn": boto3.client("sts").get_caller_identity()["Arn"]}
    if path.startswith("/secret/"):
        secret = boto3.client("secretsmanager").get_secret_value(SecretId=path.removeprefix("/secret/"))
        return {"value": secret["SecretString"]}
    if path == "/attempts":
        return attempts(query)
    raise KeyError(path)


serve(answer)
