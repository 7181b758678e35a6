//! Graph neural networks: the subjects of papers that cite each other, missing citations, and who went with whom when a karate
//! club split.
//!
//!     cargo run --release --example cora
//!     cargo run --release --example cora -- --model gat
//!     cargo run --release --example cora -- --task links
//!     cargo run --release --example cora -- --task karate
//!     cargo run --release --example cora -- --check

mod mode;

use clap::{Parser, ValueEnum};
use igneous::data::{Progress, SampleRandom, read_lines};
use igneous::metrics::roc_auc;
use igneous::nn::{Module, ModuleExt};
use igneous::optim::{Adam, AdamOptions, Optimizer};
use igneous::{DType, Error, Result, Tensor, compile, default, manual_seed, no_grad};
use igneous_models::{Edges, Gat, Gcn, GraphSage};
use mode::Mode;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Trains a graph neural network.
#[derive(Parser)]
struct Arguments {
    /// The network.
    #[arg(long, value_enum, default_value = "gcn")]
    model: Kind,
    /// What it learns.
    #[arg(long, value_enum, default_value = "classes")]
    task: Task,
    /// Training steps, each with the whole graph.
    #[arg(long, default_value_t = 200)]
    epochs: usize,
    #[command(flatten)]
    mode: Mode,
    /// The folder with the folders of both graphs.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data"))]
    data: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Gcn,
    Sage,
    Gat,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Task {
    /// The classes of Cora's test nodes, from 140 labels.
    Classes,
    /// Which pairs of Cora's papers cite each other.
    Links,
    /// The two groups of the karate club, from one label each.
    Karate,
}

/// Any of the networks.
#[derive(Module)]
enum Net {
    Gcn(Gcn),
    Sage(GraphSage),
    Gat(Gat),
}

impl Net {
    /// With the papers' sizes and this many results for each node.
    fn new(kind: Kind, graph: &Graph, outputs: usize) -> Net {
        let inputs = graph.inputs;
        match kind {
            Kind::Gcn => Net::Gcn(Gcn::new(inputs, 16, outputs, 0.5)),
            Kind::Sage => Net::Sage(GraphSage::new(inputs, 16, outputs, 0.5)),
            Kind::Gat => Net::Gat(Gat::new(inputs, 8, 8, outputs, 0.6)),
        }
    }

    fn forward(&self, x: &Tensor, edges: &Edges) -> Tensor {
        match self {
            Net::Gcn(net) => net.forward(x, &edges.with_self_loops()),
            Net::Sage(net) => net.forward(x, edges),
            Net::Gat(net) => net.forward(x, &edges.with_self_loops()),
        }
    }
}

/// Nodes with features and labels, and pairs of them.
struct Graph {
    nodes: usize,
    /// Features of a node.
    inputs: usize,
    features: Tensor,
    labels: Tensor,
    classes: usize,
    pairs: Vec<(usize, usize)>,
    /// The nodes to learn from, to choose a step by, and to test with.
    splits: [Vec<i64>; 3],
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|_| Error::new(format!("{text:?} is no number")))
}

fn read_pairs(path: &Path) -> Result<Vec<(usize, usize)>> {
    let pair = |line: &String| {
        let (a, b) = line.split_once('\t').ok_or_else(|| Error::new(format!("{line:?} is no pair")))?;
        Ok((number(a)?, number(b)?))
    };
    read_lines(path)?.iter().map(pair).collect::<Result<_>>().map_err(|e| e.context(path.display()))
}

/// Papers, their words and their citations.
fn read_cora(folder: &Path) -> Result<Graph> {
    const WORDS: usize = 1433;
    let path = folder.join("nodes.tsv.gz");
    let lines = read_lines(&path)?;
    // The first line has the names of the fields.
    let nodes = lines.len().saturating_sub(1);
    let mut features = vec![0f32; nodes * WORDS];
    let (mut labels, mut splits) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for (node, line) in lines.iter().skip(1).enumerate() {
        let wrong = |what: &str| Error::new(format!("{}, line {}: {what}", path.display(), node + 2));
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, label, split, words] = fields[..] else { return Err(wrong("there are four fields in a line")) };
        labels.push(number(label)? as i64);
        if let Some(place) = ["train", "val", "test"].iter().position(|name| *name == split) {
            splits[place].push(node as i64);
        }
        // The words of a paper count one together.
        let words: Vec<usize> = words.split_whitespace().map(number).collect::<Result<_>>()?;
        for word in &words {
            let place = features[node * WORDS..][..WORDS].get_mut(*word).ok_or_else(|| wrong("there is no such word"))?;
            *place = 1.0 / words.len() as f32;
        }
    }
    Ok(Graph {
        nodes,
        inputs: WORDS,
        features: Tensor::from_vec(features, (nodes, WORDS)),
        labels: Tensor::from_vec(labels, nodes),
        classes: 7,
        pairs: read_pairs(&folder.join("edges.tsv.gz"))?,
        splits,
    })
}

/// Members of a club, of whom nothing is known but who meets whom, and which side its two heads are on.
fn read_karate(folder: &Path) -> Result<Graph> {
    let labels: Vec<i64> = read_pairs(&folder.join("labels.tsv"))?.into_iter().map(|(_, group)| group as i64).collect();
    let nodes = labels.len();
    let heads = vec![0, nodes as i64 - 1];
    let others: Vec<i64> = (1..nodes as i64 - 1).collect();
    Ok(Graph {
        nodes,
        inputs: nodes,
        features: Tensor::eye(nodes),
        labels: Tensor::from_vec(labels, nodes),
        classes: 2,
        pairs: read_pairs(&folder.join("edges.tsv"))?,
        splits: [heads.clone(), heads, others],
    })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.mode.seed);
    match arguments.task {
        Task::Classes => classify(read_cora(&arguments.data.join("cora"))?, &arguments),
        Task::Karate => classify(read_karate(&arguments.data.join("karate"))?, &arguments),
        Task::Links => link(&read_cora(&arguments.data.join("cora"))?, &arguments),
    }
}

/// Learns the classes of some nodes and tells those of others.
fn classify(graph: Graph, arguments: &Arguments) -> Result<()> {
    let mode = arguments.mode;
    let edges = Edges::undirected(graph.nodes, &graph.pairs)?;
    let net = Net::new(arguments.model, &graph, graph.classes);
    println!("{} nodes, {} edges, {} parameters", graph.nodes, graph.pairs.len(), net.parameter_count());
    // The papers' learning rates and penalty.
    let lr = if matches!(net, Net::Gat(_)) { 0.005 } else { 0.01 };
    let adam = Adam::with(net.parameters(), lr, AdamOptions { weight_decay: 5e-4, ..default() })?;
    let [train, validation, test] = graph.splits.each_ref().map(|nodes| Tensor::from_slice(nodes, nodes.len()));
    let targets = graph.labels.i(&train);
    let step = compile(|| {
        let loss = net.forward(&graph.features, &edges).i(&train).cross_entropy(&targets);
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    })
    .name("step");
    // The shares of the nodes to learn from, to choose a step by, and to test with that it gets right.
    let accuracies = compile(|| {
        let predicted = no_grad(|| net.forward(&graph.features, &edges)).argmax(1);
        let right = predicted.equal(&graph.labels).to_dtype(DType::F32);
        [&train, &validation, &test].map(|nodes| right.i(nodes).mean_all())
    })
    .name("accuracies");
    if mode.check {
        return mode.compare(&step, (0..arguments.epochs.min(20)).map(|_| Ok(())), 1e-4);
    }

    let start = Instant::now();
    let progress = Progress::new(0..arguments.epochs, "training");
    let bar = progress.bar();
    // The step whose validation accuracy is best decides.
    let (mut best, mut last, mut best_epoch) = ([0.0; 3], [0.0; 3], 0);
    for epoch in progress {
        net.train();
        let loss = mode.run(&step, ())?;
        net.eval();
        for (accuracy, found) in last.iter_mut().zip(mode.run(&accuracies, ())?) {
            *accuracy = found.item()?;
        }
        if last[1] >= best[1] {
            (best, best_epoch) = (last, epoch + 1);
        }
        bar.set_message(format!("loss {:.3}", loss.item()?));
    }
    println!("{} steps in {:.1} s\n", arguments.epochs, start.elapsed().as_secs_f64());
    println!("accuracy          training  validation   test");
    for (name, [train, validation, test]) in [(format!("after step {best_epoch}"), best), ("at the end".to_owned(), last)] {
        println!("{name:16}  {train:8.3}  {validation:10.3}  {test:5.3}");
    }
    Ok(())
}

/// Learns which nodes are linked: vectors of linked nodes point in one direction. A tenth of the edges is held back.
fn link(graph: &Graph, arguments: &Arguments) -> Result<()> {
    let (mode, nodes) = (arguments.mode, graph.nodes);
    let mut random = SampleRandom::of_sample(mode.seed as usize);
    let (held_back, seen): (Vec<_>, Vec<_>) = graph.pairs.iter().copied().partition(|_| random.chance(0.1));
    let edges = Edges::undirected(nodes, &seen)?;
    let net = Net::new(arguments.model, graph, 64);
    println!("{nodes} nodes, {} edges to learn from, {} to test with", seen.len(), held_back.len());
    println!("{} parameters", net.parameter_count());
    let adam = Adam::new(net.parameters(), 0.01)?;
    let linked: HashSet<(usize, usize)> = graph.pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
    if linked.len() + nodes >= nodes * nodes {
        return Err(Error::new("all nodes are linked: there is nothing to tell apart"));
    }
    let mut strangers = |count: usize| {
        let pairs = std::iter::repeat_with(|| (random.below(nodes), random.below(nodes)));
        let pairs: Vec<_> = pairs.filter(|pair| pair.0 != pair.1 && !linked.contains(pair)).take(count).collect();
        ends(&pairs)
    };
    let scores = |vectors: &Tensor, pairs: &Tensor| (vectors.i(pairs.i(0)) * vectors.i(pairs.i(1))).sum(-1);
    let against = |scores: &Tensor, target: f64| scores.binary_cross_entropy_with_logits(&scores.full_like(target));

    let friends = ends(&seen);
    let step = compile(|others: Tensor| {
        let vectors = net.forward(&graph.features, &edges);
        let loss = against(&scores(&vectors, &friends), 1.0) + against(&scores(&vectors, &others), 0.0);
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    })
    .name("step");
    let judge = compile(|pairs: Tensor| no_grad(|| scores(&net.forward(&graph.features, &edges), &pairs))).name("judge");
    if mode.check {
        return mode.compare(&step, (0..arguments.epochs.min(20)).map(|_| Ok(strangers(seen.len()))), 1e-4);
    }
    let start = Instant::now();
    let progress = Progress::new(0..arguments.epochs, "training");
    let bar = progress.bar();
    for _ in progress {
        let loss = mode.run(&step, strangers(seen.len()))?;
        bar.set_message(format!("loss {:.3}", loss.item()?));
    }
    println!("{} steps in {:.1} s", arguments.epochs, start.elapsed().as_secs_f64());
    net.eval();
    let tested = Tensor::cat(&[ends(&held_back), strangers(held_back.len())], 1);
    let truths = Tensor::arange(0, 2 * held_back.len()).lt(held_back.len() as i64);
    let auc = roc_auc(&mode.run(&judge, tested)?, &truths)?;
    println!("area under the ROC curve of citations that it has not seen: {auc:.3}");
    Ok(())
}

/// The ends of pairs, `i64[2, pairs]`.
fn ends(pairs: &[(usize, usize)]) -> Tensor {
    let flat: Vec<i64> = pairs.iter().map(|p| p.0).chain(pairs.iter().map(|p| p.1)).map(|node| node as i64).collect();
    Tensor::from_vec(flat, (2, pairs.len()))
}
