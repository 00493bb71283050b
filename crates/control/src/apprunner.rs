//! The App Runner API. One file per resource or group of operations; this one finds the operation.

mod arn;
mod code;
mod config;
mod connection;
mod custom_domain;
mod observability;
mod output;
mod page;
mod roles;
mod scaling;
mod service_create;
mod service_lifecycle;
mod service_read;
mod service_update;
mod tags;
mod vpc_connector;
mod vpc_ingress;

use crate::authorizer::{ResourceFacts, ResourceQuestion};
use crate::endpoint::{ApiService, Call};
use crate::engine::Engine;
use crate::operations::Operations;
use apron_aws::{ApiError, Model};
use apron_store::StoreError;
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// The service behind the `AppRunner` target.
pub struct AppRunner {
    engine: Arc<Engine>,
    operations: Arc<Operations>,
}

impl AppRunner {
    /// The API over this engine.
    pub fn new(engine: Arc<Engine>, operations: Arc<Operations>) -> AppRunner {
        AppRunner { engine, operations }
    }
}

#[async_trait]
impl ApiService for AppRunner {
    fn model(&self) -> &'static Model {
        apron_aws::model::apprunner()
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "CreateService" => Ok(Box::pin(self.service_create(read(call.input)?))
                .await?
                .into()),
            "DescribeService" => Ok(self.service_describe(read(call.input)?).await?.into()),
            "ListServices" => self.service_list(read(call.input)?).await,
            "UpdateService" => Ok(self.service_update(read(call.input)?).await?.into()),
            "DeleteService" => Ok(self.service_delete(read(call.input)?).await?.into()),
            "PauseService" => Ok(self.service_pause(read(call.input)?).await?.into()),
            "ResumeService" => Ok(self.service_resume(read(call.input)?).await?.into()),
            "StartDeployment" => output(self.deployment_start(read(call.input)?).await?),
            "ListOperations" => self.operation_list(read(call.input)?).await,
            "ListTagsForResource" => output(self.tag_list(read(call.input)?).await?),
            "TagResource" => output(self.tag_add(read(call.input)?).await?),
            "UntagResource" => output(self.tag_remove(read(call.input)?).await?),
            _ => self.call_configuration(call).await,
        }
    }

    async fn resource(
        &self,
        question: &ResourceQuestion<'_>,
    ) -> Result<Option<ResourceFacts>, ApiError> {
        self.facts(question.arn).await
    }
}

impl AppRunner {
    /// The operations on everything that is not a service.
    async fn call_configuration(&self, call: Call) -> Result<Value, ApiError> {
        let input = call.input;
        match call.operation.as_str() {
            "CreateAutoScalingConfiguration" => self.scaling_create(read(input)?).await,
            "DescribeAutoScalingConfiguration" => self.scaling_describe(read(input)?).await,
            "ListAutoScalingConfigurations" => self.scaling_list(read(input)?).await,
            "UpdateDefaultAutoScalingConfiguration" => self.scaling_set_default(read(input)?).await,
            "DeleteAutoScalingConfiguration" => self.scaling_delete(read(input)?).await,
            "ListServicesForAutoScalingConfiguration" => self.scaling_services(read(input)?).await,
            "CreateObservabilityConfiguration" => self.observability_create(read(input)?).await,
            "DescribeObservabilityConfiguration" => self.observability_describe(read(input)?).await,
            "ListObservabilityConfigurations" => self.observability_list(read(input)?).await,
            "DeleteObservabilityConfiguration" => self.observability_delete(read(input)?).await,
            "CreateConnection" => self.connection_create(read(input)?).await,
            "ListConnections" => self.connection_list(read(input)?).await,
            "DeleteConnection" => self.connection_delete(read(input)?).await,
            "CreateVpcConnector" => self.connector_create(read(input)?).await,
            "DescribeVpcConnector" => self.connector_describe(read(input)?).await,
            "ListVpcConnectors" => self.connector_list(read(input)?).await,
            "DeleteVpcConnector" => self.connector_delete(read(input)?).await,
            "CreateVpcIngressConnection" => self.ingress_create(read(input)?).await,
            "DescribeVpcIngressConnection"
            | "UpdateVpcIngressConnection"
            | "DeleteVpcIngressConnection" => self.ingress_missing(read(input)?).await,
            "ListVpcIngressConnections" => self.ingress_list(read(input)?).await,
            "AssociateCustomDomain" => self.domain_associate(read(input)?).await,
            "DescribeCustomDomains" => self.domain_describe(read(input)?).await,
            "DisassociateCustomDomain" => self.domain_disassociate(read(input)?).await,
            other => Err(ApiError::not_available("App Runner", other)),
        }
    }
}

/// Reads a validated input. What is left to fail is a difference between the table and the handler's struct.
fn read<T: DeserializeOwned>(input: Value) -> Result<T, ApiError> {
    serde_json::from_value(input).map_err(|error| ApiError::serialization(error.to_string()))
}

fn output<T: Serialize>(answer: T) -> Result<Value, ApiError> {
    serde_json::to_value(answer).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        internal()
    })
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::client("InvalidRequestException", message)
}

fn invalid_state(message: impl Into<String>) -> ApiError {
    ApiError::client("InvalidStateException", message)
}

fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::client("ResourceNotFoundException", message)
}

fn quota_exceeded(message: impl Into<String>) -> ApiError {
    ApiError::client("ServiceQuotaExceededException", message)
}

fn internal() -> ApiError {
    ApiError::server(
        "InternalServiceErrorException",
        "An internal error occurred. See the platform's log.",
    )
}

/// What a caller sees of a failure of the store; the cause goes to the log.
fn store_failed(error: StoreError) -> ApiError {
    tracing::error!(%error, "stored state cannot be used");
    match error {
        StoreError::Full { .. } => ApiError::server(
            "InternalServiceErrorException",
            "The disk that holds the platform's state is full; nothing was changed.",
        ),
        _ => internal(),
    }
}
