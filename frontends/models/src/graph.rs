//! Graph neural networks: GCN, GraphSAGE and GAT.

use igneous::nn::{Dropout, Forward, Linear, Module, init};
use igneous::{Error, Initial, Result, ScatterKind, Tensor};

/// The edges of a graph: messages go from the node at each place of `source` to the one at that place of `target`.
#[derive(Clone, Debug)]
pub struct Edges {
    /// `i64[edges]`.
    pub source: Tensor,
    /// `i64[edges]`.
    pub target: Tensor,
    /// The number of nodes.
    pub nodes: usize,
}

impl Edges {
    /// Edges in both directions between these pairs of nodes.
    ///
    /// # Errors
    /// If a pair names a node that there is not; the message names it.
    pub fn undirected(nodes: usize, pairs: &[(usize, usize)]) -> Result<Edges> {
        if let Some((a, b)) = pairs.iter().find(|(a, b)| *a.max(b) >= nodes) {
            return Err(Error::new(format!("there is an edge between nodes {a} and {b} in a graph of {nodes} nodes")));
        }
        let both = || pairs.iter().flat_map(|&(a, b)| [(a as i64, b as i64), (b as i64, a as i64)]);
        let side = |pick: fn((i64, i64)) -> i64| Tensor::from_vec(both().map(pick).collect::<Vec<i64>>(), 2 * pairs.len());
        Ok(Edges { source: side(|(a, _)| a), target: side(|(_, b)| b), nodes })
    }

    /// The same and an edge from each node to itself.
    #[must_use]
    pub fn with_self_loops(&self) -> Edges {
        let own = Tensor::arange(0, self.nodes);
        let with = |ends: &Tensor| Tensor::cat(&[ends, &own], 0);
        Edges { source: with(&self.source), target: with(&self.target), nodes: self.nodes }
    }

    /// The number of edges to each node, `[nodes]`.
    #[track_caller]
    pub fn degrees(&self) -> Tensor {
        Tensor::zeros(self.nodes).index_add(0, &self.target, &Tensor::ones(self.target.size(0)), 1.0)
    }

    /// The sum of the messages `[edges, …]` at each node.
    #[track_caller]
    fn gathered(&self, messages: &Tensor) -> Tensor {
        let shape = std::iter::once(self.nodes.into()).chain(messages.shape().into_iter().skip(1)).collect::<Vec<_>>();
        Tensor::zeros(&shape).to_dtype(messages.dtype()).index_add(0, &self.target, messages, 1.0)
    }
}

/// A matrix as the papers begin it.
#[track_caller]
fn linear(inputs: usize, outputs: usize) -> Linear {
    Linear { weight: Tensor::parameter(init::xavier_uniform(&[outputs, inputs])), bias: None }
}

/// A graph convolution, with PyTorch Geometric's names (`lin.weight`, `bias`): the mean of neighbours, weighed by the roots of
/// the degrees. Kipf and Welling 2016, arXiv:1609.02907.
#[derive(Clone, Debug, Module)]
pub struct GcnConv {
    /// Added to each node.
    pub bias: Tensor,
    /// What each message passes through.
    pub lin: Linear,
}

impl GcnConv {
    /// From so many features to so many.
    #[track_caller]
    pub fn new(inputs: usize, outputs: usize) -> GcnConv {
        GcnConv { bias: Tensor::parameter(Tensor::zeros(outputs)), lin: linear(inputs, outputs) }
    }

    /// New features `[nodes, outputs]` of nodes `[nodes, inputs]`. `edges` has self-loops.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, edges: &Edges) -> Tensor {
        // The two roots belong to the ends of an edge, so they multiply nodes, of which there are fewer.
        let roots = edges.degrees().to_dtype(x.dtype()).clamp_min(1.0).rsqrt().unsqueeze(1);
        let messages = (x.linear(&self.lin.weight, None) * &roots).index_select(0, &edges.source);
        edges.gathered(&messages) * roots + &self.bias
    }
}

/// Two [`GcnConv`] (`conv1`, `conv2`).
#[derive(Clone, Debug, Module)]
pub struct Gcn {
    /// To the hidden features.
    pub conv1: GcnConv,
    /// To the classes.
    pub conv2: GcnConv,
    dropout: Dropout,
}

impl Gcn {
    /// With dropout of so much in front of each; the paper has 16 hidden features and 0.5.
    #[track_caller]
    pub fn new(inputs: usize, hidden: usize, classes: usize, dropout: f64) -> Gcn {
        let (conv1, conv2) = (GcnConv::new(inputs, hidden), GcnConv::new(hidden, classes));
        Gcn { conv1, conv2, dropout: Dropout::new(dropout) }
    }

    /// Scores of the classes of all nodes. `edges` has self-loops.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, edges: &Edges) -> Tensor {
        let hidden = self.conv1.forward(&self.dropout.forward(x), edges).relu();
        self.conv2.forward(&self.dropout.forward(&hidden), edges)
    }
}

/// The mean of the neighbours through one matrix plus the node itself through another, with PyTorch Geometric's names (`lin_l`,
/// `lin_r`). Hamilton et al. 2017, arXiv:1706.02216.
#[derive(Clone, Debug, Module)]
pub struct SageConv {
    /// For the mean of the neighbours.
    pub lin_l: Linear,
    /// For the node itself.
    pub lin_r: Linear,
}

impl SageConv {
    /// From so many features to so many.
    #[track_caller]
    pub fn new(inputs: usize, outputs: usize) -> SageConv {
        SageConv { lin_l: Linear::new(inputs, outputs), lin_r: Linear::new(inputs, outputs).without_bias() }
    }

    /// New features `[nodes, outputs]` of nodes `[nodes, inputs]`. `edges` has no self-loops.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, edges: &Edges) -> Tensor {
        let counts = edges.degrees().clamp_min(1.0).unsqueeze(1).to_dtype(x.dtype());
        // A mean of products is the product of the mean, and the product has fewer features.
        let messages = x.linear(&self.lin_l.weight, None).index_select(0, &edges.source);
        let mean = edges.gathered(&messages) / counts;
        let mean = self.lin_l.bias.as_ref().map_or(mean.clone(), |bias| &mean + bias);
        mean + x.linear(&self.lin_r.weight, None)
    }
}

/// Two [`SageConv`] (`conv1`, `conv2`).
#[derive(Clone, Debug, Module)]
pub struct GraphSage {
    /// To the hidden features.
    pub conv1: SageConv,
    /// To the classes.
    pub conv2: SageConv,
    dropout: Dropout,
}

impl GraphSage {
    /// With dropout of so much in front of each.
    #[track_caller]
    pub fn new(inputs: usize, hidden: usize, classes: usize, dropout: f64) -> GraphSage {
        let (conv1, conv2) = (SageConv::new(inputs, hidden), SageConv::new(hidden, classes));
        GraphSage { conv1, conv2, dropout: Dropout::new(dropout) }
    }

    /// Scores of the classes of all nodes. `edges` has no self-loops.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, edges: &Edges) -> Tensor {
        let hidden = self.conv1.forward(&self.dropout.forward(x), edges).relu();
        self.conv2.forward(&self.dropout.forward(&hidden), edges)
    }
}

/// Attention of each node to its neighbours, with PyTorch Geometric's names (`att_src`, `att_dst`, `bias`, `lin.weight`).
/// Veličković et al. 2017, arXiv:1710.10903.
#[derive(Clone, Debug, Module)]
pub struct GatConv {
    /// What the sending node's features are weighed by, `[1, heads, outputs]`.
    pub att_src: Tensor,
    /// What the receiving node's are weighed by.
    pub att_dst: Tensor,
    /// Added to each node.
    pub bias: Tensor,
    /// What each message passes through.
    pub lin: Linear,
    dropout: Dropout,
}

impl GatConv {
    /// From so many features to so many in each head; dropout of the weights of messages.
    #[track_caller]
    pub fn new(inputs: usize, outputs: usize, heads: usize, dropout: f64) -> GatConv {
        let attention = || Tensor::parameter(init::xavier_uniform(&[heads, outputs]).unsqueeze(0));
        GatConv {
            att_src: attention(),
            att_dst: attention(),
            bias: Tensor::parameter(Tensor::zeros(heads * outputs)),
            lin: linear(inputs, heads * outputs),
            dropout: Dropout::new(dropout),
        }
    }

    /// New features of all heads side by side, `[nodes, heads · outputs]`, of nodes `[nodes, inputs]`. `edges` has self-loops.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, edges: &Edges) -> Tensor {
        let heads = self.att_src.shape()[1..].to_vec();
        let x = x.linear(&self.lin.weight, None).unflatten(-1, heads);
        let sent = (&x * &self.att_src).sum(-1).index_select(0, &edges.source);
        let received = (&x * &self.att_dst).sum(-1).index_select(0, &edges.target);
        let scores = (sent + received).leaky_relu(0.2);
        let messages = x.index_select(0, &edges.source) * self.dropout.forward(&shares(&scores, edges)).unsqueeze(-1);
        edges.gathered(&messages).flatten(1, -1) + &self.bias
    }
}

/// The softmax of scores `[edges, heads]` over the edges to each node.
#[track_caller]
fn shares(scores: &Tensor, edges: &Edges) -> Tensor {
    let index = edges.target.unsqueeze(1).expand_as(scores);
    let lowest = Tensor::full((edges.nodes, scores.size(1)), f64::NEG_INFINITY).to_dtype(scores.dtype());
    // A shift changes no softmax, so it needs no gradient.
    let largest = lowest.scatter_reduce(0, &index, &scores.detach(), ScatterKind::Max, Initial::Kept);
    let exponentials = (scores - largest.index_select(0, &edges.target)).exp();
    let sums = edges.gathered(&exponentials);
    exponentials / sums.index_select(0, &edges.target)
}

/// Two [`GatConv`] (`conv1`, `conv2`), the first of several heads.
#[derive(Clone, Debug, Module)]
pub struct Gat {
    /// To the hidden features.
    pub conv1: GatConv,
    /// To the classes, with one head.
    pub conv2: GatConv,
    dropout: Dropout,
}

impl Gat {
    /// With dropout of so much in front of each and of the weights of messages; the paper has 8 hidden features in each of 8 heads,
    /// and 0.6.
    #[track_caller]
    pub fn new(inputs: usize, hidden: usize, heads: usize, classes: usize, dropout: f64) -> Gat {
        let conv1 = GatConv::new(inputs, hidden, heads, dropout);
        Gat { conv1, conv2: GatConv::new(heads * hidden, classes, 1, dropout), dropout: Dropout::new(dropout) }
    }

    /// Scores of the classes of all nodes. `edges` has self-loops.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, edges: &Edges) -> Tensor {
        let hidden = self.conv1.forward(&self.dropout.forward(x), edges).elu(1.0);
        self.conv2.forward(&self.dropout.forward(&hidden), edges)
    }
}
