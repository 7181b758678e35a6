//! Attention of half types, with its derivative: heads of many sizes, rows that are not whole blocks, masks, operands that lie in memory in
//! other orders, and heads that share keys and values.

use crate::cases::{Case, Extent, for_cuda};
use crate::emulator::{Emulator, compiler};
use crate::machine_code;
use crate::{ARCHITECTURES, MOST_DYNAMIC, check, distinct, extent};
use igneous_compiler::{Options, Precision, Variables, compile};
use igneous_ir::dim::Dim;
use igneous_ir::graph::Graph;
use igneous_ir::op::Fill;
use igneous_ir::sample;
use igneous_ir::types::DType;
use igneous_runtime::cuda::{KernelText, Nvrtc};
use igneous_runtime::program::{BufferSpec, Work};
use std::sync::Arc;

/// What a query sees.
#[derive(Clone, Copy, Debug)]
enum Mask {
    All,
    Causal,
    /// Numbers added to the scores.
    Added,
    /// Bools, and the score of what they hide.
    Bools(&'static str),
    /// Bools that are the same for all queries, under a causal mask.
    CausalBools,
    /// Positions up to so many before the query.
    Window(usize),
    /// A slope for each head times the distance.
    Slopes,
    /// Numbers of documents that have to be equal.
    Documents,
    /// Scores bounded by the hyperbolic tangent, under a causal mask.
    Capped,
    /// Scores times their sigmoid times a number for each head, less the distance.
    Sloped,
}

impl Mask {
    /// A function of the scores, and its name.
    fn function(self) -> Option<(&'static str, &'static str)> {
        match self {
            Mask::Capped => Some((
                "capped",
                "graph capped(%s: f32[]) -> (f32[]) {
                   %c = constant {value=f32[] [2]}() %a = div(%s, %c) %b = tanh(%a) %d = mul(%b, %c) return %d }",
            )),
            Mask::Sloped => Some((
                "sloped",
                "graph sloped(%s: f32[], %m: f32[], %n: i64[]) -> (f32[]) {
                   %a = sigmoid(%s) %b = mul(%a, %s) %c = mul(%b, %m) %d = cast {dtype=f32}(%n)
                   %e = constant {value=f32[] [0.125]}() %f = mul(%d, %e) %g = sub(%c, %f) return %g }",
            )),
            _ => None,
        }
    }
}

/// How operands lie in memory.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Dense,
    /// Heads between positions and features.
    HeadsInside,
    /// Positions behind features.
    FeaturesOutside,
    /// Two heads of queries have keys and values together.
    Grouped,
}

/// Two times two heads with so many queries, keys, features and values.
#[derive(Clone, Copy, Debug)]
struct Attention(DType, [usize; 4], Mask, Layout);

/// What is tried in every build.
const FEW: [Attention; 13] = [
    Attention(DType::BF16, [37, 70, 64, 64], Mask::All, Layout::Dense),
    Attention(DType::F16, [130, 141, 16, 16], Mask::Causal, Layout::HeadsInside),
    Attention(DType::BF16, [20, 35, 33, 7], Mask::Bools("-inf"), Layout::Dense),
    Attention(DType::F16, [18, 64, 40, 72], Mask::Added, Layout::Dense),
    Attention(DType::BF16, [66, 66, 128, 128], Mask::Causal, Layout::Grouped),
    Attention(DType::F16, [9, 3, 8, 24], Mask::Bools("-20000.0"), Layout::FeaturesOutside),
    Attention(DType::BF16, [33, 33, 256, 256], Mask::Causal, Layout::Dense),
    Attention(DType::BF16, [5, 40, 64, 32], Mask::CausalBools, Layout::Dense),
    Attention(DType::F16, [200, 200, 16, 16], Mask::Window(20), Layout::Dense),
    Attention(DType::BF16, [40, 70, 32, 32], Mask::Slopes, Layout::Dense),
    Attention(DType::F16, [70, 70, 16, 32], Mask::Documents, Layout::HeadsInside),
    Attention(DType::BF16, [66, 66, 64, 64], Mask::Capped, Layout::Dense),
    Attention(DType::F16, [40, 70, 32, 40], Mask::Sloped, Layout::Grouped),
];

/// What is tried besides by optimised builds.
const MORE: [Attention; 11] = [
    Attention(DType::F16, [70, 40, 96, 96], Mask::All, Layout::Grouped),
    Attention(DType::F16, [64, 64, 256, 256], Mask::Added, Layout::HeadsInside),
    Attention(DType::BF16, [33, 40, 160, 192], Mask::All, Layout::Dense),
    Attention(DType::F16, [33, 65, 80, 128], Mask::Bools("-inf"), Layout::HeadsInside),
    Attention(DType::BF16, [40, 40, 256, 64], Mask::Causal, Layout::Dense),
    Attention(DType::F16, [40, 70, 64, 256], Mask::Causal, Layout::FeaturesOutside),
    Attention(DType::BF16, [2, 2, 1, 1], Mask::All, Layout::Dense),
    Attention(DType::F16, [140, 140, 64, 64], Mask::Causal, Layout::Dense),
    Attention(DType::BF16, [40, 70, 128, 128], Mask::Capped, Layout::Grouped),
    Attention(DType::BF16, [40, 40, 256, 256], Mask::Capped, Layout::Dense),
    Attention(DType::F16, [40, 70, 128, 128], Mask::Sloped, Layout::HeadsInside),
];

impl Attention {
    /// Result, logarithms of sums and cotangents; the graph's inputs are queries, keys, values, the cotangent of the result, the mask.
    fn graph(self) -> Graph {
        let Attention(dtype, [t, s, d, e], mask, layout) = self;
        let (mut inputs, mut views) = (String::new(), String::new());
        for (name, rows, columns) in [("q", t, d), ("k", s, d), ("v", s, e)] {
            let (shape, view) = match layout {
                Layout::HeadsInside => (format!("2, {rows}, 2, {columns}"), "transpose {permutation=[0, 2, 1, 3]}".to_owned()),
                Layout::FeaturesOutside => {
                    (format!("2, 2, {columns}, {rows}"), "transpose {permutation=[0, 1, 3, 2]}".to_owned())
                }
                Layout::Grouped if name != "q" => {
                    let shape = format!("2, 2, {rows}, {columns}");
                    (format!("2, {rows}, {columns}"), format!("broadcast {{axes=[0, 2, 3], shape=[{shape}]}}"))
                }
                Layout::Dense | Layout::Grouped => (format!("2, 2, {rows}, {columns}"), String::new()),
            };
            inputs += &format!("%x{name}: {dtype}[{shape}], ");
            views += &if view.is_empty() {
                format!("%{name} = reshape {{shape=[{shape}]}}(%x{name})\n")
            } else {
                format!("%{name} = {view}(%x{name})\n")
            };
        }
        let (of_mask, given) = match mask {
            Mask::All | Mask::Causal | Mask::Capped => (String::new(), ""),
            Mask::Added => (format!(", %m: {dtype}[1, 2, {t}, {s}]"), ", %m"),
            Mask::Bools(_) => (format!(", %m: bool[2, 1, {t}, {s}]"), ", %m"),
            Mask::CausalBools => (format!(", %m: bool[2, 1, 1, {s}]"), ", %m"),
            Mask::Window(_) => (String::new(), ", %m"),
            Mask::Slopes => (", %z: f32[2]".to_owned(), ", %m"),
            Mask::Sloped => (", %z: f32[2]".to_owned(), ", %m, %n"),
            Mask::Documents => (format!(", %z: i64[2, {t}]"), ", %m"),
        };
        let positions = |shape: &str, [i, j]: [usize; 2]| {
            format!("%i = iota {{axis={i}, dtype=i64, shape=[{shape}]}}() %j = iota {{axis={j}, dtype=i64, shape=[{shape}]}}()")
        };
        views += &match mask {
            Mask::Window(width) => {
                let shape = format!("{t}, {s}");
                format!(
                    "{} %a = sub(%i, %j) %n = constant {{value=i64[] [{width}]}}() %o = broadcast {{axes=[], shape=[{shape}]}}(%n)
                     %c = lt(%a, %o) %e = gt(%j, %i) %f = not(%e) %g = and(%f, %c) %m = reshape {{shape=[1, 1, {shape}]}}(%g)\n",
                    positions(&shape, [0, 1])
                )
            }
            Mask::Slopes => {
                let shape = format!("1, 2, {t}, {s}");
                format!(
                    "{} %a = sub(%j, %i) %b = cast {{dtype=f32}}(%a) %c = broadcast {{axes=[1], shape=[{shape}]}}(%z)
                     %e = mul(%b, %c) %m = cast {{dtype={dtype}}}(%e)\n",
                    positions(&shape, [2, 3])
                )
            }
            Mask::Sloped => format!(
                "{} %a = sub(%j, %i) %n = abs(%a) %m = reshape {{shape=[1, 2, 1, 1]}}(%z)\n",
                positions(&format!("1, 1, {t}, {s}"), [2, 3])
            ),
            Mask::Documents => {
                let side =
                    |name: &str, axis: usize| format!("%{name} = broadcast {{axes=[0, {axis}], shape=[2, 1, {t}, {s}]}}(%z)");
                format!("{} {} %m = eq(%a, %b)\n", side("a", 2), side("b", 3))
            }
            _ => String::new(),
        };
        // Windows, slopes and documents are computed where they are needed.
        let hidden = if let Mask::Bools(hidden) = mask { hidden } else { "-inf" };
        let causal = matches!(mask, Mask::Causal | Mask::CausalBools | Mask::Capped);
        // Scores of the size that scaled ones have.
        let scale = 1.0 / (d as f64).sqrt();
        let shape = |name: &str| {
            let ty = inputs.split("%x").find_map(|part| part.strip_prefix(&format!("{name}: "))).expect("there are three");
            ty.trim_end_matches(", ").to_owned()
        };
        let results = ["q", "k", "v"].map(shape).join(", ");
        let (op, function, text) = match mask.function() {
            Some((name, text)) => ("flex_attention", format!(", score=@{name}"), text),
            None => ("attention", String::new(), ""),
        };
        let text = format!(
            "{text}
             graph attention({inputs}%dy: {dtype}[2, 2, {t}, {e}]{of_mask}) -> ({dtype}[2, 2, {t}, {e}], f32[2, 2, {t}], {results}) {{
               {views}%y, %lse = {op} {{causal={causal}, hidden={hidden}, scale={scale:?}{function}}}(%q, %k, %v{given})
               %w = cast {{dtype=f32}}(%y) %u = cast {{dtype=f32}}(%dy) %p = mul(%w, %u)
               %l = reduce {{axes=[0, 1, 2, 3], kind=sum}}(%p)
               %dq, %dk, %dv = grad {{seeded=false}}(%l, %xq, %xk, %xv)
               return %y, %lse, %dq, %dk, %dv
             }}"
        );
        Graph::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn case(self, options: &Options) -> Case {
        let graph = self.graph();
        let fill = |dtype: DType| if dtype.is_float() { Fill::Normal } else { Fill::Range(0, 2) };
        let inputs = graph.inputs().iter().enumerate().map(|(k, (v, _))| {
            let ty = graph.ty(*v);
            sample::array(ty, fill(ty.dtype), 3, k).expect("an array can be made")
        });
        let inputs = inputs.collect();
        let compiled = compile(&graph, &Variables::default(), options).unwrap_or_else(|e| panic!("{self:?}: {e}"));
        let rewritten = compiled.graph().clone();
        Case {
            name: format!("{self:?}"),
            graph,
            rewritten,
            inputs,
            special: false,
            prepare: None,
            program: compiled.program,
            library: None,
        }
    }
}

fn attentions() -> Vec<Attention> {
    let more = if extent() == Extent::All { &MORE[..] } else { &[] };
    [&FEW[..], more].concat()
}

/// Compiled for CUDA.
pub fn cases() -> Vec<Case> {
    attentions().iter().map(|attention| attention.case(&for_cuda())).collect()
}

/// Runs cases with threads in both orders.
fn check_all(cases: &[Case], device: &str) {
    let Some(compiler) = compiler() else {
        println!("execution is skipped: there is no C++ compiler");
        return;
    };
    let device = Arc::new(Emulator::new(compiler, device));
    let errors = cases.iter().filter_map(|case| check(&device, case).err().map(|error| format!("{}: {error}", case.name)));
    let errors: Vec<String> = errors.collect();
    assert!(errors.is_empty(), "{} of {} fail:\n{}", errors.len(), cases.len(), errors.join("\n"));
}

#[test]
fn half_types_are_multiplied_by_tensor_cores() {
    let (attentions, cases) = (attentions(), cases());
    for (attention, case) in attentions.iter().zip(&cases) {
        let of_tensor_cores = case.program.launches.iter().flat_map(|launch| &launch.work).filter(|work| match work {
            Work::Cuda(work) => {
                assert!(
                    work.shared.as_const().is_some_and(|bytes| bytes <= MOST_DYNAMIC),
                    "{}: {} bytes",
                    case.name,
                    work.shared
                );
                work.kernel.source.contains("load_matrices")
            }
            _ => false,
        });
        if matches!(attention.2, Mask::Window(_) | Mask::Slopes | Mask::Documents | Mask::Sloped) {
            let [t, s, ..] = attention.1.map(Dim::from);
            let square = |b: &BufferSpec| b.ty.shape.ends_with(&[t, s]);
            assert!(!case.program.buffers.iter().any(square), "{}: the mask is stored", case.name);
        }
        assert!(of_tensor_cores.count() >= 3, "{}: not all of it is on tensor cores", case.name);
    }
    check_all(&cases, "attention");
}

#[test]
fn machine_code_of_attention_spills_nothing() {
    let nvrtc = match Nvrtc::get() {
        Ok(nvrtc) => nvrtc,
        Err(error) => return println!("machine code is skipped: {error}"),
    };
    let mut kernels = distinct(cases().iter());
    kernels.retain(|kernel| kernel.source.contains("load_matrices"));
    if extent() == Extent::All {
        // Elements of larger arrays are numbered with 64 bits.
        let wide = kernels.iter().map(|kernel| {
            let source = kernel.source.replace("typedef int idx;", "typedef long long idx;");
            Arc::new(KernelText { name: format!("{}_wide", kernel.name), source, block: kernel.block })
        });
        kernels.extend(wide.collect::<Vec<_>>());
    }
    let architectures = if extent() == Extent::All { &ARCHITECTURES[..] } else { &ARCHITECTURES[1..2] };
    let resources = machine_code::compile(nvrtc, &kernels, architectures).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(resources.len(), kernels.len() * architectures.len());
    resources.iter().for_each(|r| println!("{r}"));
    let spills = |r: &&machine_code::Resources| r.spilled > 0;
    let spilled: Vec<String> = resources.iter().filter(spills).map(ToString::to_string).collect();
    assert!(spilled.is_empty(), "{}", spilled.join("\n"));
}

/// Probabilities are rounded by tensor cores, which strict mode does not allow.
#[test]
fn strict_mode_keeps_probabilities_in_single_precision() {
    let strict = Options { precision: Precision::Strict, ..for_cuda() };
    let cases: Vec<Case> = [FEW[2], FEW[3], FEW[5], FEW[9], FEW[11]].iter().map(|attention| attention.case(&strict)).collect();
    assert!(distinct(cases.iter()).iter().all(|kernel| !kernel.source.contains("mma_")));
    check_all(&cases, "strict-attention");
}

/// The same in single precision: more than what the samples of the operator have.
#[test]
fn single_precision_is_not_reduced() {
    let single = [FEW[1], FEW[2], FEW[3], FEW[5], FEW[7], FEW[8], FEW[9], FEW[11], FEW[12]]
        .map(|Attention(_, sizes, mask, layout)| Attention(DType::F32, sizes, mask, layout));
    let cases: Vec<Case> = single.iter().map(|attention| attention.case(&for_cuda())).collect();
    assert!(distinct(cases.iter()).iter().all(|kernel| !kernel.source.contains("mma_")));
    check_all(&cases, "single-attention");
}
