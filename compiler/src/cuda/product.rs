//! Sections that are nothing but a matrix product and what a library can do with its sums: what the library is told of them.
//!
//! The library knows rows, columns, a contracted range and batches a fixed distance apart; a section has any number of axes for
//! each. Axes that walk through memory as one are one for the library; where the leading axes of the rows or columns do not, they can be
//! batches.

use crate::cpu::{Affine, in_memory};
use crate::precision::MatmulPrecision;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access, Kernel, Section, Stage, Store, Target};
use igneous_ir::scalar::{ExprId, Exprs, MathFn, ScalarOp};
use igneous_ir::types::DType;
use igneous_runtime::cuda::{Activation, Matrix, Order, Product, Sums, Types};

/// The only thing that a section with a product stores: the local with the sum, the parameter, the index and the value.
pub(super) fn only_store(section: &Section) -> Option<(u32, u32, &[ExprId], ExprId)> {
    let (Stage::Dot { to, .. }, [Stage::Map { axes, stores }]) = section.stages.split_first()? else { return None };
    let [Store { value, to: Target::Param { param, index, combine: None } }] = stores.as_slice() else { return None };
    let plain = axes.is_empty() && section.locals[*to as usize].axes.is_empty();
    plain.then_some((*to, *param, index, *value))
}

/// The product that a section is, if a library can do it.
pub(super) fn of(kernel: &Kernel, section: &Section, precision: MatmulPrecision) -> Option<Product> {
    let (Stage::Dot { batch, m, n, axes, lhs, rhs, .. }, _) = section.stages.split_first()? else { return None };
    let (to, param, index, value) = only_store(section)?;
    let result = kernel.params[param as usize].ty.dtype;
    let reader = Reader { kernel, section };
    let (left, right) = (reader.element(*lhs)?, reader.element(*rhs)?);
    let types = types([left.dtype, right.dtype], section.locals[to as usize].dtype, result, precision)?;
    let epilogue = reader.epilogue(value, to, result)?;
    let out = Element { param: param as usize, dtype: result, position: reader.position(param, index)? };
    // An axis without a role does not matter to the product, so one product for each of its points is right.
    let idle = section.parallel().filter(|a| ![batch, m, n].iter().any(|role| role.contains(a)));
    let batch: Vec<u32> = batch.iter().copied().chain(idle).collect();
    for moved in 0..=m.len() + n.len() {
        // The fewest batches that do.
        for of_m in moved.saturating_sub(n.len())..=moved.min(m.len()) {
            let (kept_m, kept_n) = (&m[of_m..], &n[moved - of_m..]);
            let batch = [&batch, &m[..of_m], &n[..moved - of_m]].concat();
            let roles = Roles { batch: &batch, m: kept_m, n: kept_n, k: axes };
            if let Some(product) = reader.product(types, &roles, [&left, &right, &out], &epilogue) {
                return Some(product);
            }
        }
    }
    None
}

/// The types of a product, if the library has such products.
pub(super) fn types([lhs, rhs]: [DType; 2], sums: DType, result: DType, precision: MatmulPrecision) -> Option<Types> {
    let sums = match (lhs, sums, result) {
        (DType::F32, DType::F32, DType::F32) if precision == MatmulPrecision::Tf32 => Sums::Tf32,
        (DType::F32, DType::F32, DType::F32) => Sums::F32,
        (DType::F16 | DType::BF16, DType::F32, _) if result == lhs || result == DType::F32 => Sums::F32,
        (DType::F64, DType::F64, DType::F64) => Sums::F64,
        (DType::I8, DType::I32, DType::I32) => Sums::I32,
        _ => return None,
    };
    (lhs == rhs).then_some(Types { operands: lhs, sums, result })
}

/// Which axes are what.
struct Roles<'a> {
    batch: &'a [u32],
    m: &'a [u32],
    n: &'a [u32],
    k: &'a [u32],
}

/// An element of a parameter, at a place that only axes decide.
struct Element {
    param: usize,
    dtype: DType,
    position: Affine,
}

/// What becomes of the sums.
struct Epilogue {
    bias: Option<Element>,
    activation: Option<Activation>,
}

struct Reader<'a> {
    kernel: &'a Kernel,
    section: &'a Section,
}

impl Reader<'_> {
    fn exprs(&self) -> &Exprs {
        &self.section.exprs
    }

    fn extent(&self, axes: &[u32]) -> Dim {
        super::plan::extent(self.section, axes)
    }

    fn position(&self, param: u32, index: &[ExprId]) -> Option<Affine> {
        let position = Affine::position(self.exprs(), index, &self.kernel.params[param as usize].ty.shape);
        position.axes(self.exprs()).is_some().then_some(position)
    }

    /// An element of a parameter, which may be converted.
    fn element(&self, id: ExprId) -> Option<Element> {
        let node = self.exprs().get(in_memory(self.exprs(), id));
        let ScalarOp::Load(param) = node.op else { return None };
        let read = &self.kernel.params[param as usize];
        let position = self.position(param, &node.args)?;
        (read.access == Access::Read).then_some(Element { param: param as usize, dtype: read.ty.dtype, position })
    }

    /// The stride of several axes as one number, if there is one; any number where there is nowhere to go.
    fn flat(&self, position: &Affine, axes: &[u32]) -> Option<Dim> {
        let mut flat: Option<(Dim, Dim)> = None;
        for &axis in axes.iter().rev().filter(|&&a| self.extent(&[a]) != Dim::ONE) {
            let stride = position.coefficient(self.exprs(), axis);
            match &mut flat {
                None => flat = Some((stride, stride * self.extent(&[axis]))),
                Some((_, next)) if *next == stride => *next = stride * self.extent(&[axis]),
                Some(_) => return None,
            }
        }
        Some(flat.map_or(Dim::ONE, |(stride, _)| stride))
    }

    fn matrix(&self, element: &Element, batch: &[u32], rows: &[u32], columns: &[u32]) -> Option<Matrix> {
        let [batch, rows, columns] = [batch, rows, columns].map(|axes| self.flat(&element.position, axes));
        let (order, leading) = match (rows?, columns?) {
            (rows, Dim::ONE) => (Order::Rows, rows),
            (Dim::ONE, columns) => (Order::Columns, columns),
            _ => return None,
        };
        Some(Matrix { param: element.param, offset: element.position.constant, batch: batch?, order, leading })
    }

    fn product(&self, types: Types, roles: &Roles, elements: [&Element; 3], epilogue: &Epilogue) -> Option<Product> {
        let &Roles { batch, m, n, k } = roles;
        let [lhs, rhs, out] = elements;
        let lhs = self.matrix(lhs, batch, m, k)?;
        let rhs = self.matrix(rhs, batch, k, n)?;
        let result = self.matrix(out, batch, m, n)?;
        let (lhs, rhs, result, [m, n]) = match result.order {
            Order::Rows => (lhs, rhs, result, [m, n]),
            // The transposed result is the product of the transposed operands, the other way round.
            Order::Columns => (rhs.transposed(), lhs.transposed(), result.transposed(), [n, m]),
        };
        let bias = match &epilogue.bias {
            None => None,
            Some(Element { param, position, .. }) => {
                let elsewhere = [batch, m].concat().iter().any(|&a| position.coefficient(self.exprs(), a) != Dim::ZERO);
                let dense = self.flat(position, n)? == Dim::ONE;
                (!elsewhere && dense).then_some(Some((*param, position.constant)))?
            }
        };
        Some(Product {
            types,
            batch: self.extent(batch),
            m: self.extent(m),
            n: self.extent(n),
            k: self.extent(k),
            lhs,
            rhs,
            result,
            bias,
            activation: epilogue.activation,
        })
    }

    /// A conversion to a half type and back, which the library leaves out, and the one to the type of the result.
    fn unrounded(&self, id: ExprId, half: DType) -> ExprId {
        let exprs = self.exprs();
        let node = exprs.get(id);
        if node.op != ScalarOp::Cast {
            return id;
        }
        let inner = exprs.get(node.args[0]);
        let back = inner.op == ScalarOp::Cast && inner.dtype == half && exprs.dtype(inner.args[0]) == node.dtype;
        if back { inner.args[0] } else { id }
    }

    /// What becomes of the sum, if a library does that.
    fn epilogue(&self, value: ExprId, sum: u32, result: DType) -> Option<Epilogue> {
        let exprs = self.exprs();
        let wide = exprs.dtype(self.sum(sum)?);
        let root = exprs.get(value);
        let narrowed = root.op == ScalarOp::Cast && wide != result;
        let value = self.unrounded(if narrowed { root.args[0] } else { value }, result);
        let (inner, activation) = self.activation(value);
        let inner = if activation.is_some() { self.unrounded(inner, result) } else { inner };
        let is_sum = |id: ExprId| exprs.get(self.unrounded(id, result)).op == ScalarOp::Local(sum);
        if is_sum(inner) {
            return Some(Epilogue { bias: None, activation });
        }
        let node = exprs.get(inner);
        if node.op != ScalarOp::Add || !matches!(wide, DType::F32 | DType::F64) {
            return None;
        }
        let bias = match (is_sum(node.args[0]), is_sum(node.args[1])) {
            (true, false) => self.element(node.args[1])?,
            (false, true) => self.element(node.args[0])?,
            _ => return None,
        };
        (bias.dtype == result).then_some(Epilogue { bias: Some(bias), activation })
    }

    /// The expression that reads the sum.
    fn sum(&self, sum: u32) -> Option<ExprId> {
        (0..self.exprs().len() as u32).map(ExprId).find(|&id| self.exprs().get(id).op == ScalarOp::Local(sum))
    }

    /// The argument of an activation.
    fn activation(&self, id: ExprId) -> (ExprId, Option<Activation>) {
        let exprs = self.exprs();
        let node = exprs.get(id);
        if exprs.dtype(id) != DType::F32 {
            return (id, None);
        }
        if node.op == ScalarOp::Max {
            let zero = |id: ExprId| exprs.literal(id).is_some_and(|l| l.as_f64() == 0.0);
            match (zero(node.args[0]), zero(node.args[1])) {
                (false, true) => return (node.args[0], Some(Activation::Relu)),
                (true, false) => return (node.args[1], Some(Activation::Relu)),
                _ => {}
            }
        }
        match self.gelu(id) {
            Some(x) => (x, Some(Activation::Gelu)),
            None => (id, None),
        }
    }

    /// The argument `x` of `x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, in any order of the factors.
    fn gelu(&self, id: ExprId) -> Option<ExprId> {
        let exprs = self.exprs();
        let mut factors = Factors::default();
        factors.collect(exprs, id);
        let [&one, &other] = factors.others.iter().collect::<Vec<_>>()[..] else { return None };
        let near = |value: f64, wanted: f64| (value - wanted).abs() < 1e-6;
        // What 1 is added to.
        let term = |id: ExprId| {
            let node = exprs.get(id);
            (node.op == ScalarOp::Add).then_some(())?;
            let [a, b] = [node.args[0], node.args[1]];
            let literal = |id: ExprId| exprs.literal(id).is_some_and(|l| near(l.as_f64(), 1.0));
            if literal(b) { Some(a) } else { literal(a).then_some(b) }
        };
        let is_tanh = |id: &ExprId| exprs.get(*id).op == ScalarOp::Math(MathFn::Tanh);
        let of = |sum: ExprId| term(sum).filter(is_tanh);
        let (x, tanh) = of(one).map(|tanh| (other, tanh)).or_else(|| Some((one, of(other)?)))?;
        if !near(factors.constant, 0.5) {
            return None;
        }
        // `√(2/π) · x · (1 + 0.044715 · x · x)`
        let mut inner = Factors::default();
        inner.collect(exprs, exprs.get(tanh).args[0]);
        let [&one, &other] = inner.others.iter().collect::<Vec<_>>()[..] else { return None };
        let polynomial = if one == x { other } else { one };
        let mut cubic = Factors::default();
        cubic.collect(exprs, term(polynomial)?);
        let of_x = (one == x || other == x) && cubic.others == [x, x];
        (of_x && near(inner.constant, std::f64::consts::FRAC_2_PI.sqrt()) && near(cubic.constant, 0.044715)).then_some(x)
    }
}

/// A product of a number and other factors.
struct Factors {
    constant: f64,
    others: Vec<ExprId>,
}

impl Default for Factors {
    fn default() -> Factors {
        Factors { constant: 1.0, others: Vec::new() }
    }
}

impl Factors {
    fn collect(&mut self, exprs: &Exprs, id: ExprId) {
        let node = exprs.get(id);
        match exprs.literal(id) {
            Some(literal) => self.constant *= literal.as_f64(),
            None if node.op == ScalarOp::Mul => node.args.iter().for_each(|&a| self.collect(exprs, a)),
            None => self.others.push(id),
        }
    }
}
