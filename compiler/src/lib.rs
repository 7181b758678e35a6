//! igneous-compiler
