//! The roles of a service. Whether the service can assume them is tried at once, as App Runner does; whether they may do what
//! they are for shows when they do it.

use super::config::Configuration;
use super::{AppRunner, invalid};
use crate::iam::{SERVICE_PRINCIPAL, ServicePrincipal};
use apron_aws::ApiError;

impl AppRunner {
    /// Refuses roles that do not exist or do not trust App Runner.
    pub(super) fn check_roles(&self, configuration: &Configuration) -> Result<(), ApiError> {
        let source = configuration.source_configuration.as_ref();
        let authentication = source.and_then(|it| it.authentication_configuration.as_ref());
        let access = authentication.and_then(|it| it.access_role_arn.as_deref());
        let instance = configuration.instance_configuration.as_ref();
        let instance = instance.and_then(|it| it.instance_role_arn.as_deref());
        self.check_role(ServicePrincipal::Build, "access", access)?;
        self.check_role(ServicePrincipal::Tasks, "instance", instance)
    }

    fn check_role(
        &self,
        principal: ServicePrincipal,
        kind: &str,
        arn: Option<&str>,
    ) -> Result<(), ApiError> {
        let Some(arn) = arn else { return Ok(()) };
        let now = self.engine.clock.now();
        let identities = self.engine.authorizer.identities();
        match identities.trusting(principal, arn, now) {
            Ok(_) => Ok(()),
            Err(reason) => Err(invalid(format!(
                "Error in assuming {kind} role {arn}: {reason}."
            ))),
        }
    }

    /// Makes sure that App Runner's own role exists, which comes to be with the first service.
    pub(super) async fn ensure_service_role(&self) -> Result<(), ApiError> {
        let identities = self.engine.authorizer.identities();
        let (now, chance) = (self.engine.clock.now(), self.engine.chance.as_ref());
        let made = identities.ensure_service_role(SERVICE_PRINCIPAL, now, chance);
        made.await.map_err(|error| invalid(error.message))
    }
}
