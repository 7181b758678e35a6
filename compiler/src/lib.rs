//! igneous-compiler

pub mod cpu;

pub mod egraph;
pub mod precision;
