//! The models of `igneous-models` against PyTorch: what they compute, how they train, and files with their weights.

mod curves;
mod files;
mod outputs;
mod values;
