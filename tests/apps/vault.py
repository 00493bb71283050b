"""Secrets Manager, Parameter Store and KMS through boto3."""

import boto3
from botocore.exceptions import ClientError

secrets, parameters, keys = (boto3.client(name) for name in ("secretsmanager", "ssm", "kms"))


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error
    raise SystemExit(f"{call} was not refused with {code}")


made = secrets.create_secret(Name="boto/db", SecretString="one", Tags=[{"Key": "a", "Value": "b"}])
assert secrets.get_secret_value(SecretId="boto/db")["SecretString"] == "one"
assert secrets.get_secret_value(SecretId=made["ARN"])["VersionStages"] == ["AWSCURRENT"]
secrets.put_secret_value(SecretId="boto/db", SecretBinary=b"\x00\x01two")
assert secrets.get_secret_value(SecretId="boto/db")["SecretBinary"] == b"\x00\x01two"
previous = secrets.get_secret_value(SecretId="boto/db", VersionStage="AWSPREVIOUS")
assert previous["SecretString"] == "one"
refused("ResourceExistsException", secrets.create_secret, Name="boto/db", SecretString="x")
refused("ResourceNotFoundException", secrets.get_secret_value, SecretId="boto/none")
names = [s["Name"] for page in secrets.get_paginator("list_secrets").paginate(PaginationConfig={"PageSize": 1}) for s in page["SecretList"]]
assert names == ["boto/db"], names
secrets.delete_secret(SecretId="boto/db", RecoveryWindowInDays=7)
refused("InvalidRequestException", secrets.get_secret_value, SecretId="boto/db")
secrets.restore_secret(SecretId="boto/db")
assert len(secrets.get_random_password(PasswordLength=20)["RandomPassword"]) == 20

assert parameters.put_parameter(Name="/boto/a", Value="1", Type="SecureString")["Version"] == 1
assert parameters.put_parameter(Name="/boto/a", Value="2", Overwrite=True)["Version"] == 2
parameters.put_parameter(Name="/boto/b", Value="x,y", Type="StringList")
assert parameters.get_parameter(Name="/boto/a", WithDecryption=True)["Parameter"]["Value"] == "2"
assert parameters.get_parameter(Name="/boto/a:1", WithDecryption=True)["Parameter"]["Value"] == "1"
pages = parameters.get_paginator("get_parameters_by_path").paginate(Path="/boto", PaginationConfig={"PageSize": 1})
assert [p["Name"] for page in pages for p in page["Parameters"]] == ["/boto/a", "/boto/b"]
history = parameters.get_parameter_history(Name="/boto/a", WithDecryption=True)["Parameters"]
assert [p["Value"] for p in history] == ["1", "2"]
missing = parameters.get_parameters(Names=["/boto/b", "/boto/c"])
assert missing["InvalidParameters"] == ["/boto/c"]
refused("ParameterNotFound", parameters.delete_parameter, Name="/boto/c")

key = keys.create_key(Description="boto")["KeyMetadata"]
keys.create_alias(AliasName="alias/boto", TargetKeyId=key["KeyId"])
sealed = keys.encrypt(KeyId="alias/boto", Plaintext=b"hush", EncryptionContext={"a": "b"})["CiphertextBlob"]
assert keys.decrypt(CiphertextBlob=sealed, EncryptionContext={"a": "b"})["Plaintext"] == b"hush"
refused("InvalidCiphertextException", keys.decrypt, CiphertextBlob=sealed)
data_key = keys.generate_data_key(KeyId=key["Arn"], KeySpec="AES_256")
assert keys.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
keys.disable_key(KeyId=key["KeyId"])
refused("DisabledException", keys.encrypt, KeyId=key["KeyId"], Plaintext=b"x")
keys.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
assert keys.describe_key(KeyId="alias/boto")["KeyMetadata"]["KeyState"] == "PendingDeletion"
print("done")
