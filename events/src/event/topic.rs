//! The twelve topics.

/// Where events of one sort go.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Topic {
    DataIngestion,
    DataQuality,
    DataLineage,
    DataTransformation,
    SystemHealth,
    DeploymentEvents,
    ConfigChanges,
    SecurityEvents,
    AuditUserActions,
    AuditApiCalls,
    AuditDataAccess,
    AuditAdminOperations,
}

/// How hard an event must be to lose.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// On disk before what it tells of is answered; where it cannot be, that is refused.
    Block,
    /// On disk with the next group of its kind.
    Durable,
    /// In memory until it is shipped.
    BestEffort,
}

impl Topic {
    pub const ALL: [Self; 12] = [
        Self::DataIngestion,
        Self::DataQuality,
        Self::DataLineage,
        Self::DataTransformation,
        Self::SystemHealth,
        Self::DeploymentEvents,
        Self::ConfigChanges,
        Self::SecurityEvents,
        Self::AuditUserActions,
        Self::AuditApiCalls,
        Self::AuditDataAccess,
        Self::AuditAdminOperations,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::DataIngestion => "data-ingestion",
            Self::DataQuality => "data-quality",
            Self::DataLineage => "data-lineage",
            Self::DataTransformation => "data-transformation",
            Self::SystemHealth => "system-health",
            Self::DeploymentEvents => "deployment-events",
            Self::ConfigChanges => "config-changes",
            Self::SecurityEvents => "security-events",
            Self::AuditUserActions => "audit-user-actions",
            Self::AuditApiCalls => "audit-api-calls",
            Self::AuditDataAccess => "audit-data-access",
            Self::AuditAdminOperations => "audit-admin-operations",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }

    pub const fn class(self) -> Class {
        match self {
            Self::AuditAdminOperations => Class::Block,
            Self::SystemHealth => Class::BestEffort,
            _ => Class::Durable,
        }
    }

    /// Whether the broker keeps the last event of each key, so that every event must have one.
    pub const fn compacted(self) -> bool {
        matches!(
            self,
            Self::DataLineage | Self::SystemHealth | Self::ConfigChanges
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for topic in Topic::ALL {
            assert_eq!(Topic::from_name(topic.name()), Some(topic));
        }
        assert_eq!(Topic::from_name("audit"), None);
    }
}
