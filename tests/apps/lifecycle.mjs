// A service's whole life through the AWS SDK for JavaScript. Arguments: an image, the port of services.
import { request } from "node:https";
import {
  AppRunnerClient,
  CreateAutoScalingConfigurationCommand,
  CreateServiceCommand,
  DeleteServiceCommand,
  DescribeServiceCommand,
  ListOperationsCommand,
  ListServicesCommand,
  ListTagsForResourceCommand,
  PauseServiceCommand,
  ResumeServiceCommand,
  StartDeploymentCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateServiceCommand,
} from "@aws-sdk/client-apprunner";

const DEADLINE_MS = 90_000;
const [image, port] = process.argv.slice(2);
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

// What the service itself answers; every name below `localhost` is this machine.
function ask(servername) {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, servername, headers: { Host: servername }, agent: false };
    const asked = request(options, (response) => {
      let body = "";
      response.on("data", (part) => (body += part));
      response.on("end", () => resolve({ status: response.statusCode, body }));
    });
    asked.on("error", reject);
    asked.end();
  });
}

function expect(what, actual, expected) {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) throw new Error(`${what}: ${left}, not ${right}`);
}

const { AutoScalingConfiguration: scaling } = await client.send(
  new CreateAutoScalingConfigurationCommand({ AutoScalingConfigurationName: "javascript-life", MaxConcurrency: 50 }),
);
expect("the first revision", scaling.AutoScalingConfigurationRevision, 1);
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
    AutoScalingConfigurationArn: scaling.AutoScalingConfigurationArn,
    Tags: [{ Key: "team", Value: "blue" }],
  }),
);
const arn = created.Service.ServiceArn;
if (!(created.Service.CreatedAt instanceof Date)) throw new Error("CreatedAt is no date");
const running = await settle(arn, "RUNNING");
expect("the configuration", running.AutoScalingConfigurationSummary.AutoScalingConfigurationName, "javascript-life");
const answered = await ask(running.ServiceUrl);
expect("the service", [answered.status, JSON.parse(answered.body).version], [200, "v1"]);

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

await client.send(new TagResourceCommand({ ResourceArn: arn, Tags: [{ Key: "cost", Value: "7" }] }));
await client.send(new UntagResourceCommand({ ResourceArn: arn, TagKeys: ["team"] }));
const { Tags } = await client.send(new ListTagsForResourceCommand({ ResourceArn: arn }));
expect("the tags", Tags, [{ Key: "cost", Value: "7" }]);

await client.send(new PauseServiceCommand({ ServiceArn: arn }));
await settle(arn, "PAUSED");
expect("the paused service", (await ask(running.ServiceUrl)).status, 503);
await client.send(new ResumeServiceCommand({ ServiceArn: arn }));
await settle(arn, "RUNNING");
await client.send(new StartDeploymentCommand({ ServiceArn: arn }));
await settle(arn, "RUNNING");
expect("the deployed service", (await ask(running.ServiceUrl)).status, 200);
const { OperationSummaryList } = await client.send(new ListOperationsCommand({ ServiceArn: arn }));
expect(
  "the operations",
  OperationSummaryList.map((operation) => operation.Type),
  ["START_DEPLOYMENT", "RESUME_SERVICE", "PAUSE_SERVICE", "UPDATE_SERVICE", "CREATE_SERVICE"],
);

try {
  await client.send(new CreateServiceCommand({ ServiceName: "x", SourceConfiguration: {} }));
  throw new Error("an invalid service was created");
} catch (error) {
  if (error.name !== "InvalidRequestException") throw error;
}
await client.send(new DeleteServiceCommand({ ServiceArn: arn }));
await settle(arn, "DELETED");
console.log("done");
