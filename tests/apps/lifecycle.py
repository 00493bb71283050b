"""A service's whole life through boto3. Arguments: an image, the port of services, the authority's certificate."""

import http.client
import json
import socket
import ssl
import sys
import time

import boto3
from botocore.exceptions import ClientError

DEADLINE_SECONDS = 90

image, port, authority = sys.argv[1:4]
client = boto3.client("apprunner")


def settle(arn, expected):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        status = client.describe_service(ServiceArn=arn)["Service"]["Status"]
        if status != "OPERATION_IN_PROGRESS":
            assert status == expected, f"{status}, not {expected}"
            print(status)
            return
        time.sleep(0.1)
    raise SystemExit(f"not {expected} after {DEADLINE_SECONDS} s")


def ask(host):
    """What the service itself answers; every name below `localhost` is this machine."""
    context = ssl.create_default_context(cafile=authority)
    with socket.create_connection(("127.0.0.1", int(port))) as plain:
        with context.wrap_socket(plain, server_hostname=host) as tls:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(tls)
            response.begin()
            return response.status, response.read()


scaling = client.create_auto_scaling_configuration(
    AutoScalingConfigurationName="boto3-life", MaxConcurrency=50, MinSize=1, MaxSize=3
)["AutoScalingConfiguration"]
assert (scaling["AutoScalingConfigurationRevision"], scaling["Latest"]) == (1, True), scaling
created = client.create_service(
    ServiceName="boto3-life",
    SourceConfiguration={
        "ImageRepository": {
            "ImageIdentifier": image,
            "ImageRepositoryType": "ECR",
            "ImageConfiguration": {"Port": "8080"},
        },
        "AutoDeploymentsEnabled": False,
    },
    InstanceConfiguration={"Cpu": "0.25 vCPU", "Memory": "0.5 GB"},
    AutoScalingConfigurationArn=scaling["AutoScalingConfigurationArn"],
    Tags=[{"Key": "team", "Value": "blue"}],
)
service = created["Service"]
arn = service["ServiceArn"]
assert service["HealthCheckConfiguration"]["Protocol"] == "TCP", service
assert service["CreatedAt"].tzinfo is not None, service
settle(arn, "RUNNING")
status, body = ask(service["ServiceUrl"])
assert (status, json.loads(body)["version"]) == (200, "v1"), (status, body)
users = client.list_services_for_auto_scaling_configuration(
    AutoScalingConfigurationArn=scaling["AutoScalingConfigurationArn"]
)["ServiceArnList"]
assert users == [arn], users

names = [one["ServiceName"] for one in client.list_services()["ServiceSummaryList"]]
assert names == ["boto3-life"], names
tags = client.list_tags_for_resource(ResourceArn=arn)["Tags"]
assert tags == [{"Key": "team", "Value": "blue"}], tags

client.tag_resource(ResourceArn=arn, Tags=[{"Key": "apron:request-timeout", "Value": "30s"}])
client.untag_resource(ResourceArn=arn, TagKeys=["team"])
tags = client.list_tags_for_resource(ResourceArn=arn)["Tags"]
assert tags == [{"Key": "apron:request-timeout", "Value": "30s"}], tags
try:
    client.tag_resource(ResourceArn=arn, Tags=[{"Key": "apron:sticky", "Value": "glue"}])
    raise SystemExit("a tag was accepted that nothing understands")
except client.exceptions.InvalidRequestException as error:
    assert "cookie or none" in str(error), error

client.update_service(ServiceArn=arn, InstanceConfiguration={"Cpu": "512", "Memory": "1024"})
settle(arn, "RUNNING")
size = client.describe_service(ServiceArn=arn)["Service"]["InstanceConfiguration"]
assert (size["Cpu"], size["Memory"]) == ("512", "1024"), size

client.pause_service(ServiceArn=arn)
settle(arn, "PAUSED")
assert ask(service["ServiceUrl"])[0] == 503
client.resume_service(ServiceArn=arn)
settle(arn, "RUNNING")
started = client.start_deployment(ServiceArn=arn)["OperationId"]
settle(arn, "RUNNING")
assert ask(service["ServiceUrl"])[0] == 200

operations = client.list_operations(ServiceArn=arn)["OperationSummaryList"]
kinds = [one["Type"] for one in operations]
assert operations[0]["Id"] == started, operations
assert kinds == [
    "START_DEPLOYMENT",
    "RESUME_SERVICE",
    "PAUSE_SERVICE",
    "UPDATE_SERVICE",
    "CREATE_SERVICE",
], kinds

try:
    client.describe_service(ServiceArn=arn[:-1] + ("0" if arn[-1] != "0" else "1"))
    raise SystemExit("a service that does not exist was described")
except ClientError as error:
    assert error.response["Error"]["Code"] == "ResourceNotFoundException", error

client.delete_service(ServiceArn=arn)
settle(arn, "DELETED")
assert client.list_services()["ServiceSummaryList"] == []
client.delete_auto_scaling_configuration(AutoScalingConfigurationArn=scaling["AutoScalingConfigurationArn"])
print("done")
