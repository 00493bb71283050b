//! CloudTrail's `LookupEvents`.

use super::{Trail, merged};
use crate::endpoint::{ApiService, Call, PageToken, internal};
use apron_aws::{ApiError, Model, model};
use apron_telemetry::{Found, Lookup};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Events of a page when the caller does not say (CloudTrail: 50, also the most).
const PAGE_EVENTS_DEFAULT: usize = 50;
const PAGE_KIND: &str = "cloudtrail-events";

/// The CloudTrail of this installation.
pub struct CloudTrail {
    trail: Arc<Trail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LookupEvents {
    #[serde(default)]
    lookup_attributes: Vec<Attribute>,
    start_time: Option<f64>,
    end_time: Option<f64>,
    event_category: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    attribute_key: String,
    attribute_value: String,
}

impl CloudTrail {
    /// CloudTrail over this trail.
    pub fn new(trail: Arc<Trail>) -> CloudTrail {
        CloudTrail { trail }
    }

    async fn lookup_events(&self, call: &Call) -> Result<Value, ApiError> {
        let input: LookupEvents = call.input()?;
        let (since_ms, until_ms) = range(&input)?;
        if input.lookup_attributes.len() > 1 {
            let text = "You can specify only one attribute in a lookup.";
            return Err(error("InvalidLookupAttributesException", text));
        }
        if input.event_category.is_some() {
            // There are no Insights events.
            return Ok(json!({"Events": []}));
        }
        let attribute = input.lookup_attributes.into_iter().next();
        let before = input
            .next_token
            .as_deref()
            .map(|token| PageToken::decode::<1>(PAGE_KIND, token))
            .transpose();
        let before = before
            .ok()
            .and_then(|it| it.map(|[number]| number.parse::<u64>()).transpose().ok());
        let before = before.ok_or_else(|| {
            error(
                "InvalidNextTokenException",
                "The NextToken is not one of this listing.",
            )
        })?;
        // Only values that stand in records as they are given can be looked for in their text.
        let plain = |it: &&Attribute| {
            let value = &it.attribute_value;
            it.attribute_key != "ReadOnly" && !value.contains(['"', '\\']) && value.is_ascii()
        };
        let containing = attribute
            .as_ref()
            .filter(plain)
            .map(|it| it.attribute_value.clone());
        let wanted: Box<dyn Fn(&Value) -> bool + Send> = match attribute {
            Some(attribute) => Box::new(move |event| has(event, &attribute)),
            None => Box::new(|_| true),
        };
        let lookup = Lookup {
            since_ms,
            until_ms,
            before,
            containing,
            wanted,
            limit: input.max_results.unwrap_or(PAGE_EVENTS_DEFAULT),
        };
        let page = self.trail.file().lookup(lookup).await;
        let page = page.map_err(|cause| internal(call, "look audit records up", &cause))?;
        let next = page
            .before
            .map(|number| PageToken::after([&number.to_string()]).encode(PAGE_KIND));
        let events: Vec<Value> = page.events.into_iter().map(output).collect();
        Ok(json!({"Events": events, "NextToken": next}))
    }
}

#[async_trait]
impl ApiService for CloudTrail {
    fn model(&self) -> &'static Model {
        model::cloudtrail()
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "LookupEvents" => self.lookup_events(&call).await,
            other => Err(ApiError::not_available("CloudTrail", other)),
        }
    }
}

fn error(shape: &str, message: &str) -> ApiError {
    model::cloudtrail().error(shape, message)
}

fn range(input: &LookupEvents) -> Result<(u64, u64), ApiError> {
    let ms = |seconds: f64| (seconds.max(0.0) * 1000.0) as u64;
    let since = input.start_time.map_or(0, ms);
    // Times are given in whole seconds.
    let until = input
        .end_time
        .map_or(u64::MAX, |end| ms(end).saturating_add(999));
    if since > until {
        let text = "The start time is after the end time.";
        return Err(error("InvalidTimeRangeException", text));
    }
    Ok((since, until))
}

/// Whether an event has an attribute.
fn has(event: &Value, attribute: &Attribute) -> bool {
    let value = attribute.attribute_value.as_str();
    match attribute.attribute_key.as_str() {
        "EventId" => event["eventID"] == value,
        "EventName" => event["eventName"] == value,
        "EventSource" => event["eventSource"] == value,
        "ReadOnly" => event["readOnly"].as_bool() == value.parse().ok(),
        "Username" => user_name(event) == value,
        "AccessKeyId" => event["userIdentity"]["accessKeyId"] == value,
        "ResourceName" => resources(event).any(|it| {
            let arn = it["ARN"].as_str().unwrap_or_default();
            arn == value || arn.rsplit(['/', ':']).any(|part| part == value)
        }),
        "ResourceType" => resources(event).any(|it| it["type"] == value),
        _ => false,
    }
}

fn resources(event: &Value) -> impl Iterator<Item = &Value> {
    event["resources"].as_array().into_iter().flatten()
}

/// The name of the user, the session of a role, or `root`.
fn user_name(event: &Value) -> String {
    let identity = &event["userIdentity"];
    let text = |member: &str| identity[member].as_str().unwrap_or_default();
    match text("type") {
        "Root" => "root".to_owned(),
        "IAMUser" => text("userName").to_owned(),
        _ => text("arn")
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

fn output(found: Found) -> Value {
    let Found {
        id,
        at_ms,
        body,
        end,
        begun,
        ..
    } = found;
    let event = match end {
        Some(end) => merged(body, end),
        None if begun => merged(body, json!({"outcome": "not recorded"})),
        None => body,
    };
    let name = |it: &Value| json!({"ResourceName": it["ARN"], "ResourceType": it["type"]});
    json!({
        "EventId": id,
        "EventName": event["eventName"],
        "ReadOnly": event["readOnly"].to_string(),
        "AccessKeyId": event["userIdentity"]["accessKeyId"],
        "EventTime": (at_ms / 1000) as f64,
        "EventSource": event["eventSource"],
        "Username": user_name(&event),
        "Resources": resources(&event).map(name).collect::<Vec<Value>>(),
        "CloudTrailEvent": event.to_string(),
    })
}
