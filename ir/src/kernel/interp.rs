//! The kernel interpreter: executes stages and schedule point by point, in the precision of each type, and reports
//! what generated code would do wrong silently: addresses out of range, elements that two parallel points touch,
//! elements that nobody writes.

use super::{Access, CHUNK, Directive, Kernel, LANES, Section, Stage, Store, Target};
use crate::array::{Array, ravel, unravel};
use crate::dim::{Dim, Symbol};
use crate::error::{Error, Result};
use crate::op::ReduceKind;
use crate::scalar::{Compare, ExprId, MathFn, ScalarOp};
use crate::scalar_eval::eval_op;
use crate::types::{DType, Literal};

/// The order in which the points of the parallel axes are run. Results must not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Row-major.
    Forward,
    /// From the last to the first.
    Reverse,
    /// A permutation drawn from this seed.
    Shuffled(u64),
}

/// How a kernel is interpreted.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The order of points and sections.
    pub order: Order,
    /// Pairs (read, written) of parameters that share memory.
    pub aliases: &'a [(usize, usize)],
}

impl Default for Run<'_> {
    fn default() -> Self {
        Run { order: Order::Forward, aliases: &[] }
    }
}

/// What a kernel did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The written parameters, in order.
    pub outputs: Vec<Array>,
    /// Code and reported number of the first check that failed.
    pub failed: Option<(u32, i64)>,
}

/// Runs `kernel` on the values of its read parameters.
///
/// # Errors
/// If the kernel is ill-formed, `inputs` do not fit, an address is out of range, an element is written by two points,
/// read by one and written by another, loaded before it is written, or never written.
pub fn interpret(kernel: &Kernel, inputs: &[&Array], symbols: &dyn Fn(Symbol) -> Option<i64>, run: &Run) -> Result<Outcome> {
    kernel.verify()?;
    let mut machine = Machine::new(kernel, inputs, symbols, run)?;
    for section in run.order.permutation(kernel.sections.len()) {
        machine.section(section).map_err(|e| e.context(format!("kernel {}", kernel.name)))?;
    }
    machine.finish()
}

impl Order {
    fn permutation(self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        match self {
            Order::Forward => {}
            Order::Reverse => order.reverse(),
            Order::Shuffled(seed) => {
                let mut state = seed;
                for i in (1..n).rev() {
                    // SplitMix64.
                    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut z = state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    order.swap(i, ((z ^ (z >> 31)) % (i as u64 + 1)) as usize);
                }
            }
        }
        order
    }
}

/// A section and a point of its parallel axes.
type Point = (usize, usize);

/// One buffer.
struct Memory {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    values: Vec<Option<Literal>>,
    writer: Vec<Option<Point>>,
    reader: Vec<Option<Point>>,
}

impl Memory {
    fn address(&self, index: &[i64]) -> Result<usize> {
        let inside = index.iter().zip(&self.shape).all(|(&i, &n)| (0..n as i64).contains(&i));
        if !inside {
            return Err(Error::new(format!("{}{index:?} is outside {}{:?}", self.name, self.dtype, self.shape)));
        }
        Ok(ravel(&index.iter().map(|&i| i as usize).collect::<Vec<_>>(), &self.shape))
    }

    fn race(&self, at: usize, what: &str) -> Error {
        Error::new(format!("race: {}{:?} is {what}", self.name, unravel(at, &self.shape)))
    }

    fn load(&mut self, index: &[i64], point: Point) -> Result<Literal> {
        if self.values.is_empty() {
            return Ok(Literal::int(self.dtype, 0));
        }
        let at = self.address(index)?;
        if self.writer[at].is_some_and(|w| w != point) {
            return Err(self.race(at, "written by one point and read by another"));
        }
        // The first reader and any other than it: enough to see a write by someone else.
        if self.reader[at].is_none_or(|r| r == point) {
            self.reader[at] = Some(point);
        } else {
            self.reader[at] = Some((usize::MAX, usize::MAX));
        }
        self.values[at].ok_or_else(|| Error::new(format!("{}{index:?} is loaded before it is written", self.name)))
    }

    fn store(&mut self, index: &[i64], value: Literal, combine: Option<ReduceKind>, point: Point) -> Result<()> {
        let at = self.address(index)?;
        if self.writer[at].is_some_and(|w| w != point) {
            return Err(self.race(at, "written by two points"));
        }
        if self.reader[at].is_some_and(|r| r != point) {
            return Err(self.race(at, "read by one point and written by another"));
        }
        self.values[at] = Some(match combine {
            None => value,
            Some(kind) => {
                let old = self.values[at].filter(|_| self.writer[at].is_some());
                let old =
                    old.ok_or_else(|| Error::new(format!("{}{index:?} is combined with before it is written", self.name)))?;
                eval_op(combiner(kind), &[old, value], value.dtype())
            }
        });
        self.writer[at] = Some(point);
        Ok(())
    }
}

/// The binary operation of a reduction.
fn combiner(kind: ReduceKind) -> ScalarOp {
    match kind {
        ReduceKind::Sum | ReduceKind::Welford => ScalarOp::Add,
        ReduceKind::Prod => ScalarOp::Mul,
        ReduceKind::Max | ReduceKind::ArgMax | ReduceKind::OnlineSoftmax => ScalarOp::Max,
        ReduceKind::Min | ReduceKind::ArgMin => ScalarOp::Min,
        ReduceKind::And => ScalarOp::And,
        ReduceKind::Or => ScalarOp::Or,
    }
}

struct Machine<'a> {
    kernel: &'a Kernel,
    symbols: &'a dyn Fn(Symbol) -> Option<i64>,
    order: Order,
    memory: Vec<Memory>,
    /// Which memory each parameter is.
    place: Vec<usize>,
    failed: Option<(u32, i64)>,
}

/// The state of one point.
struct Frame<'a> {
    section: &'a Section,
    point: Point,
    extents: &'a [usize],
    /// The current index along each axis.
    axes: Vec<i64>,
    locals: Vec<Vec<Option<Literal>>>,
    /// The current value of each expression.
    values: Vec<Option<Literal>>,
}

impl<'a> Machine<'a> {
    fn new(kernel: &'a Kernel, inputs: &[&Array], symbols: &'a dyn Fn(Symbol) -> Option<i64>, run: &Run) -> Result<Machine<'a>> {
        let reads = kernel.reads().count();
        if inputs.len() != reads {
            return Err(Error::new(format!("kernel {} reads {reads} buffers, {} are given", kernel.name, inputs.len())));
        }
        let mut machine = Machine { kernel, symbols, order: run.order, memory: vec![], place: vec![], failed: None };
        for (i, param) in kernel.params.iter().enumerate() {
            if let Some(&(read, _)) = run.aliases.iter().find(|(_, w)| *w == i) {
                machine.place.push(machine.place[read]);
                continue;
            }
            let shape = param.ty.shape.iter().map(|&d| machine.extent(d)).collect::<Result<Vec<_>>>()?;
            let n: usize = shape.iter().product();
            let values = match inputs.get(i).filter(|_| param.access == Access::Read) {
                Some(a) if a.dtype() == param.ty.dtype && a.shape() == shape => (0..n).map(|e| Some(a.literal(e))).collect(),
                Some(a) => return Err(Error::new(format!("{} is {}, given {}", param.name, param.ty, a.ty()))),
                None => vec![None; n],
            };
            machine.place.push(machine.memory.len());
            let (writer, reader) = (vec![None; n], vec![None; n]);
            machine.memory.push(Memory { name: param.name.clone(), dtype: param.ty.dtype, shape, values, writer, reader });
        }
        Ok(machine)
    }

    fn dim(&self, d: Dim) -> Result<i64> {
        d.eval(self.symbols).ok_or_else(|| Error::new(format!("dimension {d} has no value")))
    }

    fn extent(&self, d: Dim) -> Result<usize> {
        let n = self.dim(d)?;
        usize::try_from(n).map_err(|_| Error::new(format!("extent {d} is {n}")))
    }

    fn section(&mut self, number: usize) -> Result<()> {
        let section = &self.kernel.sections[number];
        let extents = section.axes.iter().map(|a| self.extent(a.extent)).collect::<Result<Vec<_>>>()?;
        let parallel: Vec<usize> = section.parallel().map(|a| a as usize).collect();
        let shape: Vec<usize> = parallel.iter().map(|&a| extents[a]).collect();
        for position in self.order.permutation(shape.iter().product()) {
            let mut axes = vec![0; extents.len()];
            for (&a, i) in parallel.iter().zip(unravel(position, &shape)) {
                axes[a] = i as i64;
            }
            let size = |l: &super::Local| l.axes.iter().map(|&a| extents[a as usize]).product();
            let locals = section.locals.iter().map(|l| vec![None; size(l)]).collect();
            let values = vec![None; section.exprs.len()];
            let mut frame = Frame { section, point: (number, position), extents: &extents, axes, locals, values };
            for stage in &section.stages {
                self.stage(&mut frame, stage).map_err(|e| {
                    let place =
                        section.axes.iter().zip(&frame.axes).map(|(a, i)| format!("{} = {i}", a.name)).collect::<Vec<_>>();
                    e.note("at", place.join(", "))
                })?;
            }
        }
        Ok(())
    }

    fn stage(&mut self, frame: &mut Frame, stage: &Stage) -> Result<()> {
        let Stage::Dot { to, .. } = stage else { return self.once(frame, stage) };
        // One sum for each element of the local.
        let section = frame.section;
        let own = &section.locals[*to as usize].axes;
        let shape: Vec<usize> = own.iter().map(|&a| frame.extents[a as usize]).collect();
        for position in 0..shape.iter().product() {
            for (&a, i) in own.iter().zip(unravel(position, &shape)) {
                frame.axes[a as usize] = i as i64;
            }
            self.once(frame, stage)?;
        }
        Ok(())
    }

    /// Runs a stage; a dot for the current index along the axes of its local.
    fn once(&mut self, frame: &mut Frame, stage: &Stage) -> Result<()> {
        let order = frame.section.exprs.reachable(&stage.roots());
        let shape: Vec<usize> = stage.axes().iter().map(|&a| frame.extents[a as usize]).collect();
        let count: usize = shape.iter().product();
        let mut elements: Vec<Vec<Literal>> = vec![Vec::new(); 2];
        for position in 0..count {
            for (&a, i) in stage.axes().iter().zip(unravel(position, &shape)) {
                frame.axes[a as usize] = i as i64;
            }
            self.evaluate(frame, &order)?;
            match stage {
                Stage::Map { axes, stores } => self.stores(frame, axes, stores)?,
                Stage::Reduce { body, .. } => elements[0].push(frame.value(*body)),
                Stage::Dot { lhs, rhs, .. } => {
                    elements[0].push(frame.value(*lhs));
                    elements[1].push(frame.value(*rhs));
                }
                Stage::Check { ok, value, code, .. } => {
                    if frame.value(*ok).as_i64() == 0 && self.failed.is_none() {
                        self.failed = Some((*code, frame.value(*value).as_i64()));
                    }
                }
            }
        }
        match stage {
            Stage::Reduce { kind, body, to, .. } => {
                let results = reduce(*kind, &elements[0], frame.section.exprs.dtype(*body));
                to.iter().zip(results).for_each(|(&l, value)| frame.locals[l as usize] = vec![Some(value)]);
            }
            Stage::Dot { axes, lhs, to, .. } => {
                let parts = frame.section.schedule.iter().find_map(|d| match d {
                    Directive::Split(a, parts) if axes.contains(a) => Some(*parts as usize),
                    _ => None,
                });
                let value = dot(&elements[0], &elements[1], parts.unwrap_or(1), frame.section.exprs.dtype(*lhs));
                let own = &frame.section.locals[*to as usize].axes;
                let index: Vec<usize> = own.iter().map(|&a| frame.axes[a as usize] as usize).collect();
                let shape: Vec<usize> = own.iter().map(|&a| frame.extents[a as usize]).collect();
                frame.locals[*to as usize][ravel(&index, &shape)] = Some(value);
            }
            Stage::Map { .. } | Stage::Check { .. } => {}
        }
        Ok(())
    }

    /// Computes the expressions of `order` at the current indices.
    fn evaluate(&mut self, frame: &mut Frame, order: &[ExprId]) -> Result<()> {
        for &id in order {
            let node = frame.section.exprs.get(id);
            let args: Vec<Literal> = node.args.iter().map(|&a| frame.value(a)).collect();
            let index = || args.iter().map(|a| a.as_i64()).collect::<Vec<i64>>();
            let value = match node.op {
                ScalarOp::Axis(a) => Literal::int(DType::I64, frame.axes[a as usize]),
                ScalarOp::Extent(d) => Literal::int(DType::I64, self.dim(d)?),
                ScalarOp::Load(p) => self.memory[self.place[p as usize]].load(&index(), frame.point)?,
                ScalarOp::Local(l) => frame.local(l, &index())?,
                op => eval_op(op, &args, node.dtype),
            };
            frame.values[id.0 as usize] = Some(value);
        }
        Ok(())
    }

    fn stores(&mut self, frame: &mut Frame, axes: &[u32], stores: &[Store]) -> Result<()> {
        for store in stores {
            let value = frame.value(store.value);
            match &store.to {
                Target::Param { param, index, combine } => {
                    let index: Vec<i64> = index.iter().map(|&i| frame.value(i).as_i64()).collect();
                    self.memory[self.place[*param as usize]].store(&index, value, *combine, frame.point)?;
                }
                Target::Local(l) => {
                    let index: Vec<usize> = axes.iter().map(|&a| frame.axes[a as usize] as usize).collect();
                    let shape: Vec<usize> = axes.iter().map(|&a| frame.extents[a as usize]).collect();
                    frame.locals[*l as usize][ravel(&index, &shape)] = Some(value);
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Outcome> {
        let mut outputs = Vec::new();
        for (i, param) in self.kernel.writes() {
            let memory = &self.memory[self.place[i]];
            if let Some(at) = memory.writer.iter().position(Option::is_none) {
                return Err(Error::new(format!("{}{:?} is never written", param.name, unravel(at, &memory.shape))));
            }
            let value = |e: usize| memory.values[e].expect("an element that was written has a value");
            outputs.push(match param.ty.dtype.is_float() {
                true => Array::from_fn_f64(param.ty.dtype, memory.shape.clone(), |e| value(e).as_f64()),
                false => Array::from_fn_i64(param.ty.dtype, memory.shape.clone(), |e| value(e).as_i64()),
            });
        }
        Ok(Outcome { outputs, failed: self.failed })
    }
}

impl Frame<'_> {
    fn value(&self, id: ExprId) -> Literal {
        self.values[id.0 as usize].expect("arguments are evaluated before their users")
    }

    fn local(&self, l: u32, index: &[i64]) -> Result<Literal> {
        let local = &self.section.locals[l as usize];
        let shape: Vec<usize> = local.axes.iter().map(|&a| self.extents[a as usize]).collect();
        if !index.iter().zip(&shape).all(|(&i, &n)| (0..n as i64).contains(&i)) {
            return Err(Error::new(format!("{}{index:?} is outside {}{shape:?}", local.name, local.dtype)));
        }
        let at = ravel(&index.iter().map(|&i| i as usize).collect::<Vec<_>>(), &shape);
        Ok(self.locals[l as usize][at].expect("the verifier saw a stage that sets every element"))
    }
}

/// The results of a reduction of `elements`, by the documented tree.
pub fn reduce(kind: ReduceKind, elements: &[Literal], dtype: DType) -> Vec<Literal> {
    let binary = |op, a: Literal, b: Literal| eval_op(op, &[a, b], dtype);
    match kind {
        ReduceKind::ArgMax | ReduceKind::ArgMin => vec![Literal::int(DType::I64, first_extremum(kind, elements) as i64)],
        ReduceKind::OnlineSoftmax => {
            let m = tree(ReduceKind::Max, elements, dtype);
            let power = |&x: &Literal| eval_op(ScalarOp::Math(MathFn::Exp), &[binary(ScalarOp::Sub, x, m)], dtype);
            vec![m, tree(ReduceKind::Sum, &elements.iter().map(power).collect::<Vec<_>>(), dtype)]
        }
        ReduceKind::Welford => {
            let n = Literal::int(dtype, elements.len() as i64);
            let mean = binary(ScalarOp::Div, tree(ReduceKind::Sum, elements, dtype), n);
            let square = |&x: &Literal| {
                let d = binary(ScalarOp::Sub, x, mean);
                binary(ScalarOp::Mul, d, d)
            };
            vec![mean, tree(ReduceKind::Sum, &elements.iter().map(square).collect::<Vec<_>>(), dtype)]
        }
        _ => vec![tree(kind, elements, dtype)],
    }
}

fn tree(kind: ReduceKind, elements: &[Literal], dtype: DType) -> Literal {
    let combine = |a: Literal, b: Literal| eval_op(combiner(kind), &[a, b], dtype);
    let mut total = None;
    for chunk in elements.chunks(CHUNK) {
        let mut lanes = chunk[..chunk.len().min(LANES)].to_vec();
        for (e, &x) in chunk.iter().enumerate().skip(LANES) {
            lanes[e % LANES] = combine(lanes[e % LANES], x);
        }
        let mut half = LANES / 2;
        while half > 0 {
            for i in half..lanes.len().min(2 * half) {
                lanes[i - half] = combine(lanes[i - half], lanes[i]);
            }
            lanes.truncate(half);
            half /= 2;
        }
        total = Some(total.map_or(lanes[0], |t| combine(t, lanes[0])));
    }
    total.unwrap_or_else(|| identity(kind, dtype))
}

/// The value of a reduction of nothing.
pub fn identity(kind: ReduceKind, dtype: DType) -> Literal {
    let extreme = |sign: f64| match dtype {
        d if d.is_float() => Literal::float(d, sign * f64::INFINITY),
        _ => Literal::int(dtype, if sign > 0.0 { dtype.int_limits().1 } else { dtype.int_limits().0 }),
    };
    match kind {
        ReduceKind::Sum | ReduceKind::Welford | ReduceKind::Or => Literal::int(dtype, 0),
        ReduceKind::Prod => Literal::int(dtype, 1),
        ReduceKind::Max | ReduceKind::ArgMax | ReduceKind::OnlineSoftmax => extreme(-1.0),
        ReduceKind::Min | ReduceKind::ArgMin => extreme(1.0),
        ReduceKind::And => Literal::int(dtype, -1),
    }
}

/// The position of the first NaN, else of the first extremum; 0 if there is no element.
fn first_extremum(kind: ReduceKind, elements: &[Literal]) -> usize {
    let better = if kind == ReduceKind::ArgMax { Compare::Gt } else { Compare::Lt };
    let is_nan = |x: Literal| x.dtype().is_float() && x.as_f64().is_nan();
    let mut best = 0;
    for (i, &x) in elements.iter().enumerate() {
        if is_nan(x) {
            return i;
        }
        if eval_op(ScalarOp::Compare(better), &[x, elements[best]], DType::Bool).as_i64() != 0 {
            best = i;
        }
    }
    best
}

/// Products added in order within each of `parts` equal parts (the last may be shorter), then the parts in order.
fn dot(lhs: &[Literal], rhs: &[Literal], parts: usize, dtype: DType) -> Literal {
    let part = lhs.len().div_ceil(parts).max(1);
    let add = |a: Literal, b: Literal| eval_op(ScalarOp::Add, &[a, b], dtype);
    let product = |(&a, &b): (&Literal, &Literal)| eval_op(ScalarOp::Mul, &[a, b], dtype);
    let partial = lhs.chunks(part).zip(rhs.chunks(part)).map(|(l, r)| l.iter().zip(r).map(product).reduce(add));
    partial.flatten().reduce(add).unwrap_or(Literal::int(dtype, 0))
}
