"""Identities as people use them, with boto3: users, keys, groups of policies, roles, sessions, the registry, the audit trail.

Arguments: the host and port of the registry, the authority's certificate.
"""

import json
import ssl
import sys
import urllib.error
import urllib.request

import boto3
from botocore.exceptions import ClientError

REGISTRY, CA = sys.argv[1:3]
READ_ONLY = "arn:aws:iam::aws:policy/AWSAppRunnerReadOnlyAccess"
PULL_ONLY = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly"


def refused(code, call, *parts):
    """The call has to be refused, with this code and these words."""
    try:
        call()
    except ClientError as error:
        said = error.response["Error"]
        assert said["Code"] == code and all(part in said["Message"] for part in parts), said
        return
    raise AssertionError(f"not refused with {code}")


def document(action, resource="*"):
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trust(principal):
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def session(keys):
    """What a program with these keys uses."""
    token = keys.get("SessionToken")
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], token)


def ask_registry(who, method, path):
    """The status of a request to the registry with the log-in that ECR gives."""
    answer = who.client("ecr").get_authorization_token()
    token = answer["authorizationData"][0]["authorizationToken"]
    headers = {"Authorization": f"Basic {token}"}
    request = urllib.request.Request(f"https://{REGISTRY}/v2/{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=CA)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


iam, root = boto3.client("iam"), boto3.Session()
account = boto3.client("sts").get_caller_identity()["Account"]

# A user may nothing, until a policy says so.
iam.create_user(UserName="ann", Tags=[{"Key": "team", "Value": "a"}])
iam.get_waiter("user_exists").wait(UserName="ann")
ann = session(iam.create_access_key(UserName="ann")["AccessKey"])
denied = "because no identity-based policy allows the apprunner:ListServices action"
refused("AccessDeniedException", ann.client("apprunner").list_services, f"user/ann is not", denied)
refused("AccessDenied", ann.client("iam").list_users, "iam:ListUsers")
iam.attach_user_policy(UserName="ann", PolicyArn=READ_ONLY)
assert ann.client("apprunner").list_services()["ServiceSummaryList"] == []
refused("AccessDeniedException", ann.client("logs").describe_log_groups, "logs:DescribeLogGroups")

# Managed policies come back as they were given.
policy = iam.create_policy(PolicyName="repositories", PolicyDocument=document("ecr:*"))["Policy"]["Arn"]
version = iam.get_policy_version(PolicyArn=policy, VersionId="v1")["PolicyVersion"]
assert version["Document"] == json.loads(document("ecr:*")), version

# Roles: App Runner's are tried when a service is made, others are assumed.
build = trust({"Service": "build.apprunner.amazonaws.com"})
access = iam.create_role(RoleName="access", AssumeRolePolicyDocument=json.dumps(build))["Role"]
assert access["AssumeRolePolicyDocument"] == build
iam.get_waiter("role_exists").wait(RoleName="access")


def create(access_role=None, instance_role=None):
    image = {"ImageIdentifier": f"{REGISTRY}/app:v1", "ImageRepositoryType": "ECR"}
    source = {"ImageRepository": image}
    more = {"InstanceConfiguration": {"InstanceRoleArn": instance_role}} if instance_role else {}
    if access_role:
        source["AuthenticationConfiguration"] = {"AccessRoleArn": access_role}
    return boto3.client("apprunner").create_service(ServiceName="shop", SourceConfiguration=source, **more)


missing = f"arn:aws:iam::{account}:role/none"
refused("InvalidRequestException", lambda: create(missing), f"Error in assuming access role {missing}")
refused("InvalidRequestException", lambda: create(None, access["Arn"]), "Error in assuming instance role")

own = trust({"AWS": f"arn:aws:iam::{account}:user/ann"})
ops = iam.create_role(RoleName="ops", Path="/team/", AssumeRolePolicyDocument=json.dumps(own))["Role"]
iam.attach_role_policy(RoleName="ops", PolicyArn=policy)
assumed = ann.client("sts").assume_role(RoleArn=ops["Arn"], RoleSessionName="shift")
ops = session(assumed["Credentials"])
assert ops.client("sts").get_caller_identity()["Arn"].endswith(":assumed-role/ops/shift")
ops.client("ecr").create_repository(repositoryName="app")
refused("AccessDeniedException", ops.client("apprunner").list_services, "assumed-role/ops/shift")

# The registry: who may pull may not push, and a policy of the repository has a say.
iam.create_user(UserName="puller")
key = iam.create_access_key(UserName="puller")["AccessKey"]
puller = session(key)
iam.attach_user_policy(UserName="puller", PolicyArn=PULL_ONLY)
assert ask_registry(ops, "POST", "app/blobs/uploads/") == 202
assert ask_registry(puller, "POST", "app/blobs/uploads/") == 403
assert ask_registry(puller, "GET", "app/manifests/v1") == 404
deny = {"Effect": "Deny", "Principal": "*", "Action": "ecr:BatchGetImage"}
text = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
root.client("ecr").set_repository_policy(repositoryName="app", policyText=text)
assert ask_registry(puller, "GET", "app/manifests/v1") == 403
iam.update_access_key(UserName="puller", AccessKeyId=key["AccessKeyId"], Status="Inactive")
refused("UnrecognizedClientException", puller.client("ecr").get_authorization_token)

# Everything of it is recorded.
attribute = {"AttributeKey": "Username", "AttributeValue": "shift"}
events = boto3.client("cloudtrail").lookup_events(LookupAttributes=[attribute])["Events"]
names = [event["EventName"] for event in events]
assert names.count("CreateRepository") == 1 and "InitiateLayerUpload" in names, names
record = json.loads(next(e for e in events if e["EventName"] == "ListServices")["CloudTrailEvent"])
assert record["errorCode"] == "AccessDeniedException", record

print("done")
