"""Where this platform knowingly differs from the model. An entry that no longer differs fails the test."""

import patterns

# Constraints of inputs that are not applied, by shape and constraint.
INPUT = {
    ("ImageIdentifier", "pattern"): "an image may come from any registry, not only from the two the pattern allows",
}

# Constraints of outputs that answers do not satisfy, by shape and constraint: the values that appear, and why.
OUTPUT = {
    ("ImageIdentifier", "pattern"): (r"[a-z0-9.:/-]+", "an image may come from any registry"),
    ("AutoScalingConfigurationStatus", "enum"): (
        r"active|inactive",
        "lower case, as the real service answers and Terraform waits for",
    ),
    ("ServiceId", "pattern"): (
        r"[0-9a-f]{32}",
        "the model wants 32 characters and hyphens of a UUID with 36; real ids are 32 hexadecimal digits",
    ),
    ("UUID", "pattern"): (r"[0-9a-f]{32}", "operation ids equal the suffix of the deployment's log stream"),
    ("UUID", "min"): (r"[0-9a-f]{32}", "operation ids equal the suffix of the deployment's log stream"),
}

NO_INGRESS = "private services do not exist, so no VPC ingress connection does"
NO_DOMAINS = "custom domains are not available"

# Operations that cannot succeed, with the error they answer to a valid request.
WITHOUT_ENGINE = {
    "AssociateCustomDomain": ("InvalidRequestException", NO_DOMAINS),
    "DisassociateCustomDomain": ("ResourceNotFoundException", NO_DOMAINS),
    "CreateVpcIngressConnection": ("InvalidRequestException", NO_INGRESS),
    "DescribeVpcIngressConnection": ("ResourceNotFoundException", NO_INGRESS),
    "UpdateVpcIngressConnection": ("ResourceNotFoundException", NO_INGRESS),
    "DeleteVpcIngressConnection": ("ResourceNotFoundException", NO_INGRESS),
}

SOURCE = ("SourceConfiguration",)
IMAGE = (*SOURCE, "ImageRepository", "ImageConfiguration")
NETWORK = ("NetworkConfiguration",)
# A value that the generator makes.
MADE = object()

# Members, or single values of them, that are refused with InvalidRequestException: their engine does not exist yet, or what
# a generator can make up for them means nothing here.
_SERVICE = [
    ((*SOURCE, "CodeRepository"), MADE, "these requests have an image, and a service has one source"),
    (
        (*SOURCE, "AuthenticationConfiguration", "ConnectionArn"),
        MADE,
        "these requests have an image, which needs no connection",
    ),
    (
        (*IMAGE, "RuntimeEnvironmentSecrets"),
        {"PASSWORD": "no reference"},
        "a value is the ARN of a secret or a parameter, or a parameter's name",
    ),
    ((*NETWORK, "EgressConfiguration", "EgressType"), "VPC", "VPC connectors are stored but carry no traffic"),
    ((*NETWORK, "EgressConfiguration", "VpcConnectorArn"), MADE, "VPC connectors are stored but carry no traffic"),
    ((*NETWORK, "IngressConfiguration", "IsPubliclyAccessible"), False, "private services are not available"),
    ((*NETWORK, "IpAddressType"), "DUAL_STACK", "IPv6 is not available"),
    (("ObservabilityConfiguration", "ObservabilityEnabled"), True, "tracing is not available"),
]
REFUSED = {
    "CreateService": [*_SERVICE, (("EncryptionConfiguration",), MADE, "the key that is made up here is none of this platform's")],
    "UpdateService": _SERVICE,
}

SUMMARY = "a service names its configuration only, as the real service's answers do"

# Members of outputs that no answer can have yet, by a part of their path.
UNANSWERED = {
    "CodeRepository": "the services of this test have images",
    "AuthenticationConfiguration.ConnectionArn": "the services of this test have images",
    "RuntimeEnvironmentSecrets": "the services of this test have no secrets",
    "EgressConfiguration.VpcConnectorArn": "VPC connectors are stored but carry no traffic",
    "EncryptionConfiguration": "the services of this test have no key of their own",
    "Service.ObservabilityConfiguration.ObservabilityConfigurationArn": "tracing is not available",
    "VpcDNSTargets.[]": NO_INGRESS,
    "VpcIngressConnectionSummaryList.[]": NO_INGRESS,
    "CustomDomains.[]": NO_DOMAINS,
    "Service.AutoScalingConfigurationSummary.Status": SUMMARY,
    "Service.AutoScalingConfigurationSummary.CreatedAt": SUMMARY,
    "Service.AutoScalingConfigurationSummary.HasAssociatedService": SUMMARY,
    "Service.AutoScalingConfigurationSummary.IsDefault": SUMMARY,
}


class Differences:
    """The tables, and which of their entries were met."""

    def __init__(self):
        self.met = set()
        self.shapes = set()

    def input(self, shape, constraint):
        return (shape, constraint) in INPUT

    def output(self, operation, shape, constraint, value):
        """Whether a value that breaks a constraint is one of the known ones."""
        entry = OUTPUT.get((shape, constraint))
        known = entry is not None and patterns.matches(entry[0], value)
        if known:
            self.met.add(("output", shape, constraint))
            self.shapes.add((operation, shape))
        return known

    def meet_input(self, operation, shape, constraint):
        self.met.add(("input", shape, constraint))
        self.shapes.add((operation, shape))

    def unmet(self):
        """Entries that nothing differed for."""
        entries = [("input", *key) for key in INPUT] + [("output", *key) for key in OUTPUT]
        return [entry for entry in entries if entry not in self.met]
