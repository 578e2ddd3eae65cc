//! Generated from `schemas/`.

pub mod audit_admin_operation;
pub mod audit_api_call;
pub mod audit_data_access;
pub mod audit_gap;
pub mod audit_user_action;
pub mod closing;
pub mod config_change;
pub mod data_ingestion;
pub mod data_lineage;
pub mod data_quality;
pub mod data_transformation;
pub mod deployment_event;
pub mod heartbeat;
pub mod security_event;
pub mod system_health;

use super::{Event, Kind};

pub use audit_admin_operation::AuditAdminOperation;
pub use audit_api_call::AuditApiCall;
pub use audit_data_access::AuditDataAccess;
pub use audit_gap::AuditGap;
pub use audit_user_action::AuditUserAction;
pub use closing::Closing;
pub use config_change::ConfigChange;
pub use config_change::ConfigRemoval;
pub use data_ingestion::DataIngestion;
pub use data_lineage::DataLineage;
pub use data_quality::DataQuality;
pub use data_transformation::DataTransformation;
pub use deployment_event::DeploymentEvent;
pub use heartbeat::Heartbeat;
pub use security_event::SecurityEvent;
pub use system_health::SystemHealth;

/// Every kind, by its number.
pub(super) const ALL: &[Kind] = &[
    AuditApiCall::KIND,
    AuditAdminOperation::KIND,
    ConfigChange::KIND,
    ConfigRemoval::KIND,
    SecurityEvent::KIND,
    SystemHealth::KIND,
    DeploymentEvent::KIND,
    AuditUserAction::KIND,
    AuditDataAccess::KIND,
    DataIngestion::KIND,
    DataQuality::KIND,
    DataLineage::KIND,
    DataTransformation::KIND,
    AuditGap::KIND,
    Heartbeat::KIND,
    Closing::KIND,
];
