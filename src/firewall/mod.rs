//! The firewall: opens what was granted, closes it again, and cleans up.
