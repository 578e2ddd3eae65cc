//! Hosts from names.
