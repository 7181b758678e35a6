//! Graph neural networks: the subjects of papers that cite each other, missing citations, and who went with whom when a karate
//! club split.
//!
//!     cargo run --release --example cora
//!     cargo run --release --example cora -- --model gat
//!     cargo run --release --example cora -- --task links
//!     cargo run --release --example cora -- --task karate
//!     cargo run --release --example cora -- --check

use clap::{Parser, ValueEnum};
use igneous::data::{Progress, SampleRandom, read_lines};
use igneous::metrics::roc_auc;
use igneous::nn::{Module, ModuleExt};
use igneous::optim::{Adam, AdamOptions, Optimizer};
use igneous::testing::compare_with_eager;
use igneous::{DType, Error, Result, Tensor, compile, default, manual_seed, no_grad};
use igneous_models::{Edges, Gat, Gcn, GraphSage};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    /// Seed of the weights and of dropout.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    eager: bool,
    /// Compare 20 steps in eager and compiled mode.
    #[arg(long)]
    check: bool,
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
    fn new(kind: Kind, inputs: usize, outputs: usize) -> Net {
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
    let lines = read_lines(folder.join("nodes.tsv.gz"))?;
    let lines: Vec<&String> = lines.iter().filter(|line| !line.starts_with("node")).collect();
    let mut features = vec![0f32; lines.len() * WORDS];
    let (mut labels, mut splits) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for (node, line) in lines.iter().enumerate() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, label, split, words] = fields[..] else {
            return Err(Error::new(format!("line {} of nodes.tsv.gz has {} fields, not 4", node + 2, fields.len())));
        };
        labels.push(number(label)? as i64);
        if let Some(place) = ["train", "val", "test"].iter().position(|name| *name == split) {
            splits[place].push(node as i64);
        }
        // The words of a paper count one together.
        let words: Vec<usize> = words.split_whitespace().map(number).collect::<Result<_>>()?;
        for &word in words.iter().filter(|&&word| word < WORDS) {
            features[node * WORDS + word] = 1.0 / words.len() as f32;
        }
    }
    Ok(Graph {
        features: Tensor::from_vec(features, (lines.len(), WORDS)),
        labels: Tensor::from_vec(labels, lines.len()),
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
        features: Tensor::eye(nodes),
        labels: Tensor::from_vec(labels, nodes),
        classes: 2,
        pairs: read_pairs(&folder.join("edges.tsv"))?,
        splits: [heads.clone(), heads, others],
    })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    match arguments.task {
        Task::Classes => classify(read_cora(&arguments.data.join("cora"))?, &arguments),
        Task::Karate => classify(read_karate(&arguments.data.join("karate"))?, &arguments),
        Task::Links => link(&read_cora(&arguments.data.join("cora"))?, &arguments),
    }
}

/// Adam with the papers' learning rates and penalty.
fn optimizer(net: &Net) -> Result<Adam> {
    let lr = if matches!(net, Net::Gat(_)) { 0.005 } else { 0.01 };
    Adam::with(net.parameters(), lr, AdamOptions { weight_decay: 5e-4, ..default() })
}

/// Learns the classes of some nodes and tells those of others.
fn classify(graph: Graph, arguments: &Arguments) -> Result<()> {
    let nodes = graph.labels.size(0).get()?;
    let edges = Edges::undirected(nodes, &graph.pairs)?;
    let net = Arc::new(Net::new(arguments.model, graph.features.size(1).get()?, graph.classes));
    println!("{nodes} nodes, {} edges, {} parameters", graph.pairs.len(), net.parameter_count());
    let adam = optimizer(&net)?;
    let of = |split: usize| Tensor::from_slice(&graph.splits[split], graph.splits[split].len());
    let known = of(0);

    let (own, x, links) = (net.clone(), graph.features.clone(), edges.clone());
    let targets = graph.labels.i(&known);
    let train = move || {
        let loss = own.forward(&x, &links).i(&known).cross_entropy(&targets);
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    };
    let (own, x) = (net.clone(), graph.features.clone());
    let predict = move || no_grad(|| own.forward(&x, &edges).argmax(1));
    let step = compile(train.clone()).name("step");
    let compiled = compile(predict.clone()).name("predict");
    if arguments.check {
        let mut largest = 0.0f64;
        for _ in 0..20 {
            largest = largest.max(compare_with_eager(&step, (), 1e-4)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}");
        return Ok(());
    }

    let splits = [of(0), of(1), of(2)];
    let right = graph.labels;
    let accuracies = || -> Result<[f64; 3]> {
        net.eval();
        let predicted = if arguments.eager { predict() } else { compiled.run(())? };
        net.train();
        let hits = predicted.equal(&right).to_dtype(DType::F32);
        let [a, b, c] = &splits;
        Ok([hits.i(a).mean_all().item()?, hits.i(b).mean_all().item()?, hits.i(c).mean_all().item()?])
    };
    let start = Instant::now();
    let progress = Progress::new(0..arguments.epochs, "training");
    let bar = progress.bar();
    // The step whose validation accuracy is best decides.
    let (mut best, mut best_epoch) = ([0.0; 3], 0);
    for epoch in progress {
        let loss = if arguments.eager { train()? } else { step.run(())? };
        let now = accuracies()?;
        if now[1] >= best[1] {
            (best, best_epoch) = (now, epoch + 1);
        }
        bar.set_message(format!("loss {:.3}", loss.item()?));
    }
    let last = accuracies()?;
    println!("{} steps in {:.1} s\n", arguments.epochs, start.elapsed().as_secs_f64());
    println!("accuracy          training  validation   test");
    for (name, [train, validation, test]) in [(format!("after step {best_epoch:3}"), best), ("at the end".into(), last)] {
        println!("{name:16}  {train:8.3}  {validation:10.3}  {test:5.3}");
    }
    Ok(())
}

/// Learns which nodes are linked: vectors of linked nodes point in one direction. A tenth of the edges is held back.
fn link(graph: &Graph, arguments: &Arguments) -> Result<()> {
    let nodes = graph.labels.size(0).get()?;
    let mut random = SampleRandom::of_sample(arguments.seed as usize);
    let (held_back, seen): (Vec<_>, Vec<_>) = graph.pairs.iter().copied().partition(|_| random.chance(0.1));
    let edges = Edges::undirected(nodes, &seen)?;
    let net = Arc::new(Net::new(arguments.model, graph.features.size(1).get()?, 64));
    println!(
        "{nodes} nodes, {} edges to learn from, {} to test with, {} parameters",
        seen.len(),
        held_back.len(),
        net.parameter_count()
    );
    let adam = Adam::new(net.parameters(), 0.01)?;
    let linked: HashSet<(usize, usize)> = graph.pairs.iter().copied().collect();
    let mut strangers = |count: usize| {
        let mut found = Vec::new();
        while found.len() < count {
            let pair = (random.below(nodes), random.below(nodes));
            if pair.0 != pair.1 && !linked.contains(&pair) && !linked.contains(&(pair.1, pair.0)) {
                found.push(pair);
            }
        }
        found
    };
    // Ends of pairs, `i64[2, pairs]`.
    let ends = |pairs: &[(usize, usize)]| {
        let flat: Vec<i64> = pairs.iter().map(|p| p.0 as i64).chain(pairs.iter().map(|p| p.1 as i64)).collect();
        Tensor::from_vec(flat, (2, pairs.len()))
    };
    let scores = |vectors: &Tensor, pairs: &Tensor| (vectors.i(pairs.i(0)) * vectors.i(pairs.i(1))).sum(-1);

    let (own, x, links) = (net.clone(), graph.features.clone(), edges.clone());
    let friends = ends(&seen);
    let train = move |others: Tensor| {
        let vectors = own.forward(&x, &links);
        let (yes, no) = (scores(&vectors, &friends), scores(&vectors, &others));
        let against = |scores: &Tensor, target: f64| scores.binary_cross_entropy_with_logits(&scores.full_like(target));
        let loss = against(&yes, 1.0) + against(&no, 0.0);
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    };
    let step = compile(train.clone()).name("step");
    if arguments.check {
        let mut largest = 0.0f64;
        for _ in 0..20 {
            largest = largest.max(compare_with_eager(&step, ends(&strangers(seen.len())), 1e-4)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}");
        return Ok(());
    }
    let start = Instant::now();
    let progress = Progress::new(0..arguments.epochs, "training");
    let bar = progress.bar();
    for _ in progress {
        let others = ends(&strangers(seen.len()));
        let loss = if arguments.eager { train(others)? } else { step.run(others)? };
        bar.set_message(format!("loss {:.3}", loss.item()?));
    }
    println!("{} steps in {:.1} s", arguments.epochs, start.elapsed().as_secs_f64());
    net.eval();
    let vectors = no_grad(|| net.forward(&graph.features, &edges));
    let tested = Tensor::cat(&[ends(&held_back), ends(&strangers(held_back.len()))], 1);
    let truths = Tensor::arange(0, 2 * held_back.len()).lt(held_back.len() as i64);
    let auc = roc_auc(&scores(&vectors, &tested), &truths)?;
    println!("area under the ROC curve of citations that it has not seen: {auc:.3}");
    Ok(())
}
