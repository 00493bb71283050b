// A service's life through the AWS SDK for JavaScript: create, describe, update, delete. Argument: an image.
import {
  AppRunnerClient,
  CreateServiceCommand,
  DeleteServiceCommand,
  DescribeServiceCommand,
  ListServicesCommand,
  UpdateServiceCommand,
} from "@aws-sdk/client-apprunner";

const DEADLINE_MS = 90_000;
const image = process.argv[2];
// The region and the endpoint come from the environment, as for every client.
const client = new AppRunnerClient({ endpoint: process.env.AWS_ENDPOINT_URL, maxAttempts: 1 });

async function settle(arn, expected) {
  const deadline = Date.now() + DEADLINE_MS;
  while (Date.now() < deadline) {
    const { Service } = await client.send(new DescribeServiceCommand({ ServiceArn: arn }));
    if (Service.Status !== "OPERATION_IN_PROGRESS") {
      if (Service.Status !== expected) throw new Error(`${Service.Status}, not ${expected}`);
      console.log(Service.Status);
      return Service;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`not ${expected} after ${DEADLINE_MS} ms`);
}

const created = await client.send(
  new CreateServiceCommand({
    ServiceName: "javascript-life",
    SourceConfiguration: {
      ImageRepository: {
        ImageIdentifier: image,
        ImageRepositoryType: "ECR",
        ImageConfiguration: { Port: "8080", RuntimeEnvironmentVariables: { APP_ENV: "javascript" } },
      },
      AutoDeploymentsEnabled: false,
    },
    InstanceConfiguration: { Cpu: "256", Memory: "512" },
  }),
);
const arn = created.Service.ServiceArn;
if (!(created.Service.CreatedAt instanceof Date)) throw new Error("CreatedAt is no date");
await settle(arn, "RUNNING");

const { ServiceSummaryList } = await client.send(new ListServicesCommand({}));
if (ServiceSummaryList.length !== 1) throw new Error("the service is not listed once");

await client.send(
  new UpdateServiceCommand({
    ServiceArn: arn,
    HealthCheckConfiguration: { Protocol: "HTTP", Path: "/health", Interval: 1 },
  }),
);
const updated = await settle(arn, "RUNNING");
if (updated.HealthCheckConfiguration.Path !== "/health") throw new Error("the update is not seen");

try {
  await client.send(new CreateServiceCommand({ ServiceName: "x", SourceConfiguration: {} }));
  throw new Error("an invalid service was created");
} catch (error) {
  if (error.name !== "InvalidRequestException") throw error;
}
await client.send(new DeleteServiceCommand({ ServiceArn: arn }));
await settle(arn, "DELETED");
console.log("done");
