//! Layers made of layers.

use super::visit::{Module, Visitor};
use super::{Forward, call_layer};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Layers one after the other (`torch.nn.Sequential`). Parameters are named by position: `0.weight`. `clone` shares them.
#[derive(Clone, Default)]
pub struct Sequential {
    layers: Vec<Arc<dyn Forward>>,
}

impl Sequential {
    /// No layer: passes its input on.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// With another layer at the end.
    #[must_use]
    pub fn push(mut self, layer: impl Forward + 'static) -> Sequential {
        self.layers.push(Arc::new(layer));
        self
    }

    /// The number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is no layer.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Module for Sequential {
    fn visit(&self, visitor: &mut dyn Visitor) {
        for (i, layer) in self.layers.iter().enumerate() {
            visitor.child(&i.to_string(), &**layer);
        }
    }
}

impl Forward for Sequential {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = call_layer(&**layer, &i.to_string(), &x);
        }
        x
    }
}

/// Joins the axes `start..=end` into one (`torch.nn.Flatten`); all but the first by default.
#[derive(Clone, Copy, Debug)]
pub struct Flatten {
    /// The first axis joined.
    pub start: i64,
    /// The last axis joined.
    pub end: i64,
}

impl Default for Flatten {
    fn default() -> Flatten {
        Flatten { start: 1, end: -1 }
    }
}

impl Flatten {
    /// Keeps the first axis, joins the others.
    pub fn new() -> Flatten {
        Flatten::default()
    }
}

impl Module for Flatten {
    fn visit(&self, _: &mut dyn Visitor) {}
}

impl Forward for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.flatten(self.start, self.end)
    }
}
