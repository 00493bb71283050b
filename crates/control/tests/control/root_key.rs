//! The root user's access keys: made, used, set aside and deleted as a user's are.

use crate::root::Root;
use apron_aws::model;
use apron_testkit::{ACCESS_KEY_ID, Life, World};
use serde_json::json;

#[test]
fn the_root_user_changes_its_key_as_users_do() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    let listed = root.iam("ListAccessKeys", json!({})).ok();
    let first = listed.text("AccessKeyId");
    assert_eq!(listed.text("UserName"), "root");
    let made = root.iam("CreateAccessKey", json!({})).ok();
    let (second, secret) = (made.text("AccessKeyId"), made.text("SecretAccessKey"));
    root.iam("CreateAccessKey", json!({}))
        .refused("LimitExceeded", "AccessKeysPerUser: 2");
    let renewed = Root {
        client: life.root().with_keys(&second, &secret, None),
        life: &life,
    };
    let who = renewed
        .call(model::sts(), "GetCallerIdentity", json!({}))
        .ok();
    assert!(who.text("Arn").ends_with(":root"), "{}", who.body);

    let aside = json!({"AccessKeyId": first, "Status": "Inactive"});
    let _ = renewed.iam("UpdateAccessKey", aside).ok();
    root.iam("ListAccessKeys", json!({}))
        .refused("InvalidClientTokenId", "security token");
    let used = json!({"AccessKeyId": second});
    let used = renewed.iam("GetAccessKeyLastUsed", used).ok();
    assert_eq!(used.text("UserName"), "root");
    assert_eq!(used.text("ServiceName"), "iam");
    let _ = renewed
        .iam("DeleteAccessKey", json!({"AccessKeyId": first}))
        .ok();
    renewed
        .iam("DeleteAccessKey", json!({"AccessKeyId": first}))
        .refused("NoSuchEntity", &first);
    let summary = renewed.iam("GetAccountSummary", json!({})).ok();
    assert!(summary.body.contains("AccountAccessKeysPresent"));
}

#[test]
fn the_root_users_keys_survive_a_restart_and_a_user_called_root_is_another() {
    let world = World::new();
    let (key, secret) = {
        let life = Life::begin(&world);
        let root = Root::of(&life);
        let _ = root.iam("CreateUser", json!({"UserName": "root"})).ok();
        let of_user = root
            .iam("CreateAccessKey", json!({"UserName": "root"}))
            .ok();
        let user = Root {
            client: life.root().with_keys(
                &of_user.text("AccessKeyId"),
                &of_user.text("SecretAccessKey"),
                None,
            ),
            life: &life,
        };
        let who = user.call(model::sts(), "GetCallerIdentity", json!({})).ok();
        assert!(who.text("Arn").ends_with(":user/root"), "{}", who.body);
        let made = root.iam("CreateAccessKey", json!({})).ok();
        (made.text("AccessKeyId"), made.text("SecretAccessKey"))
    };
    let life = Life::begin(&world);
    let root = Root {
        client: life.root().with_keys(&key, &secret, None),
        life: &life,
    };
    let listed = root.iam("ListAccessKeys", json!({})).ok();
    assert_eq!(
        listed.body.matches("<member>").count(),
        2,
        "{}",
        listed.body
    );
    // A root user without any key is nothing unusual.
    let first = Root::of(&life);
    for (who, id) in [(&first, ACCESS_KEY_ID), (&root, key.as_str())] {
        let _ = who.iam("DeleteAccessKey", json!({"AccessKeyId": id})).ok();
        who.iam("ListAccessKeys", json!({}))
            .refused("InvalidClientTokenId", "security token");
    }
}
