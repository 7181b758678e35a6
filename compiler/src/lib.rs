//! igneous-compiler

pub mod cpu;
