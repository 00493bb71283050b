"""What exists while the test runs: two services and a few configurations, and what requests have to say to name them."""

import json
import time

import boto3

from differences import IMAGE, NETWORK, REFUSED, SOURCE, WITHOUT_ENGINE

# Longest time an operation on a service may take, seconds.
SETTLE_SECONDS_MAX = 60
# Time between two looks, seconds.
LOOK_SECONDS = 0.05

# Everything that a refused request may not have changed.
LISTS = {
    "ListServices": {},
    "ListAutoScalingConfigurations": {"LatestOnly": False},
    "ListConnections": {},
    "ListObservabilityConfigurations": {"LatestOnly": False},
    "ListVpcConnectors": {},
}

# Optional members without which an operation has nothing to do.
NEEDED = {"CreateService": ((*SOURCE, "ImageRepository"),), "UpdateService": ()}

# Two tokens cannot be had: those listings are always empty.
NO_TOKEN = {"ListVpcIngressConnections", "DescribeCustomDomains"}


class World:
    """Names of what exists, by the member that names it."""

    def __init__(self, wire, image):
        self.wire = wire
        self.image = image
        self.names = {}
        self.account_and_region = None
        self.iam = boto3.client("iam")
        self.roles = {}

    def given(self, operation):
        """Values that must name something that exists, or that a running service depends on."""
        given = {(name,): value for name, value in self.names.items()}
        # The model has no most for it, and it cannot be less than the least.
        given[("MaxSize",)] = 25
        if operation in ("CreateService", "UpdateService"):
            given |= self._service()
        if operation in WITHOUT_ENGINE and "VpcIngress" in operation:
            given[("VpcIngressConnectionArn",)] = self.arn("vpcingressconnection/none/" + "0" * 32)
        return given

    def _service(self):
        image = (*SOURCE, "ImageRepository")
        health = ("HealthCheckConfiguration",)
        return {
            (*image, "ImageIdentifier"): self.image,
            (*image, "ImageRepositoryType"): "ECR",
            (*IMAGE, "StartCommand"): "/echo",
            (*IMAGE, "Port"): "8080",
            ("InstanceConfiguration", "Cpu"): "0.25 vCPU",
            ("InstanceConfiguration", "Memory"): "0.5 GB",
            ("InstanceConfiguration", "InstanceRoleArn"): self.role("tasks"),
            (*SOURCE, "AuthenticationConfiguration", "AccessRoleArn"): self.role("build"),
            # The longest waits would be the test's own.
            (*health, "Interval"): 1,
            (*health, "HealthyThreshold"): 1,
            (*health, "Path"): "/health",
            (*NETWORK, "EgressConfiguration", "EgressType"): "DEFAULT",
            (*NETWORK, "IngressConfiguration", "IsPubliclyAccessible"): True,
            (*NETWORK, "IpAddressType"): "IPV4",
            ("ObservabilityConfiguration", "ObservabilityEnabled"): False,
        }

    def role(self, principal):
        """The ARN of a role that a part of App Runner may assume."""
        name = f"conformance-{principal}"
        if name not in self.roles:
            trusted = {"Service": f"{principal}.apprunner.amazonaws.com"}
            statement = {"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}
            trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            made = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
            self.roles[name] = made["Role"]["Arn"]
            if principal == "build":
                policy = "arn:aws:iam::aws:policy/service-role/AWSAppRunnerServicePolicyForECRAccess"
                self.iam.attach_role_policy(RoleName=name, PolicyArn=policy)
        return self.roles[name]

    def left_out(self, operation):
        """Members that the maximal request cannot have."""
        refused = {path for path, *_ in REFUSED.get(operation, [])} - set(self.given(operation))
        return refused | ({("NextToken",)} if operation in NO_TOKEN else set())

    def arn(self, resource):
        """An ARN of this account."""
        return f"{self.account_and_region}:{resource}"

    def snapshot(self):
        """Everything that the lists show."""
        return {operation: self._read(operation, request) for operation, request in LISTS.items()}

    def _read(self, operation, request):
        """An answer that has to be there: two errors would be equal to each other."""
        answer = self.wire.send(operation, request)
        if answer.status != 200:
            raise LookupError(f"{operation}: {answer.status} {answer.code}: {answer.message}")
        return answer.body

    def details(self):
        """What only describing shows: the services in full, their tags and operations."""
        found = []
        for summary in self._read("ListServices", {})["ServiceSummaryList"]:
            arn = summary["ServiceArn"]
            for operation, member in (
                ("DescribeService", "ServiceArn"),
                ("ListTagsForResource", "ResourceArn"),
                ("ListOperations", "ServiceArn"),
            ):
                found.append(self._read(operation, {member: arn}))
        return found

    def settle(self, arn, wanted):
        """Waits until the operation on a service is over."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while time.monotonic() < deadline:
            status = self._read("DescribeService", {"ServiceArn": arn})["Service"]["Status"]
            if status != "OPERATION_IN_PROGRESS":
                return [] if status == wanted else [f"the service is {status}, not {wanted}"]
            time.sleep(LOOK_SECONDS)
        return [f"the service is not {wanted} after {SETTLE_SECONDS_MAX} s"]
