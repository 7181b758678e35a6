//! Layers made of layers.

use super::visit::{Module, Visitor};
use super::{Activations, Forward, call_layer};
use crate::tensor::{IntoShape, Tensor};
use igneous_ir::Shape;
use std::sync::Arc;

/// Layers one after the other (`torch.nn.Sequential`). Parameters are named by position, `0.weight`, or by the name that a layer
/// was given. `clone` shares them.
///
/// ```
/// use igneous::nn::{Linear, ModuleExt, Relu, Sequential};
/// let net = Sequential::new().push(Linear::new(4, 3)).push(Relu).push_named("head", Linear::new(3, 2).without_bias());
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["0.weight", "0.bias", "head.weight"]);
/// ```
#[derive(Clone, Default)]
pub struct Sequential {
    pub(super) layers: Vec<(String, Arc<dyn Forward>)>,
}

impl Sequential {
    /// No layer: passes its input on.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// With another layer at the end, named by its position.
    #[must_use]
    pub fn push(self, layer: impl Forward + 'static) -> Sequential {
        let position = self.layers.len().to_string();
        self.push_named(&position, layer)
    }

    /// With another layer at the end, of this name.
    #[must_use]
    pub fn push_named(mut self, name: &str, layer: impl Forward + 'static) -> Sequential {
        self.layers.push((name.to_owned(), Arc::new(layer)));
        self
    }

    /// The layer at a position.
    pub fn get(&self, position: usize) -> Option<&dyn Forward> {
        self.layers.get(position).map(|(_, layer)| &**layer)
    }

    /// Names and layers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &dyn Forward)> {
        self.layers.iter().map(|(name, layer)| (name.as_str(), &**layer))
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
        for (name, layer) in &self.layers {
            visitor.child(name, &**layer);
        }
    }
}

impl Forward for Sequential {
    #[track_caller]
    fn quantized(&self, activations: Activations) -> Option<Arc<dyn Forward>> {
        Some(Arc::new(self.quantize(activations)))
    }

    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = x.clone();
        for (name, layer) in &self.layers {
            x = call_layer(&**layer, name, &x);
        }
        x
    }
}

/// Parts by name, in the order in which they were put in (`torch.nn.ModuleDict`, `torch.nn.ParameterDict`). `ModuleList` and
/// `ParameterList` are `Vec`s.
///
/// ```
/// use igneous::nn::{Forward, Linear, ModuleDict, ModuleExt};
/// let heads = ModuleDict::new().with("left", Linear::new(4, 2)).with("right", Linear::new(4, 3).without_bias());
/// let names: Vec<String> = heads.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["left.weight", "left.bias", "right.weight"]);
/// let y = heads.get("right").map(|head| head.forward(&igneous::Tensor::zeros((1, 4))));
/// assert_eq!(y.unwrap().size(-1).get()?, 3);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModuleDict<M> {
    parts: Vec<(String, M)>,
}

impl<M> Default for ModuleDict<M> {
    fn default() -> ModuleDict<M> {
        ModuleDict { parts: Vec::new() }
    }
}

impl<M> ModuleDict<M> {
    /// No part.
    pub fn new() -> ModuleDict<M> {
        ModuleDict::default()
    }

    /// With another part, or in place of the one of that name.
    #[must_use]
    pub fn with(mut self, name: &str, part: M) -> ModuleDict<M> {
        match self.parts.iter_mut().find(|(own, _)| own == name) {
            Some((_, place)) => *place = part,
            None => self.parts.push((name.to_owned(), part)),
        }
        self
    }

    /// The part of this name.
    pub fn get(&self, name: &str) -> Option<&M> {
        self.parts.iter().find(|(own, _)| own == name).map(|(_, part)| part)
    }

    /// Names and parts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &M)> {
        self.parts.iter().map(|(name, part)| (name.as_str(), part))
    }

    /// The number of parts.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there is no part.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl<M: Module> Module for ModuleDict<M> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        for (name, part) in &self.parts {
            visitor.child(name, part);
        }
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

/// Splits an axis into several (`torch.nn.Unflatten`); one extent may be −1.
#[derive(Clone, Debug)]
pub struct Unflatten {
    axis: i64,
    sizes: Shape,
}

impl Unflatten {
    /// The axis becomes axes of these extents.
    pub fn new(axis: i64, sizes: impl IntoShape) -> Unflatten {
        Unflatten { axis, sizes: sizes.into_shape() }
    }
}

impl Module for Unflatten {
    fn visit(&self, _: &mut dyn Visitor) {}
}

impl Forward for Unflatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.unflatten(self.axis, &self.sizes)
    }
}

/// Passes its input on (`torch.nn.Identity`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Module for Identity {
    fn visit(&self, _: &mut dyn Visitor) {}
}

impl Forward for Identity {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.clone()
    }
}
