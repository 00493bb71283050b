"""A service's life through boto3: create, describe, list, update, pause, resume, delete. Argument: an image."""

import sys
import time

import boto3
from botocore.exceptions import ClientError

DEADLINE_SECONDS = 90

image = sys.argv[1]
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
    Tags=[{"Key": "team", "Value": "blue"}],
)
service = created["Service"]
arn = service["ServiceArn"]
assert service["HealthCheckConfiguration"]["Protocol"] == "TCP", service
assert service["CreatedAt"].tzinfo is not None, service
settle(arn, "RUNNING")

names = [one["ServiceName"] for one in client.list_services()["ServiceSummaryList"]]
assert names == ["boto3-life"], names
tags = client.list_tags_for_resource(ResourceArn=arn)["Tags"]
assert tags == [{"Key": "team", "Value": "blue"}], tags

client.update_service(ServiceArn=arn, InstanceConfiguration={"Cpu": "512", "Memory": "1024"})
settle(arn, "RUNNING")
size = client.describe_service(ServiceArn=arn)["Service"]["InstanceConfiguration"]
assert (size["Cpu"], size["Memory"]) == ("512", "1024"), size

client.pause_service(ServiceArn=arn)
settle(arn, "PAUSED")
client.resume_service(ServiceArn=arn)
settle(arn, "RUNNING")

operations = client.list_operations(ServiceArn=arn)["OperationSummaryList"]
kinds = [one["Type"] for one in operations]
assert kinds == ["RESUME_SERVICE", "PAUSE_SERVICE", "UPDATE_SERVICE", "CREATE_SERVICE"], kinds

try:
    client.describe_service(ServiceArn=arn[:-1] + ("0" if arn[-1] != "0" else "1"))
    raise SystemExit("a service that does not exist was described")
except ClientError as error:
    assert error.response["Error"]["Code"] == "ResourceNotFoundException", error

client.delete_service(ServiceArn=arn)
settle(arn, "DELETED")
assert client.list_services()["ServiceSummaryList"] == []
print("done")
