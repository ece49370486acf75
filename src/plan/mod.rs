//! Decision: what the kernel should be, what it is, and the steps from one to the other. Pure and deterministic.

pub mod facts;
