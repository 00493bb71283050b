//! The issuer's key is replaced by the operator.

use super::{OWN, OWN_ARN, ROLE, SUBJECT, create, token_of_the_instance, world_with_instances};
use crate::root::Root;
use apron_aws::model;
use apron_testkit::{Life, World};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

/// The ids of the keys that everybody reads.
fn published(life: &Life) -> Vec<String> {
    let identity = life.engine().web_identity.clone();
    let (keys, now) = ("/.well-known/jwks.json", life.engine().clock.now());
    let read = async {
        let answer = apron_control::web_identity::answer(&identity, &Method::GET, keys, now).await;
        answer.into_body().collect().await.unwrap().to_bytes()
    };
    let set: Value = serde_json::from_slice(&life.wait_for(read)).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

/// The key that a token says it is signed with.
fn signer(token: &str) -> String {
    let head = token.split('.').next().unwrap();
    let head: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    head["kid"].as_str().unwrap().to_owned()
}

/// Has a role trust the instance's tokens.
fn trust_own_tokens(root: &Root<'_>) {
    let condition = json!({"StringEquals": {"localhost:7400:sub": SUBJECT}});
    root.federated(OWN_ARN, condition);
    root.provider(OWN, "sts.amazonaws.com");
}

#[test]
fn the_issuers_key_is_replaced_and_no_token_fails() {
    let world = world_with_instances();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    trust_own_tokens(&root);
    let service = create(&root, ROLE);
    let token = token_of_the_instance(&world, &life);
    let first = signer(&token);

    // Published tomorrow's key; today's goes on. Asked once more for one at once, it is that key.
    let soon = root.call(model::apron(), "RotateIssuerKey", json!({})).ok();
    let (second, from) = (
        soon.json()["KeyId"].clone(),
        soon.json()["SignsFrom"].clone(),
    );
    assert_eq!(soon.json()["FormerKeyId"], first.as_str());
    assert_eq!(published(&life), [first.as_str(), second.as_str().unwrap()]);
    let _ = root.assume(&token).ok();
    let input = json!({ "AtOnce": true });
    let now = root.call(model::apron(), "RotateIssuerKey", input).ok();
    assert_eq!(now.json()["KeyId"], second);
    assert!(now.json()["SignsFrom"].as_f64() < from.as_f64());

    // Tokens of both are believed, also after a start.
    life.kill();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    let input = json!({ "ServiceArn": service });
    let _ = life.call("StartDeployment", input).unwrap();
    assert_eq!(life.settle(&service), "RUNNING");
    let newer = token_of_the_instance(&world, &life);
    assert_eq!(signer(&newer), second.as_str().unwrap());
    for token in [&token, &newer] {
        let _ = root.assume(token).ok();
    }
    assert_eq!(published(&life), [first.as_str(), second.as_str().unwrap()]);

    let look = json!({"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "RotateIssuerKey"}]});
    let _ = root.call(model::apron(), "RotateIssuerKey", json!({})).ok();
    let events = root.call(model::cloudtrail(), "LookupEvents", look).ok();
    assert!(events.body.contains("RotateIssuerKey"), "{}", events.body);
}

#[test]
fn a_key_that_leaked_is_withdrawn_with_all_others() {
    let world = world_with_instances();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    trust_own_tokens(&root);
    create(&root, ROLE);
    let token = token_of_the_instance(&world, &life);
    let _ = root.call(model::apron(), "RotateIssuerKey", json!({})).ok();
    let _ = root.assume(&token).ok();

    let input = json!({ "WithdrawFormer": true });
    let done = root.call(model::apron(), "RotateIssuerKey", input).ok();
    let done = done.json();
    assert_eq!(done["FormerKeyId"], signer(&token).as_str());
    assert_eq!(published(&life), [done["KeyId"].as_str().unwrap()]);
    assert_eq!(done["FormerKeyPublishedUntil"], done["SignsFrom"]);
    root.assume(&token)
        .refused("InvalidIdentityToken", "publishes none of that id");

    // The instance that runs gets another one, without waiting for the hour.
    let newer = another_token(&world, &life, &token);
    assert_eq!(signer(&newer), done["KeyId"].as_str().unwrap());
    let _ = root.assume(&newer).ok();
}

/// The token that the instance has in place of this one.
fn another_token(world: &World, life: &Life, former: &str) -> String {
    let id = life.stored_instances()[0].id.clone();
    life.eventually("the instance has another token", || {
        let token = world.instances.spec(&id)?.identity_token?;
        (token != former).then_some(token)
    })
}
