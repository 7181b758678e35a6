//! Random graphs with inputs. Every node is interpreted when it is added: numbers stay in a range in which rounding does
//! not decide what is compared, and what is discrete is computed from exact values only.

use super::instance;
use super::programs::guarded;
use super::programs::rounding::is_exact;
use igneous_ir::array::Array;
use igneous_ir::graph::{Graph, Value};
use igneous_ir::interp::interpret;
use igneous_ir::op::{Fill, Op};
use igneous_ir::types::{DType, TensorType};
use igneous_ir::{ops, sample};

/// A graph with its inputs.
#[derive(Clone)]
pub struct Case {
    pub graph: Graph,
    pub inputs: Vec<Array>,
}

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A value of the graph.
pub struct Known {
    pub value: Value,
    pub array: Array,
    /// Whether every way to compute it gives these bits.
    pub exact: bool,
    used: bool,
}

/// A graph under construction.
pub struct Generator {
    pub graph: Graph,
    pub inputs: Vec<Array>,
    pub known: Vec<Known>,
    pub random: Random,
    /// The extents of most axes, so that shapes meet.
    pub extents: [usize; 3],
    /// How many regions are around it.
    pub depth: usize,
    /// Whether derivatives must exist wherever rounding may lead.
    pub smooth: bool,
    /// The most elements of a value.
    pub most: usize,
}

/// The most operations of a node.
const WORK: i64 = 2_000_000;

/// The case of this seed: one in ten has large tensors, one in ten many nodes, one in twenty an empty axis.
pub fn case(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let smooth = random.once_in(3);
    let mut count = 5 + random.below(36);
    let mut extents = [0; 3].map(|_| *random.pick(&[1, 2, 3, 4, 5, 7, 8, 16, 33]));
    let mut most = 2000;
    match random.below(20) {
        0 | 1 => {
            extents = [0; 3].map(|_| *random.pick(&[1, 2, 3, 7, 64, 130, 257, 600, 5000]));
            (count, most) = (4 + random.below(12), 100_000);
        }
        2 | 3 => count = 100 + random.below(100),
        4 => extents[random.below(3)] = 0,
        _ => {}
    }
    let mut g = Generator { most, ..Generator::new(format!("fuzz{seed}"), Random(random.next()), extents, 0, smooth) };
    for _ in 0..1 + g.random.below(3) {
        let ty = g.any_type();
        g.fresh(ty);
    }
    g.grow(count);
    let before = g.known.iter().filter(|k| !k.used).map(|k| k.value).collect::<Vec<_>>();
    for (k, v) in before.into_iter().rev().take(5).enumerate() {
        g.graph.output(format!("y{k}"), v);
    }
    if g.smooth {
        g.differentiate();
    }
    Case { graph: g.graph, inputs: g.inputs }
}

impl Generator {
    pub fn new(name: String, random: Random, extents: [usize; 3], depth: usize, smooth: bool) -> Generator {
        let graph = Graph::new(name);
        Generator { graph, inputs: Vec::new(), known: Vec::new(), random, extents, depth, smooth, most: 2000 }
    }

    /// A generator for a region inside of this graph.
    pub fn inner(&mut self, name: &str) -> Generator {
        let random = Random(self.random.next());
        Generator { most: self.most, ..Generator::new(name.to_string(), random, self.extents, self.depth + 1, self.smooth) }
    }

    /// Adds nodes until the graph has `count` more.
    pub fn grow(&mut self, count: usize) {
        let target = self.graph.len() + count;
        for _ in 0..count * 60 {
            if self.graph.len() >= target {
                return;
            }
            instance::attempt(self);
        }
    }

    /// Adds the nodes of `body`, as a layer, applied to these operands.
    pub fn layer(&mut self, body: &Graph, operands: &[usize]) -> Option<Vec<usize>> {
        let given: Vec<Array> = operands.iter().map(|&k| self.known[k].array.clone()).collect();
        let arrays = guarded(|| interpret(body, &given)).ok()?;
        if !arrays.iter().all(in_range) {
            return None;
        }
        let values: Vec<Value> = operands.iter().map(|&k| self.known[k].value).collect();
        let outer = self.graph.push_scope("layer");
        let results = self.graph.inline(body, &values);
        self.graph.scope = outer;
        operands.iter().for_each(|&k| self.known[k].used = true);
        let noted = results.ok()?.into_iter().zip(arrays).map(|(v, array)| {
            let exact = !array.dtype().is_float();
            self.note(v, array, exact)
        });
        Some(noted.collect())
    }

    pub fn extent(&mut self) -> usize {
        let extents = self.extents;
        *self.random.pick(&extents)
    }

    fn any_type(&mut self) -> TensorType {
        let dtype =
            *self.random.pick(&[DType::F32, DType::F32, DType::F32, DType::F32, DType::F64, DType::I64, DType::I32, DType::Bool]);
        let rank = self.random.below(4);
        let shape: Vec<usize> = (0..rank).map(|_| self.extent()).collect();
        TensorType::new(dtype, shape)
    }

    /// A new value of this type: an input, or a constant inside of a region.
    pub fn fresh(&mut self, ty: TensorType) -> Option<usize> {
        let fill = match ty.dtype {
            DType::Bool => Fill::Range(0, 2),
            dtype if dtype.is_float() && self.random.once_in(4) => Fill::Uniform(0.5, 2.0),
            dtype if dtype.is_float() => Fill::Normal,
            _ => Fill::Range(-3, 8),
        };
        self.filled(ty, fill)
    }

    /// A new value of this type and contents, if it is not too large.
    pub fn filled(&mut self, ty: TensorType, fill: Fill) -> Option<usize> {
        if ty.elements().as_const().is_none_or(|n| n > self.most as i64) {
            return None;
        }
        let array = sample::array(&ty, fill, self.random.next(), 0).expect("extents are numbers");
        let value = if self.depth == 0 {
            self.inputs.push(array.clone());
            self.graph.input(format!("x{}", self.inputs.len() - 1), ty)
        } else {
            self.graph.add(ops::constant(array.clone()), &[]).expect("a constant has no operands")[0]
        };
        Some(self.note(value, array, true))
    }

    /// An input of a region, which stands for a value of this array.
    pub fn region_input(&mut self, array: Array, exact: bool) {
        let value = self.graph.input(format!("p{}", self.graph.inputs().len()), array.ty());
        self.note(value, array, exact);
    }

    fn note(&mut self, value: Value, array: Array, exact: bool) -> usize {
        self.known.push(Known { value, array, exact, used: false });
        self.known.len() - 1
    }

    pub fn ty(&self, k: usize) -> TensorType {
        self.known[k].array.ty()
    }

    pub fn shape(&self, k: usize) -> &[usize] {
        self.known[k].array.shape()
    }

    pub fn dtype(&self, k: usize) -> DType {
        self.known[k].array.dtype()
    }

    /// A value that fulfils `accept`; new ones more often.
    pub fn pick(&mut self, accept: impl Fn(&Known) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.known.len()).filter(|&k| accept(&self.known[k])).collect();
        if fitting.is_empty() {
            return None;
        }
        let place = self.random.below(fitting.len()).max(self.random.below(fitting.len()));
        Some(fitting[place])
    }

    /// Adds a node if its operands fit and its results are within range.
    pub fn add(&mut self, op: Op, operands: &[usize]) -> Option<Vec<usize>> {
        let types: Vec<TensorType> = operands.iter().map(|&k| self.ty(k)).collect();
        let results = op.infer(&types).ok()?;
        let least = i64::from(!self.extents.contains(&0));
        let small = |ty: &TensorType| ty.elements().as_const().is_some_and(|n| (least..=self.most as i64).contains(&n));
        if (op.record().flops)(&op, &types, &results).as_const().is_none_or(|n| n > WORK) {
            return None;
        }
        let held = |ty: &TensorType| !matches!(ty.dtype, DType::F16 | DType::BF16);
        if !results.iter().all(|ty| small(ty) && held(ty)) || !self.admits(&op, operands) {
            return None;
        }
        let mut alone = Graph::new("alone");
        let inputs: Vec<Value> = types.iter().map(|ty| alone.input("x", ty.clone())).collect();
        for v in alone.add(op.clone(), &inputs).ok()? {
            alone.output("y", v);
        }
        let given: Vec<Array> = operands.iter().map(|&k| self.known[k].array.clone()).collect();
        let arrays = guarded(|| interpret(&alone, &given)).ok()?;
        if !arrays.iter().all(in_range) {
            return None;
        }
        let all_exact = operands.iter().all(|&k| self.known[k].exact);
        let exact = all_exact && is_exact(&op);
        let values: Vec<Value> = operands.iter().map(|&k| self.known[k].value).collect();
        let results = self.graph.add(op, &values).ok()?;
        operands.iter().for_each(|&k| self.known[k].used = true);
        let noted = results.into_iter().zip(arrays).map(|(v, array)| {
            let exact = exact || !array.dtype().is_float();
            self.note(v, array, exact)
        });
        Some(noted.collect())
    }

    /// Whether an operator may be applied to these operands without rounding deciding the result.
    fn admits(&self, op: &Op, operands: &[usize]) -> bool {
        let exact = operands.iter().all(|&k| self.known[k].exact);
        if !exact && is_discrete(op, operands.iter().any(|&k| self.dtype(k).is_float())) {
            return false;
        }
        let array = |i: usize| &self.known[operands[i]].array;
        let all = |i: usize, holds: &dyn Fn(f64) -> bool| array(i).to_f64().into_iter().all(holds);
        let float = operands.first().is_some_and(|&k| self.dtype(k).is_float());
        let domain = match op.name() {
            "log" => all(0, &|x| x > 1e-2),
            "log1p" => all(0, &|x| x > -0.9),
            "sqrt" | "rsqrt" => all(0, &|x| x > 1e-2),
            "reciprocal" => all(0, &|x| x.abs() > 0.1),
            "asin" | "acos" | "atanh" => all(0, &|x| x.abs() < 0.99),
            "acosh" => all(0, &|x| x > 1.01),
            "exp" | "expm1" => all(0, &|x| x < 5.0),
            "div" if float => all(1, &|x| x.abs() > 0.1),
            "rem" if float => all(1, &|x| x.abs() > 0.1),
            "div" | "rem" => all(1, &|x| x != 0.0),
            "pow" if float => all(0, &|x| x > 0.05) && all(1, &|x| x.abs() < 4.0),
            "pow" => all(1, &|x| (0.0..4.0).contains(&x)),
            // In any order, no part of the product is too large or too small.
            "reduce" if float && op.choice("kind") == "prod" => {
                array(0).to_f64().into_iter().filter(|x| *x != 0.0).map(|x| x.abs().ln().abs()).sum::<f64>() < 60.0
            }
            "shift_left" | "shift_right" => all(1, &|x| (0.0..8.0).contains(&x)),
            _ => true,
        };
        let kinks = !self.smooth
            || match op.name() {
                "relu" | "abs" => all(0, &|x| x.abs() > 1e-3),
                "maximum" | "minimum" => (0..array(0).len()).all(|i| (array(0).f(i) - array(1).f(i)).abs() > 1e-3),
                "reduce" | "reduce_window" | "scatter" => {
                    exact || op.attrs().iter().all(|a| !matches!(a, igneous_ir::op::Attr::Name("max" | "min")))
                }
                _ => true,
            };
        domain && kinks
    }

    /// Adds the gradient of the sum of some value by some inputs, if it can be computed.
    fn differentiate(&mut self) {
        let before = self.graph.clone();
        let Some(y) = self.pick(|k| k.array.dtype().is_float() && !k.exact) else { return };
        let axes: Vec<usize> = (0..self.shape(y).len()).collect();
        let loss =
            if axes.is_empty() { Some(vec![y]) } else { self.add(ops::reduce(igneous_ir::op::ReduceKind::Sum, &axes), &[y]) };
        let Some(loss) = loss else { return };
        let floats: Vec<Value> =
            self.graph.inputs().iter().map(|(v, _)| *v).filter(|&v| self.graph.ty(v).dtype.is_float()).take(4).collect();
        let operands: Vec<Value> = std::iter::once(self.known[loss[0]].value).chain(floats).collect();
        if let Ok(gradients) = self.graph.add(ops::grad(false), &operands) {
            for (k, v) in gradients.into_iter().enumerate() {
                self.graph.output(format!("d{k}"), v);
            }
        }
        let results = guarded(|| interpret(&self.graph, &self.inputs));
        if !results.is_ok_and(|arrays| arrays.iter().all(|a| !a.dtype().is_float() || a.to_f64().iter().all(|x| x.abs() < 1e6))) {
            self.graph = before;
        }
    }
}

fn in_range(array: &Array) -> bool {
    match array.dtype() {
        DType::U32 | DType::Bool | DType::U8 | DType::I8 => true,
        DType::I32 => (0..array.len()).all(|i| array.i(i).unsigned_abs() < 1 << 24),
        DType::I64 => (0..array.len()).all(|i| array.i(i).unsigned_abs() < 1 << 40),
        _ => array.to_f64().into_iter().all(|x| x.is_finite() && x.abs() <= 1e3 && (x == 0.0 || x.abs() > 1e-6)),
    }
}

/// Whether a small error of an operand may make a large one of the result.
fn is_discrete(op: &Op, of_floats: bool) -> bool {
    match op.name() {
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "floor" | "ceil" | "round" | "trunc" | "sign" | "rem" | "bitcast"
        | "arg_reduce" | "isnan" | "isfinite" | "reduce_window_grad" | "not" => of_floats,
        "cast" => of_floats && !op.dtype("dtype").is_float(),
        "reduce_window" => op.choice("kind").starts_with("arg"),
        _ => false,
    }
}
