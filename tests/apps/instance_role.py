"""An application as people write it: it knows the name of its secret and nothing of the platform it runs on."""

import os

import boto3
from served import serve


def answer(path, _query):
    if path == "/whoami":
        return {"arn": boto3.client("sts").get_caller_identity()["Arn"]}
    if path == "/environment":
        return {
            "password_length": len(os.environ.get("DB_PASSWORD", "")),
            "credentials": os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", ""),
        }
    if path.startswith("/secret/"):
        secret = boto3.client("secretsmanager").get_secret_value(SecretId=path.removeprefix("/secret/"))
        return {"value": secret["SecretString"]}
    if path.startswith("/parameter/"):
        name = "/" + path.removeprefix("/parameter/")
        parameter = boto3.client("ssm").get_parameter(Name=name, WithDecryption=True)
        return {"value": parameter["Parameter"]["Value"]}
    raise KeyError(path)


serve(answer)
