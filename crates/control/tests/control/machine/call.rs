//! What clients call, how it goes over the wire, and what of an answer the reference says something about.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An image; the last one crashes.
pub type Image = usize;

pub const IMAGES: [&str; 3] = ["one", "two", "broken"];

/// One call. Resources are named by ARN, as clients know them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    CreateService {
        name: String,
        image: Image,
        scaling: Option<String>,
        tag: Option<(String, String)>,
    },
    UpdateService {
        arn: String,
        image: Option<Image>,
        scaling: Option<String>,
    },
    /// An operation of a service whose input is its ARN.
    OnService(&'static str, String),
    ListServices,
    AssociateDomain(String),
    DisassociateDomain(String),
    CreateIngress(String),
    /// An operation of a VPC ingress connection, of which there are none.
    OnIngress(&'static str),
    ListIngress,
    CreateScaling {
        name: String,
        min: u32,
        max: u32,
    },
    /// An operation of an auto scaling configuration whose input is its ARN.
    OnScaling(&'static str, String),
    /// Every active revision of a name.
    DeleteScalings(String),
    ListScalings {
        latest_only: bool,
    },
    CreateObservability(String),
    OnObservability(&'static str, String),
    ListObservabilities {
        latest_only: bool,
    },
    CreateConnection(String),
    OnConnection(&'static str, String),
    ListConnections,
    CreateConnector(String),
    OnConnector(&'static str, String),
    ListConnectors,
    Tag {
        arn: String,
        key: String,
        value: String,
    },
    Untag {
        arn: String,
        key: String,
    },
    ListTags(String),
}

pub const PREFIX: &str = "arn:aws:apprunner:us-east-1:111122223333";

/// What a client saw: the part of the answer that the reference knows, or the error's code.
pub type Answer = Result<Value, String>;

pub fn identifier(image: Image) -> String {
    format!("localhost:7400/app:{}", IMAGES[image])
}

fn source(image: Image) -> Value {
    json!({ "ImageRepository": {
        "ImageIdentifier": identifier(image), "ImageRepositoryType": "ECR" } })
}

impl Call {
    /// The operation and its input.
    pub fn wire(&self) -> (&'static str, Value) {
        match self {
            Call::CreateService { .. } | Call::UpdateService { .. } => self.service_wire(),
            Call::OnService(operation, arn) => (operation, json!({ "ServiceArn": arn })),
            Call::ListServices => ("ListServices", json!({})),
            Call::AssociateDomain(arn) => (
                "AssociateCustomDomain",
                json!({ "ServiceArn": arn, "DomainName": "www.example.com" }),
            ),
            Call::DisassociateDomain(arn) => (
                "DisassociateCustomDomain",
                json!({ "ServiceArn": arn, "DomainName": "www.example.com" }),
            ),
            Call::CreateIngress(arn) => (
                "CreateVpcIngressConnection",
                json!({ "ServiceArn": arn, "VpcIngressConnectionName": "inner",
                        "IngressVpcConfiguration": {} }),
            ),
            Call::OnIngress(operation) => (
                operation,
                json!({ "VpcIngressConnectionArn": format!("{PREFIX}:vpcingressconnection/a/1/b"),
                        "IngressVpcConfiguration": {} }),
            ),
            Call::ListIngress => ("ListVpcIngressConnections", json!({})),
            Call::Tag { arn, key, value } => (
                "TagResource",
                json!({ "ResourceArn": arn, "Tags": [{ "Key": key, "Value": value }] }),
            ),
            Call::Untag { arn, key } => (
                "UntagResource",
                json!({ "ResourceArn": arn, "TagKeys": [key] }),
            ),
            Call::ListTags(arn) => ("ListTagsForResource", json!({ "ResourceArn": arn })),
            _ => self.configuration_wire(),
        }
    }

    fn service_wire(&self) -> (&'static str, Value) {
        match self {
            Call::CreateService {
                name,
                image,
                scaling,
                tag,
            } => {
                let mut input =
                    json!({ "ServiceName": name, "SourceConfiguration": source(*image) });
                if let Some(arn) = scaling {
                    input["AutoScalingConfigurationArn"] = json!(arn);
                }
                if let Some((key, value)) = tag {
                    input["Tags"] = json!([{ "Key": key, "Value": value }]);
                }
                ("CreateService", input)
            }
            Call::UpdateService {
                arn,
                image,
                scaling,
            } => {
                let mut input = json!({ "ServiceArn": arn });
                if let Some(image) = image {
                    input["SourceConfiguration"] = source(*image);
                }
                if let Some(arn) = scaling {
                    input["AutoScalingConfigurationArn"] = json!(arn);
                }
                ("UpdateService", input)
            }
            _ => unreachable!("only services come here"),
        }
    }

    fn configuration_wire(&self) -> (&'static str, Value) {
        match self {
            Call::CreateScaling { name, min, max } => (
                "CreateAutoScalingConfiguration",
                json!({ "AutoScalingConfigurationName": name, "MinSize": min, "MaxSize": max }),
            ),
            Call::OnScaling(operation, arn) => {
                (operation, json!({ "AutoScalingConfigurationArn": arn }))
            }
            Call::DeleteScalings(name) => (
                "DeleteAutoScalingConfiguration",
                json!({ "AutoScalingConfigurationArn": format!("{PREFIX}:autoscalingconfiguration/{name}"),
                        "DeleteAllRevisions": true }),
            ),
            Call::ListScalings { latest_only } => (
                "ListAutoScalingConfigurations",
                json!({ "LatestOnly": latest_only }),
            ),
            Call::CreateObservability(name) => (
                "CreateObservabilityConfiguration",
                json!({ "ObservabilityConfigurationName": name,
                        "TraceConfiguration": { "Vendor": "AWSXRAY" } }),
            ),
            Call::OnObservability(operation, arn) => {
                (operation, json!({ "ObservabilityConfigurationArn": arn }))
            }
            Call::ListObservabilities { latest_only } => (
                "ListObservabilityConfigurations",
                json!({ "LatestOnly": latest_only }),
            ),
            Call::CreateConnection(name) => (
                "CreateConnection",
                json!({ "ConnectionName": name, "ProviderType": "GITHUB" }),
            ),
            Call::OnConnection(operation, arn) => (operation, json!({ "ConnectionArn": arn })),
            Call::ListConnections => ("ListConnections", json!({})),
            Call::CreateConnector(name) => (
                "CreateVpcConnector",
                json!({ "VpcConnectorName": name, "Subnets": ["subnet-1"] }),
            ),
            Call::OnConnector(operation, arn) => (operation, json!({ "VpcConnectorArn": arn })),
            Call::ListConnectors => ("ListVpcConnectors", json!({})),
            _ => unreachable!("only configurations come here"),
        }
    }

    /// What of an answer the reference knows.
    pub fn seen(&self, answer: Result<Value, (String, String)>) -> Answer {
        let answer = answer.map_err(|(code, _)| code)?;
        Ok(match self {
            Call::CreateService { .. } | Call::UpdateService { .. } => service(&answer),
            Call::OnService("StartDeployment" | "RollbackService" | "CancelOperation", _) => {
                assert!(answer["OperationId"].is_string(), "{answer}");
                json!({})
            }
            Call::OnService("ListOperations", _) => {
                let all = answer["OperationSummaryList"].as_array().unwrap();
                all.iter().map(|one| one["Type"].clone()).collect()
            }
            Call::OnService("DescribeOperation", _) => answer["Operation"]["Type"].clone(),
            Call::OnService("DescribeCustomDomains", _) => answer["CustomDomains"].clone(),
            Call::OnService(..) => service(&answer),
            Call::ListServices => each(&answer["ServiceSummaryList"], |one| {
                json!([one["ServiceArn"], one["Status"]])
            }),
            Call::ListIngress => answer["VpcIngressConnectionSummaryList"].clone(),
            Call::OnScaling("ListServicesForAutoScalingConfiguration", _) => {
                each(&answer["ServiceArnList"], Value::clone)
            }
            Call::CreateScaling { .. } | Call::OnScaling(..) | Call::DeleteScalings(_) => {
                scaling(&answer["AutoScalingConfiguration"])
            }
            Call::ListScalings { .. } => {
                each(&answer["AutoScalingConfigurationSummaryList"], |one| {
                    json!([
                        one["AutoScalingConfigurationArn"],
                        one["IsDefault"],
                        one["HasAssociatedService"]
                    ])
                })
            }
            Call::CreateObservability(_) | Call::OnObservability(..) => {
                let one = &answer["ObservabilityConfiguration"];
                json!([
                    one["ObservabilityConfigurationArn"],
                    one["Latest"],
                    one["Status"]
                ])
            }
            Call::ListObservabilities { .. } => {
                each(&answer["ObservabilityConfigurationSummaryList"], |one| {
                    one["ObservabilityConfigurationArn"].clone()
                })
            }
            Call::OnConnection("CompleteConnection", _) => json!({}),
            Call::CreateConnection(_) | Call::OnConnection(..) => connection(&answer["Connection"]),
            Call::ListConnections => each(&answer["ConnectionSummaryList"], connection),
            Call::CreateConnector(_) | Call::OnConnector(..) => {
                let one = &answer["VpcConnector"];
                json!([one["VpcConnectorArn"], one["Status"]])
            }
            Call::ListConnectors => each(&answer["VpcConnectors"], |one| {
                one["VpcConnectorArn"].clone()
            }),
            Call::ListTags(_) => {
                let tags = answer["Tags"].as_array().unwrap();
                let pair = |tag: &Value| {
                    let text = |member: &str| tag[member].as_str().unwrap().to_owned();
                    (text("Key"), text("Value"))
                };
                json!(tags.iter().map(pair).collect::<BTreeMap<_, _>>())
            }
            _ => json!({}),
        })
    }
}

/// The members of every element, in an order that does not depend on times.
fn each(list: &Value, member: impl Fn(&Value) -> Value) -> Value {
    let mut seen: Vec<Value> = list.as_array().unwrap().iter().map(member).collect();
    seen.sort_by_key(Value::to_string);
    json!(seen)
}

fn service(answer: &Value) -> Value {
    let service = &answer["Service"];
    json!([
        service["ServiceArn"],
        service["Status"],
        service["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"],
        service["AutoScalingConfigurationSummary"]["AutoScalingConfigurationArn"],
        answer["OperationId"].is_string(),
        service["DeletedAt"].is_number(),
    ])
}

fn scaling(one: &Value) -> Value {
    json!([
        one["AutoScalingConfigurationArn"],
        one["Status"],
        one["Latest"],
        one["IsDefault"],
        one["HasAssociatedService"]
    ])
}

fn connection(one: &Value) -> Value {
    json!([one["ConnectionArn"], one["Status"]])
}
