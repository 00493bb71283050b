//! Users, groups, roles and their policies, through the endpoint with signed requests.

use apron_aws::model;
use apron_testkit::{Answer, Client, Life, World};
use serde_json::{Value, json};

const ACCOUNT: &str = "111122223333";

/// The API as somebody sees it, without waiting.
struct As<'a> {
    life: &'a Life,
    client: Client,
}

impl<'a> As<'a> {
    fn root(life: &'a Life) -> As<'a> {
        As {
            life,
            client: life.root(),
        }
    }

    fn keys(&self, answer: &Answer, token: bool) -> As<'a> {
        let token = token.then(|| answer.text("SessionToken"));
        let (key, secret) = (answer.text("AccessKeyId"), answer.text("SecretAccessKey"));
        As {
            life: self.life,
            client: self.client.with_keys(&key, &secret, token.as_deref()),
        }
    }

    fn iam(&self, operation: &str, input: Value) -> Answer {
        let call = self.client.call(model::iam(), operation, &input);
        self.life.wait_for(call)
    }

    fn sts(&self, operation: &str, input: Value) -> Answer {
        let call = self.client.call(model::sts(), operation, &input);
        self.life.wait_for(call)
    }

    fn ecr(&self, operation: &str, input: Value) -> Answer {
        let call = self.client.call(model::ecr(), operation, &input);
        self.life.wait_for(call)
    }

    fn app_runner(&self, operation: &str, input: Value) -> Answer {
        let call = self.client.call(model::apprunner(), operation, &input);
        self.life.wait_for(call)
    }

    /// A new user with an access key.
    fn user(&self, name: &str) -> As<'a> {
        let _ = self.iam("CreateUser", json!({"UserName": name})).ok();
        let made = self.iam("CreateAccessKey", json!({"UserName": name})).ok();
        self.keys(&made, false)
    }

    fn put_user_policy(&self, name: &str, statement: Value) {
        let _ = self
            .iam(
                "PutUserPolicy",
                json!({"UserName": name, "PolicyName": "p", "PolicyDocument": document(statement)}),
            )
            .ok();
    }
}

fn document(statement: Value) -> String {
    json!({"Version": "2012-10-17", "Statement": statement}).to_string()
}

fn allow(action: Value, resource: &str) -> Value {
    json!([{"Effect": "Allow", "Action": action, "Resource": resource}])
}

fn trust(principal: Value) -> String {
    document(json!([{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]))
}

#[test]
fn a_user_may_what_its_policies_say() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let ann = root.user("ann");
    let who = ann.sts("GetCallerIdentity", json!({})).ok();
    assert_eq!(who.text("Arn"), format!("arn:aws:iam::{ACCOUNT}:user/ann"));
    assert!(who.text("UserId").starts_with("AIDA"));

    let list = || ann.app_runner("ListServices", json!({}));
    let denied = list();
    assert_eq!(denied.status, 400);
    denied.refused(
        "AccessDeniedException",
        "User: arn:aws:iam::111122223333:user/ann is not authorized to perform: apprunner:ListServices on resource: * \
         because no identity-based policy allows the apprunner:ListServices action",
    );
    let attached = json!({"UserName": "ann", "PolicyArn": "arn:aws:iam::aws:policy/AWSAppRunnerReadOnlyAccess"});
    let _ = root.iam("AttachUserPolicy", attached.clone()).ok();
    let _ = list().ok();
    root.put_user_policy(
        "ann",
        json!([{"Effect": "Deny", "Action": "apprunner:List*", "Resource": "*"}]),
    );
    list().refused(
        "AccessDeniedException",
        "with an explicit deny in an identity-based policy",
    );
    let _ = root
        .iam(
            "DeleteUserPolicy",
            json!({"UserName": "ann", "PolicyName": "p"}),
        )
        .ok();
    let _ = list().ok();
    let _ = root.iam("DetachUserPolicy", attached).ok();
    list().refused("AccessDeniedException", "ListServices");
    ann.iam("ListUsers", json!({}))
        .refused("<Code>AccessDenied</Code>", "iam:ListUsers on resource: *");
    assert_eq!(ann.iam("ListUsers", json!({})).status, 403);
}

#[test]
fn groups_boundaries_and_tags_take_part() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let ann = root.user("ann");
    let _ = root.iam("CreateGroup", json!({"GroupName": "team"})).ok();
    let admin = "arn:aws:iam::aws:policy/AdministratorAccess";
    let _ = root
        .iam(
            "AttachGroupPolicy",
            json!({"GroupName": "team", "PolicyArn": admin}),
        )
        .ok();
    let member = json!({"GroupName": "team", "UserName": "ann"});
    let _ = root.iam("AddUserToGroup", member.clone()).ok();
    let _ = ann.app_runner("ListServices", json!({})).ok();

    let boundary = format!("arn:aws:iam::{ACCOUNT}:policy/edge/ecr-only");
    let made = root.iam(
        "CreatePolicy",
        json!({"PolicyName": "ecr-only", "Path": "/edge/", "PolicyDocument": document(allow(json!("ecr:*"), "*"))}),
    );
    assert_eq!(made.ok().text("Arn"), boundary);
    let put = json!({"UserName": "ann", "PermissionsBoundary": boundary});
    let _ = root.iam("PutUserPermissionsBoundary", put).ok();
    ann.app_runner("ListServices", json!({})).refused(
        "AccessDeniedException",
        "because no permissions boundary allows",
    );
    root.iam("DeletePolicy", json!({"PolicyArn": boundary}))
        .refused(
            "DeleteConflict",
            "Cannot delete a policy attached to entities",
        );

    let _ = ann
        .ecr(
            "CreateRepository",
            json!({"repositoryName": "app", "tags": [{"Key": "team", "Value": "a"}]}),
        )
        .ok();
    let _ = root.iam("RemoveUserFromGroup", member).ok();
    let mut statement = allow(json!("ecr:DescribeImages"), "*");
    statement[0]["Condition"] =
        json!({"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}});
    root.put_user_policy("ann", statement);
    let images = || ann.ecr("DescribeImages", json!({"repositoryName": "app"}));
    images().refused("AccessDeniedException", "repository/app");
    let tag = json!({"UserName": "ann", "Tags": [{"Key": "team", "Value": "a"}]});
    let _ = root.iam("TagUser", tag).ok();
    let _ = images().ok();
}

#[test]
fn keys_are_rotated() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let ann = root.user("ann");
    root.put_user_policy(
        "ann",
        allow(
            json!("iam:*AccessKey*"),
            "arn:aws:iam::*:user/${aws:username}",
        ),
    );
    let second = ann.iam("CreateAccessKey", json!({})).ok();
    let ann_again = ann.keys(&second, false);
    ann.iam("CreateAccessKey", json!({})).refused(
        "LimitExceeded",
        "Cannot exceed quota for AccessKeysPerUser: 2",
    );
    let listed = ann.iam("ListAccessKeys", json!({})).ok();
    assert!(!listed.body.contains("SecretAccessKey"));
    let first = listed.body.split("<AccessKeyId>").skip(1);
    let mut first = first.map(|rest| rest.split('<').next().unwrap());
    let first = first.find(|id| *id != second.text("AccessKeyId"));
    let first = first.unwrap().to_owned();
    let used = root
        .iam("GetAccessKeyLastUsed", json!({"AccessKeyId": first}))
        .ok();
    assert_eq!(used.text("ServiceName"), "iam");
    let status = json!({"AccessKeyId": first, "Status": "Inactive"});
    let _ = ann_again.iam("UpdateAccessKey", status).ok();
    ann.sts("GetCallerIdentity", json!({}))
        .refused("InvalidClientTokenId", "invalid");
    let _ = ann_again
        .iam("DeleteAccessKey", json!({"AccessKeyId": first}))
        .ok();
    let other = json!({"UserName": "bob", "AccessKeyId": first});
    ann_again
        .iam("DeleteAccessKey", other)
        .refused("AccessDenied", "user/bob");
}

#[test]
fn what_was_answered_survives_the_control_plane() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let ann = root.user("ann");
    root.put_user_policy(
        "ann",
        allow(json!(["apprunner:List*", "sts:AssumeRole"]), "*"),
    );
    let role = json!({
        "RoleName": "reader", "AssumeRolePolicyDocument": trust(json!({"AWS": format!("arn:aws:iam::{ACCOUNT}:root")})),
    });
    let arn = root.iam("CreateRole", role).ok().text("Arn");
    let policy =
        json!({"RoleName": "reader", "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"});
    let _ = root.iam("AttachRolePolicy", policy).ok();
    let assumed = json!({"RoleArn": arn, "RoleSessionName": "s1"});
    let assumed = ann.sts("AssumeRole", assumed).ok();
    let (key, secret) = (ann.client.clone(), assumed.clone());
    life.kill();

    let life = Life::begin(&world);
    let root = As::root(&life);
    let who = root.client.clone();
    let again = root.keys(&secret, true);
    let identity = again.sts("GetCallerIdentity", json!({})).ok();
    assert_eq!(
        identity.text("Arn"),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/reader/s1")
    );
    let _ = again.iam("GetRole", json!({"RoleName": "reader"})).ok();
    drop((who, key));
    let _ = root
        .iam(
            "DetachRolePolicy",
            json!({"RoleName": "reader", "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}),
        )
        .ok();
    let _ = root.iam("DeleteRole", json!({"RoleName": "reader"})).ok();
    again
        .sts("GetCallerIdentity", json!({}))
        .refused("InvalidClientTokenId", "");
}

#[test]
fn roles_are_assumed_by_whom_they_trust() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let (ann, bob) = (root.user("ann"), root.user("bob"));
    let ann_arn = format!("arn:aws:iam::{ACCOUNT}:user/ann");
    let role =
        json!({"RoleName": "ops", "AssumeRolePolicyDocument": trust(json!({"AWS": ann_arn}))});
    let arn = root.iam("CreateRole", role).ok().text("Arn");
    let assume = |who: &As<'_>, more: Value| {
        let mut input = json!({"RoleArn": arn, "RoleSessionName": "s1"});
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        who.sts("AssumeRole", input)
    };
    root.put_user_policy("bob", allow(json!("sts:AssumeRole"), "*"));
    assume(&bob, json!({})).refused(
        "AccessDenied",
        "because no role trust policy allows the sts:AssumeRole action",
    );
    root.sts(
        "AssumeRole",
        json!({"RoleArn": arn, "RoleSessionName": "s1"}),
    )
    .refused("AccessDenied", "");
    let _ = root
        .iam(
            "PutRolePolicy",
            json!({"RoleName": "ops", "PolicyName": "p", "PolicyDocument": document(allow(json!(["apprunner:*", "ecr:*"]), "*"))}),
        )
        .ok();
    let ops = ann.keys(&assume(&ann, json!({})).ok(), true);
    let _ = ops.app_runner("ListServices", json!({})).ok();

    // A session policy takes away and gives nothing.
    let only = document(allow(json!("ecr:DescribeRepositories"), "*"));
    let limited = ann.keys(&assume(&ann, json!({"Policy": only})).ok(), true);
    let _ = limited.ecr("DescribeRepositories", json!({})).ok();
    limited
        .app_runner("ListServices", json!({}))
        .refused("AccessDeniedException", "because no session policy allows");
    assume(&ann, json!({"DurationSeconds": 3601})).refused(
        "ValidationError",
        "exceeds the MaxSessionDuration set for this role",
    );
    assume(&ann, json!({"Policy": "{}"})).refused("MalformedPolicyDocument", "");
    assume(&ann, json!({"Tags": [{"Key": "team", "Value": "a"}]}))
        .refused("AccessDenied", "sts:TagSession");

    // The credentials of one session are no good with the token of another.
    let mixed = assume(&ann, json!({})).ok();
    let mixed = ops.client.with_keys(
        &mixed.text("AccessKeyId"),
        &mixed.text("SecretAccessKey"),
        Some("AAAA"),
    );
    let mixed = As {
        life: &life,
        client: mixed,
    };
    mixed
        .sts("GetCallerIdentity", json!({}))
        .refused("InvalidClientTokenId", "");
}

#[test]
fn a_session_token_is_its_users_and_changes_no_identity() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let ann = root.user("ann");
    let ann_arn = format!("arn:aws:iam::{ACCOUNT}:user/ann");
    let session = ann.sts("GetSessionToken", json!({})).ok();
    let session = ann.keys(&session, true);
    assert_eq!(
        session.sts("GetCallerIdentity", json!({})).ok().text("Arn"),
        ann_arn
    );
    root.put_user_policy("ann", allow(json!("*"), "*"));
    let _ = session.app_runner("ListServices", json!({})).ok();
    session
        .iam("ListUsers", json!({}))
        .refused("AccessDenied", "because no session policy allows");
}

#[test]
fn documents_and_names_are_held_against_the_rules() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let _ = root.user("ann");
    root.iam("CreateUser", json!({"UserName": "ANN"}))
        .refused("EntityAlreadyExists", "User with name ANN already exists.");
    let missing = root.iam("GetUser", json!({"UserName": "eve"}));
    assert_eq!(missing.status, 404);
    missing.refused("NoSuchEntity", "The user with name eve cannot be found.");
    root.iam("GetRole", json!({"RoleName": "eve"}))
        .refused("NoSuchEntity", "The role with name eve cannot be found.");
    for text in [
        "{}",
        "nonsense",
        &document(json!([{"Effect": "Allow", "Action": "x", "Resource": "*"}])),
    ] {
        let put = json!({"UserName": "ann", "PolicyName": "p", "PolicyDocument": text});
        root.iam("PutUserPolicy", put)
            .refused("MalformedPolicyDocument", "");
    }
    let stranger = trust(json!({"AWS": format!("arn:aws:iam::{ACCOUNT}:user/nobody")}));
    root.iam(
        "CreateRole",
        json!({"RoleName": "r", "AssumeRolePolicyDocument": stranger}),
    )
    .refused("MalformedPolicyDocument", "Invalid principal in policy");
    root.iam("DeleteUser", json!({"UserName": "ann"}))
        .refused("DeleteConflict", "must delete access keys first");
    let policy = json!({"PolicyName": "v", "PolicyDocument": document(allow(json!("ecr:*"), "*"))});
    let arn = root.iam("CreatePolicy", policy).ok().text("Arn");
    let version = json!({"PolicyArn": arn, "PolicyDocument": document(allow(json!("logs:*"), "*")), "SetAsDefault": true});
    for _ in 0..4 {
        let _ = root.iam("CreatePolicyVersion", version.clone()).ok();
    }
    root.iam("CreatePolicyVersion", version).refused(
        "LimitExceeded",
        "A managed policy can have up to 5 versions",
    );
    let read = root
        .iam(
            "GetPolicyVersion",
            json!({"PolicyArn": arn, "VersionId": "v5"}),
        )
        .ok();
    assert!(
        read.text("Document").contains("logs%3A%2A") && read.text("IsDefaultVersion") == "true"
    );
    root.iam(
        "DeletePolicyVersion",
        json!({"PolicyArn": arn, "VersionId": "v5"}),
    )
    .refused(
        "DeleteConflict",
        "Cannot delete the default version of a policy.",
    );
    let managed = json!({"PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"});
    root.iam("DeletePolicy", managed)
        .refused("AccessDenied", "managed by AWS");
}

#[test]
fn decisions_can_be_simulated() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let _ = root.user("ann");
    root.put_user_policy("ann", allow(json!("apprunner:Describe*"), "*"));
    let asked = json!({
        "PolicySourceArn": format!("arn:aws:iam::{ACCOUNT}:user/ann"),
        "ActionNames": ["apprunner:DescribeService", "apprunner:DeleteService"],
    });
    let body = root.iam("SimulatePrincipalPolicy", asked).ok().body;
    let decisions: Vec<&str> = body
        .split("<EvalDecision>")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap())
        .collect();
    assert_eq!(decisions, ["allowed", "implicitDeny"]);
}
