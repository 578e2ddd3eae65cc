//! The admin port, as pilot-agent and istioctl ask it.
