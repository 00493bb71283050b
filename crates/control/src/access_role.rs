//! What a service's access role may do in the platform's own registry: pulls and automatic deployments are done with its rights.
//! A service without one is served by the platform itself.

use crate::authorizer::{Refusal, Surroundings};
use crate::engine::Engine;
use crate::iam::ServicePrincipal;
use crate::images::Place;
use apron_domain::service::ImageSource;
use apron_domain::{Failure, FailureKind};

/// The actions that a pull needs (App Runner developer guide, access role).
const PULL: [&str; 2] = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
/// The action that following a tag needs.
const WATCH: [&str; 1] = ["ecr:DescribeImages"];

/// Whether the access role may pull the image.
///
/// # Errors
/// The failure of the deployment, with the reason.
pub async fn may_pull(engine: &Engine, image: &ImageSource) -> Result<(), Failure> {
    let permitted = permitted(engine, image, &PULL).await;
    permitted.map_err(|reason| {
        let identifier = &image.identifier;
        let text =
            format!("image {identifier} cannot be pulled with the service's access role: {reason}");
        Failure::new(FailureKind::ImagePull, text)
    })
}

/// Whether the access role may follow the image's tag; the error is the reason.
///
/// # Errors
/// Why not.
pub async fn may_watch(engine: &Engine, image: &ImageSource) -> Result<(), String> {
    permitted(engine, image, &WATCH).await
}

async fn permitted(engine: &Engine, image: &ImageSource, actions: &[&str]) -> Result<(), String> {
    let Some(role) = image.access_role_arn.as_deref() else {
        return Ok(());
    };
    // Other registries know nothing of our roles.
    let Ok(Place::Own { repository, .. }) = engine.images.place(&image.identifier) else {
        return Ok(());
    };
    let now = engine.clock.now();
    let authorizer = &engine.authorizer;
    let caller = authorizer
        .identities()
        .role_caller(ServicePrincipal::Build, role, "AppRunner", now)
        .map_err(|reason| reason.to_string())?;
    let surroundings = Surroundings {
        now,
        ..Surroundings::default()
    };
    let arn = crate::ecr::repository_arn(&engine.settings, &repository);
    for action in actions {
        let answer = authorizer.permit(&caller, action, &arn, &surroundings);
        answer.await.map_err(|refusal| reason(&refusal))?;
    }
    Ok(())
}

fn reason(refusal: &Refusal) -> String {
    refusal.message().to_owned()
}
