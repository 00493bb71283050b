"""Valid requests, in an order in which each has what it needs."""

from differences import MADE, REFUSED, WITHOUT_ENGINE
from generate import Generator
from world import NEEDED

LISTINGS_WITH_ENTRIES = [
    "ListServices",
    "ListAutoScalingConfigurations",
    "ListConnections",
    "ListObservabilityConfigurations",
    "ListVpcConnectors",
]


class Valid:
    """Sends the least and the most valid requests and checks the answers."""

    def __init__(self, model, world, checker, report):
        self.model, self.world, self.checker, self.report = model, world, checker, report

    def both(self, operation, *, least=None, most=None, service=None, then=None):
        """The minimal request and, where it differs, the maximal one. Returns both answers."""
        first = self._one(operation, "minimal", least or {}, service, then)
        second = self._one(operation, "maximal", most or {}, service, then)
        return first, second or first

    def _one(self, operation, kind, given, service, then):
        given = self.world.given(operation) | {(name,): value for name, value in given.items()}
        generator = Generator(self.model, given, self.world.left_out(operation))
        request = generator.minimal(operation, NEEDED.get(operation, ()))
        if kind == "maximal":
            most = generator.maximal(operation)
            if most.keys() == request.keys() and most == request:
                return None
            request = most
        return self.call(operation, kind, request, service=service, then=then)

    def call(self, operation, kind, request, *, service=None, then=None):
        """One call that succeeds, or is refused in the one modelled way. `then` is the status a service settles in."""
        answer = self.world.wire.call(operation, request)
        if operation in WITHOUT_ENGINE:
            code, _ = WITHOUT_ENGINE[operation]
            assert code in self.model.errors(operation), (operation, code)
            faults = self.checker.error(answer, {code})
        else:
            faults = self.checker.success(operation, answer)
        if then and answer.status == 200:
            faults += self.world.settle(service or answer.body["Service"]["ServiceArn"], then)
        self.report.case(operation, "valid", kind, faults)
        return answer

    def refused(self, operation):
        """Members whose engine does not exist: refused, and nothing happened."""
        for path, value, _ in REFUSED.get(operation, []):
            given = self.world.given(operation) | ({} if value is MADE else {path: value})
            request = Generator(self.model, given).containing(operation, path, NEEDED[operation])
            before = self.world.snapshot(), self.world.details()
            answer = self.world.wire.call(operation, request)
            faults = self.checker.error(answer, {"InvalidRequestException"})
            if (self.world.snapshot(), self.world.details()) != before:
                faults.append("something changed")
            self.report.case(operation, "refused", ".".join(path), faults)

    def create(self):
        """Configurations, then services that use them."""
        created = {}
        for kind, name in (
            ("AutoScalingConfiguration", "conformance-scaling"),
            ("ObservabilityConfiguration", "conformance-traces"),
            ("Connection", "conformance-code"),
            ("VpcConnector", "conformance-net"),
        ):
            member = f"{kind}Name"
            most = self.model.shapes[member]["max"]
            least_and_most = self.both(
                f"Create{kind}", least={member: name}, most={member: name.ljust(most, "x")}
            )
            created[kind] = [answer.body[kind][f"{kind}Arn"] for answer in least_and_most]
        self.created = created
        for kind, arns in created.items():
            self.world.names[f"{kind}Arn"] = arns[1]
        return created

    def services(self):
        """Two services, one of each request."""
        # What is not named is the account's default, so that the least request shows it.
        longest = self.model.shapes["ServiceName"]["max"]
        answers = self.both(
            "CreateService",
            least={"ServiceName": "conformance"},
            most={"ServiceName": "conformance".ljust(longest, "-")},
            then="RUNNING",
        )
        self.arns = [answer.body["Service"]["ServiceArn"] for answer in answers]
        first = self.arns[0]
        self.world.account_and_region = first[: first.index(":service/")]
        self.world.names |= {"ServiceArn": first, "ResourceArn": first}
        generator = Generator(self.model, self.world.given("UpdateService"), self.world.left_out("UpdateService"))
        self.call("UpdateService", "hollow", generator.hollow("UpdateService"), then="RUNNING")
        self.both("UpdateService", service=first, then="RUNNING")

    def reads(self):
        """Everything that only looks, pages included."""
        for operation in LISTINGS_WITH_ENTRIES:
            least = {"LatestOnly": False} if "LatestOnly" in self._members(operation) else {}
            self._pages(operation, least)
        self._pages("ListServicesForAutoScalingConfiguration", {})
        self._pages("ListOperations", {})
        for operation in (
            "ListVpcIngressConnections",
            "DescribeCustomDomains",
            "DescribeService",
            "DescribeAutoScalingConfiguration",
            "DescribeObservabilityConfiguration",
            "DescribeVpcConnector",
        ):
            self.both(operation)

    def _members(self, operation):
        return self.model.shapes[self.model.input(operation)]["members"]

    def _pages(self, operation, request):
        """The whole list, and the page behind the first entry; together they say the same."""
        names = {(name,): value for name, value in self.world.names.items() if name in self._members(operation)}
        request = request | {path[0]: value for path, value in names.items()}
        whole = self.call(operation, "minimal", request)
        head = self.call(operation, "first page", request | {"MaxResults": 1})
        if "NextToken" not in head.body:
            self.report.case(operation, "valid", "maximal", ["the first page has no NextToken"])
            return
        member = next(name for name in whole.body if name != "NextToken")
        filters = {name: whole.body[member][1][name] for name in self._members(operation) if name.endswith("Name")}
        if filters:
            self.call(operation, "filtered", request | filters)
        rest = request | {"NextToken": head.body["NextToken"]}
        limit = self.model.shapes[self._members(operation)["MaxResults"]["shape"]]["max"]
        tail = self.call(operation, "maximal", rest | {"MaxResults": limit})
        same = head.body[member] + tail.body.get(member, []) == whole.body[member]
        if not same:
            self.report.fault(f"{operation}: the pages together are not the whole list")

    def changes(self):
        """Everything that changes what exists, services first."""
        first = self.arns[0]
        self.both("TagResource")
        self.both("ListTagsForResource")
        self.both("UntagResource")
        self.both("StartDeployment", service=first, then="RUNNING")
        self.both("PauseService", service=first, then="PAUSED")
        self.call("PauseService", "again", {"ServiceArn": first})
        self.both("ResumeService", service=first, then="RUNNING")
        self.call("ResumeService", "again", {"ServiceArn": first})
        for operation in WITHOUT_ENGINE:
            self.both(operation)

    def deletes(self):
        """Everything made goes, and what was deleted is still described."""
        for arn in self.arns:
            self.call("DeleteService", "minimal", {"ServiceArn": arn}, then="DELETED")
        self.call("DescribeService", "deleted", {"ServiceArn": self.arns[0]})
        scaling, observability = (self.created[f"{kind}Configuration"] for kind in ("AutoScaling", "Observability"))
        self.both("UpdateDefaultAutoScalingConfiguration", most={"AutoScalingConfigurationArn": scaling[0]})
        default = self.world.arn("autoscalingconfiguration/DefaultConfiguration")
        self.call("UpdateDefaultAutoScalingConfiguration", "partial ARN", {"AutoScalingConfigurationArn": default})
        self.call("DeleteAutoScalingConfiguration", "minimal", {"AutoScalingConfigurationArn": scaling[0]})
        by_name = scaling[1].rsplit("/", 2)[0]
        every = {"AutoScalingConfigurationArn": by_name, "DeleteAllRevisions": True}
        self.call("DeleteAutoScalingConfiguration", "maximal", every)
        gone = {"AutoScalingConfigurationArn": scaling[0]}
        self.call("DescribeAutoScalingConfiguration", "deleted", gone)
        for kind in ("ObservabilityConfiguration", "VpcConnector", "Connection"):
            for arn in self.created[kind]:
                self.call(f"Delete{kind}", "minimal", {f"{kind}Arn": arn})
        for kind in ("ObservabilityConfiguration", "VpcConnector"):
            self.call(f"Describe{kind}", "deleted", {f"{kind}Arn": self.created[kind][0]})
