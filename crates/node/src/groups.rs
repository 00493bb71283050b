//! The control groups of all instances: those of builds stand behind everything else on the machine, not only behind the
//! services, so they have a parent of their own.

use crate::cgroup::{Cgroups, Priority};
use crate::config::NodeConfig;
use crate::error::NodeError;
use apron_compute::InstanceClass;

/// Both parents.
#[derive(Debug)]
pub struct Groups {
    services: Cgroups,
    builds: Cgroups,
}

impl Groups {
    /// Makes the parents.
    pub fn open(config: &NodeConfig) -> Result<Groups, NodeError> {
        Ok(Groups {
            services: Cgroups::open(&config.scope(), Priority::Normal)?,
            builds: Cgroups::open(&config.build_scope(), config.build_priority())?,
        })
    }

    /// Where instances of a class are.
    pub fn of(&self, class: InstanceClass) -> &Cgroups {
        match class {
            InstanceClass::Service => &self.services,
            InstanceClass::Build => &self.builds,
        }
    }

    /// Removes the groups of an instance of whatever class; blocks until its processes are gone.
    pub fn remove(&self, id: &str) -> Result<(), NodeError> {
        self.services.remove(id)?;
        self.builds.remove(id)
    }

    /// Removes the groups of every instance but these.
    pub fn remove_all_but(&self, kept: &[String]) -> Result<(), NodeError> {
        for cgroups in [&self.services, &self.builds] {
            for group in cgroups.list()? {
                if !kept.contains(&group) {
                    cgroups.remove(&group)?;
                }
            }
        }
        Ok(())
    }
}
