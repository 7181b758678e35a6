//! igneous
