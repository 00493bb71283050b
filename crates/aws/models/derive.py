#!/usr/bin/env python3
"""Derives the shape tables next to this script from the API models that botocore publishes (Apache-2.0).

How to run, from any directory:

    python3 -m venv venv && venv/bin/pip install botocore==1.44.5
    venv/bin/python crates/aws/models/derive.py            # rewrites the tables
    venv/bin/python crates/aws/models/derive.py --check    # only tells whether they are what the models give

Only facts are taken over: names, types, constraints, error codes. No documentation text is copied. Operations in
IMPLEMENTED come with all their shapes; of every other operation only the name is kept, so that a real operation that
is not offered is told apart from one that does not exist.
"""

import json
import pathlib
import sys

import botocore.session

HERE = pathlib.Path(__file__).parent

# What the models do not say: the namespace in `__type`, and the exception for an input that breaks a constraint.
SERVICES = {
    "apprunner": {"error_namespace": "com.amazonaws.apprunner", "validation_error": "InvalidRequestException"},
    "cloudtrail": {"error_namespace": "", "validation_error": "InvalidParameterException"},
    "ecr": {"error_namespace": "", "validation_error": "InvalidParameterException"},
    "iam": {"error_namespace": "", "validation_error": "ValidationError"},
    "kms": {"error_namespace": "", "validation_error": "ValidationException"},
    "logs": {"error_namespace": "", "validation_error": "InvalidParameterException"},
    "secretsmanager": {"error_namespace": "", "validation_error": "ValidationException"},
    "ssm": {"error_namespace": "", "validation_error": "ValidationException"},
    "sts": {"error_namespace": "", "validation_error": "ValidationError"},
}

# Constraints that this platform does not share, by service and shape. An image may come from any registry by name, so
# the reference is parsed by the handler and not held against the two registry hosts that the model allows.
RELAXED = {"apprunner": {"ImageIdentifier": ["pattern"]}}

# None: every operation of the service.
IMPLEMENTED = {
    "apprunner": None,
    "cloudtrail": ["LookupEvents"],
    "ecr": [
        "BatchDeleteImage",
        "BatchGetImage",
        "CreateRepository",
        "DeleteRepository",
        "DeleteRepositoryPolicy",
        "DescribeImages",
        "DescribeRepositories",
        "GetAuthorizationToken",
        "GetRepositoryPolicy",
        "ListImages",
        "ListTagsForResource",
        "PutImageTagMutability",
        "SetRepositoryPolicy",
        "TagResource",
        "UntagResource",
    ],
    "iam": [
        "AddClientIDToOpenIDConnectProvider",
        "AddUserToGroup",
        "AttachGroupPolicy",
        "AttachRolePolicy",
        "AttachUserPolicy",
        "CreateAccessKey",
        "CreateGroup",
        "CreateOpenIDConnectProvider",
        "CreatePolicy",
        "CreatePolicyVersion",
        "CreateRole",
        "CreateServiceLinkedRole",
        "CreateUser",
        "DeleteAccessKey",
        "DeleteGroup",
        "DeleteGroupPolicy",
        "DeleteOpenIDConnectProvider",
        "DeletePolicy",
        "DeletePolicyVersion",
        "DeleteRole",
        "DeleteRolePermissionsBoundary",
        "DeleteRolePolicy",
        "DeleteServiceLinkedRole",
        "DeleteUser",
        "DeleteUserPermissionsBoundary",
        "DeleteUserPolicy",
        "DetachGroupPolicy",
        "DetachRolePolicy",
        "DetachUserPolicy",
        "GetAccessKeyLastUsed",
        "GetAccountAuthorizationDetails",
        "GetAccountSummary",
        "GetContextKeysForCustomPolicy",
        "GetContextKeysForPrincipalPolicy",
        "GetGroup",
        "GetGroupPolicy",
        "GetOpenIDConnectProvider",
        "GetPolicy",
        "GetPolicyVersion",
        "GetRole",
        "GetRolePolicy",
        "GetServiceLinkedRoleDeletionStatus",
        "GetUser",
        "GetUserPolicy",
        "ListAccessKeys",
        "ListAttachedGroupPolicies",
        "ListAttachedRolePolicies",
        "ListAttachedUserPolicies",
        "ListEntitiesForPolicy",
        "ListGroupPolicies",
        "ListGroups",
        "ListGroupsForUser",
        "ListInstanceProfilesForRole",
        "ListOpenIDConnectProviderTags",
        "ListOpenIDConnectProviders",
        "ListPolicies",
        "ListPolicyTags",
        "ListPolicyVersions",
        "ListRolePolicies",
        "ListRoleTags",
        "ListRoles",
        "ListUserPolicies",
        "ListUserTags",
        "ListUsers",
        "PutGroupPolicy",
        "PutRolePermissionsBoundary",
        "PutRolePolicy",
        "PutUserPermissionsBoundary",
        "PutUserPolicy",
        "RemoveClientIDFromOpenIDConnectProvider",
        "RemoveUserFromGroup",
        "SetDefaultPolicyVersion",
        "SimulateCustomPolicy",
        "SimulatePrincipalPolicy",
        "TagOpenIDConnectProvider",
        "TagPolicy",
        "TagRole",
        "TagUser",
        "UntagOpenIDConnectProvider",
        "UntagPolicy",
        "UntagRole",
        "UntagUser",
        "UpdateAccessKey",
        "UpdateAssumeRolePolicy",
        "UpdateGroup",
        "UpdateOpenIDConnectProviderThumbprint",
        "UpdateRole",
        "UpdateRoleDescription",
        "UpdateUser",
    ],
    "kms": [
        "CancelKeyDeletion",
        "CreateAlias",
        "CreateKey",
        "Decrypt",
        "DeleteAlias",
        "DescribeKey",
        "DisableKey",
        "EnableKey",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateRandom",
        "GetKeyPolicy",
        "ListAliases",
        "ListKeyPolicies",
        "ListKeys",
        "ListResourceTags",
        "PutKeyPolicy",
        "ReEncrypt",
        "ScheduleKeyDeletion",
        "TagResource",
        "UntagResource",
        "UpdateAlias",
        "UpdateKeyDescription",
    ],
    "logs": [
        "CreateLogGroup",
        "CreateLogStream",
        "DeleteLogGroup",
        "DeleteLogStream",
        "DeleteRetentionPolicy",
        "DescribeLogGroups",
        "DescribeLogStreams",
        "FilterLogEvents",
        "GetLogEvents",
        "PutLogEvents",
        "PutRetentionPolicy",
    ],
    "secretsmanager": [
        "BatchGetSecretValue",
        "CreateSecret",
        "DeleteResourcePolicy",
        "DeleteSecret",
        "DescribeSecret",
        "GetRandomPassword",
        "GetResourcePolicy",
        "GetSecretValue",
        "ListSecretVersionIds",
        "ListSecrets",
        "PutResourcePolicy",
        "PutSecretValue",
        "RestoreSecret",
        "TagResource",
        "UntagResource",
        "UpdateSecret",
        "UpdateSecretVersionStage",
    ],
    "ssm": [
        "AddTagsToResource",
        "DeleteParameter",
        "DeleteParameters",
        "DescribeParameters",
        "GetParameter",
        "GetParameterHistory",
        "GetParameters",
        "GetParametersByPath",
        "LabelParameterVersion",
        "ListTagsForResource",
        "PutParameter",
        "RemoveTagsFromResource",
        "UnlabelParameterVersion",
    ],
    "sts": [
        "AssumeRole",
        "AssumeRoleWithWebIdentity",
        "GetAccessKeyInfo",
        "GetCallerIdentity",
        "GetSessionToken",
    ],
}


def member(ref):
    """A reference to a shape, with its wire name where that differs."""
    out = {"shape": ref["shape"]}
    if "locationName" in ref:
        out["wire_name"] = ref["locationName"]
    return out


def shape_table(shape):
    """One shape, without its documentation."""
    kind = shape["type"]
    out = {"type": kind}
    for ours, theirs in (("min", "min"), ("max", "max"), ("pattern", "pattern"), ("enum", "enum")):
        if theirs in shape:
            out[ours] = shape[theirs]
    if shape.get("sensitive"):
        out["sensitive"] = True
    if kind == "structure":
        out["members"] = {name: member(ref) for name, ref in shape.get("members", {}).items()}
        if shape.get("required"):
            out["required"] = shape["required"]
        if shape.get("exception") or "error" in shape:
            error = shape.get("error", {})
            out["error"] = {"status": error.get("httpStatusCode", 500 if shape.get("fault") else 400)}
            if "code" in error:
                out["error"]["code"] = error["code"]
    elif kind == "list":
        out["member"] = member(shape["member"])
        if shape.get("flattened"):
            out["flattened"] = True
    elif kind == "map":
        out["key"] = member(shape["key"])
        out["value"] = member(shape["value"])
        if shape.get("flattened"):
            out["flattened"] = True
    elif kind == "timestamp" and "timestampFormat" in shape:
        out["format"] = shape["timestampFormat"]
    return out


def references(shape):
    """The names of the shapes that a shape refers to."""
    refs = list(shape.get("members", {}).values())
    refs += [shape[part] for part in ("member", "key", "value") if part in shape]
    return [ref["shape"] for ref in refs]


def operation_table(operation):
    """One operation: its input, output and errors by shape name."""
    out = {}
    if "input" in operation:
        out["input"] = operation["input"]["shape"]
    if "output" in operation:
        out["output"] = operation["output"]["shape"]
        if "resultWrapper" in operation["output"]:
            out["result_wrapper"] = operation["output"]["resultWrapper"]
    out["errors"] = [ref["shape"] for ref in operation.get("errors", [])]
    if operation.get("authtype") == "none":
        out["unsigned"] = True
    return out


def protocol(metadata):
    """The one protocol the table is for."""
    if metadata["protocol"] == "json":
        return {"1.0": "json-1.0", "1.1": "json-1.1"}[metadata["jsonVersion"]]
    assert metadata["protocol"] == "query"
    return "query"


def derive(loader, service):
    """The whole table of a service."""
    model = loader.load_service_model(service, "service-2")
    metadata = model["metadata"]
    wanted = IMPLEMENTED[service]
    if wanted is None:
        wanted = sorted(model["operations"])
    operations = {name: operation_table(model["operations"][name]) for name in wanted}
    todo = [s for op in operations.values() for s in [op.get("input"), op.get("output"), *op["errors"]] if s]
    shapes = {}
    while todo:
        name = todo.pop()
        if name not in shapes:
            dropped = RELAXED.get(service, {}).get(name, [])
            shapes[name] = {k: v for k, v in shape_table(model["shapes"][name]).items() if k not in dropped}
            todo += references(model["shapes"][name])
    return {
        "service": service,
        "service_name": metadata["serviceId"],
        "api_version": metadata["apiVersion"],
        "protocol": protocol(metadata),
        "signing_name": metadata.get("signingName", metadata["endpointPrefix"]),
        "target_prefix": metadata.get("targetPrefix", ""),
        "xml_namespace": metadata.get("xmlNamespace", ""),
        **SERVICES[service],
        "operations": operations,
        "other_operations": sorted(set(model["operations"]) - set(operations)),
        "shapes": dict(sorted(shapes.items())),
    }


def main():
    check = "--check" in sys.argv[1:]
    loader = botocore.session.get_session().get_component("data_loader")
    stale = []
    for service in SERVICES:
        text = json.dumps(derive(loader, service), indent=1) + "\n"
        path = HERE / f"{service}.json"
        if check and (not path.exists() or path.read_text() != text):
            stale.append(path.name)
        elif not check:
            path.write_text(text)
    if stale:
        sys.exit(f"not what the models give: {', '.join(stale)}")


main()
