//! igneous-compiler

pub mod cpu;
pub mod egraph;
pub mod fuse;
pub mod lower;
pub mod plan;
pub mod precision;
pub mod schedule;
