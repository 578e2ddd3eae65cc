"""The events, a module a schema. Generated from the schemas by events/schemas/generate.py."""

from .audit_admin_operation import AuditAdminOperation
from .audit_api_call import AuditApiCall
from .audit_data_access import AuditDataAccess
from .audit_gap import AuditGap
from .audit_user_action import AuditUserAction
from .closing import Closing
from .config_change import ConfigChange, ConfigRemoval
from .data_ingestion import DataIngestion
from .data_lineage import DataLineage
from .data_quality import DataQuality
from .data_transformation import DataTransformation
from .deployment_event import DeploymentEvent
from .heartbeat import Heartbeat
from .security_event import SecurityEvent
from .system_health import SystemHealth

__all__ = [
    "AuditAdminOperation",
    "AuditApiCall",
    "AuditDataAccess",
    "AuditGap",
    "AuditUserAction",
    "Closing",
    "ConfigChange",
    "ConfigRemoval",
    "DataIngestion",
    "DataLineage",
    "DataQuality",
    "DataTransformation",
    "DeploymentEvent",
    "Heartbeat",
    "SecurityEvent",
    "SystemHealth",
]
