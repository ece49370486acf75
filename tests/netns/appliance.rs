//! The appliance as a whole: the real `vrouterd` in a namespace, and real clients around it.

pub(crate) mod house;
pub(crate) mod router;
mod traffic;
