//! The appliance as a whole: the real `vrouterd` in a namespace, and real clients around it.

mod house;
mod router;
mod traffic;
