//! igneous-derive
