//! Exactness on random expressions, and the cancellations that index arithmetic must find.

use crate::dim::Dim;
use crate::scalar::{Compare as Order, ExprId, Exprs, S, ScalarOp};
use crate::scalar_eval::eval_op;
use crate::types::{DType, Literal};
use std::cell::RefCell;

/// The value of `id` where `Axis(i)` is `axes[i]` and `Load(k)` is `loads[k]`.
fn value(exprs: &Exprs, id: ExprId, axes: &[i64], loads: &[Literal]) -> Literal {
    let mut values: Vec<Option<Literal>> = vec![None; exprs.len()];
    for id in exprs.reachable(&[id]) {
        let node = exprs.get(id);
        let args: Vec<Literal> = node.args.iter().map(|a| values[a.0 as usize].expect("arguments come first")).collect();
        values[id.0 as usize] = Some(match node.op {
            ScalarOp::Axis(i) => Literal::int(DType::I64, axes[i as usize]),
            ScalarOp::Load(k) => loads[k as usize],
            op => eval_op(op, &args, node.dtype),
        });
    }
    values[id.0 as usize].expect("the root is reachable")
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Builds the same random expressions simplified and as they are, and compares their values.
struct Twins {
    exprs: Exprs,
    /// Pairs of equal meaning: simplified, plain.
    made: Vec<(ExprId, ExprId)>,
}

impl Twins {
    fn leaf(&mut self, op: ScalarOp, dtype: DType) {
        let id = self.exprs.raw(op, &[], dtype);
        self.made.push((id, id));
    }

    fn node(&mut self, op: ScalarOp, args: &[usize], dtype: DType) {
        let simplified: Vec<ExprId> = args.iter().map(|&a| self.made[a].0).collect();
        let plain: Vec<ExprId> = args.iter().map(|&a| self.made[a].1).collect();
        let pair = (self.exprs.add(op, &simplified, dtype), self.exprs.raw(op, &plain, dtype));
        self.made.push(pair);
    }

    fn of_type(&self, random: &mut Random, dtype: DType) -> usize {
        let fitting: Vec<usize> = (0..self.made.len()).filter(|&i| self.exprs.dtype(self.made[i].0) == dtype).collect();
        random.of(&fitting)
    }

    fn check(&self, axes: &[i64], loads: &[Literal]) {
        for &(simplified, plain) in &self.made {
            let (got, want) = (value(&self.exprs, simplified, axes, loads), value(&self.exprs, plain, axes, loads));
            let same = got == want || (got.as_f64().is_nan() && want.as_f64().is_nan());
            assert!(same, "{got} instead of {want} at {axes:?}, {loads:?}: {}", text(&self.exprs, plain));
        }
    }
}

/// An expression as nested calls.
fn text(exprs: &Exprs, id: ExprId) -> String {
    let node = exprs.get(id);
    let args: Vec<String> = node.args.iter().map(|&a| text(exprs, a)).collect();
    match node.op {
        ScalarOp::Literal(l) => l.to_string(),
        ScalarOp::Axis(i) => ["i", "j", "k"][i as usize].into(),
        ScalarOp::Extent(d) => format!("dim({d})"),
        ScalarOp::Add => format!("({} + {})", args[0], args[1]),
        ScalarOp::Sub => format!("({} - {})", args[0], args[1]),
        ScalarOp::Mul => format!("({} * {})", args[0], args[1]),
        ScalarOp::Div => format!("({} / {})", args[0], args[1]),
        ScalarOp::Rem => format!("({} % {})", args[0], args[1]),
        op => format!("{op:?}({})", args.join(", ")),
    }
}

fn all_points(extents: &[i64]) -> Vec<Vec<i64>> {
    extents
        .iter()
        .fold(vec![vec![]], |points, &n| points.iter().flat_map(|p| (0..n).map(move |i| [p.as_slice(), &[i]].concat())).collect())
}

#[test]
fn random_index_expressions_keep_their_values() {
    let mut random = Random(1);
    for _ in 0..300 {
        let extents = [1 + random.below(4) as i64, 1 + random.below(6) as i64, 1 + random.below(3) as i64];
        let mut twins = Twins { exprs: Exprs::with_axes(extents.map(Dim::constant).to_vec()), made: Vec::new() };
        (0..3).for_each(|i| twins.leaf(ScalarOp::Axis(i), DType::I64));
        for v in [0, 1, 2, 3, 4, 6, 12, -1, extents[0], extents[1], extents[1] * extents[2]] {
            twins.leaf(ScalarOp::Literal(Literal::int(DType::I64, v)), DType::I64);
        }
        for _ in 0..40 {
            use ScalarOp::*;
            let op = random.of(&[Add, Add, Sub, Mul, Mul, Div, Div, Rem, Rem, Min, Max, Neg, Select]);
            let pick = |r: &mut Random, t: &Twins| t.of_type(r, DType::I64);
            let (a, b) = (pick(&mut random, &twins), pick(&mut random, &twins));
            match op {
                Neg => twins.node(Neg, &[a], DType::I64),
                Select => {
                    let how = random.of(&[Order::Lt, Order::Le, Order::Eq, Order::Ne, Order::Ge, Order::Gt]);
                    twins.node(ScalarOp::Compare(how), &[a, b], DType::Bool);
                    let c = twins.made.len() - 1;
                    twins.node(Select, &[c, a, b], DType::I64);
                }
                op => twins.node(op, &[a, b], DType::I64),
            }
        }
        all_points(&extents).iter().for_each(|point| twins.check(point, &[]));
    }
}

#[test]
fn random_expressions_of_data_keep_their_values() {
    let numbers = |dtype: DType| -> Vec<Literal> {
        if dtype.is_float() {
            let values = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e30, -3.7];
            values.map(|x| Literal::float(dtype, x)).to_vec()
        } else {
            [0, 1, -1, 2, 8, 100, i64::MIN, i64::MAX, 1 << 31, -(1 << 40)].map(|x| Literal::int(dtype, x)).to_vec()
        }
    };
    let mut random = Random(2);
    for round in 0..400 {
        let dtype = [DType::F32, DType::F64, DType::I64, DType::I32, DType::U8, DType::I8][round % 6];
        let mut twins = Twins { exprs: Exprs::default(), made: Vec::new() };
        (0..3).for_each(|k| twins.leaf(ScalarOp::Load(k), dtype));
        twins.leaf(ScalarOp::Load(3), DType::Bool);
        for l in numbers(dtype) {
            twins.leaf(ScalarOp::Literal(l), dtype);
        }
        (0..2).for_each(|b| twins.leaf(ScalarOp::Literal(Literal::int(DType::Bool, b)), DType::Bool));
        for _ in 0..60 {
            use ScalarOp::*;
            let [a, b, c] = [0; 3].map(|_| twins.of_type(&mut random, dtype));
            let [p, q] = [0; 2].map(|_| twins.of_type(&mut random, DType::Bool));
            let how = random.of(&[Order::Lt, Order::Le, Order::Eq, Order::Ne, Order::Ge, Order::Gt]);
            let bits = [And, Or, Xor];
            match random.below(8) {
                0 => twins.node(random.of(&[Neg, Abs]), &[a], dtype),
                1 => twins.node(ScalarOp::Compare(how), &[a, b], DType::Bool),
                2 => twins.node(random.of(&bits), &[p, q], DType::Bool),
                3 => twins.node(Not, &[p], DType::Bool),
                4 => twins.node(Select, &[p, a, b], dtype),
                5 if dtype.is_float() => twins.node(Fma, &[a, b, c], dtype),
                5 => twins.node(random.of(&bits), &[a, b], dtype),
                6 => {
                    let between = random.of(&DType::ALL);
                    twins.node(Cast, &[a], between);
                    let narrowed = twins.made.len() - 1;
                    if between != dtype {
                        twins.node(Cast, &[narrowed], dtype);
                    }
                }
                _ => twins.node(random.of(&[Add, Sub, Mul, Div, Rem, Min, Max]), &[a, b], dtype),
            }
        }
        let numbers = numbers(dtype);
        for _ in 0..30 {
            let loads = [0; 3].map(|_| random.of(&numbers));
            let condition = Literal::int(DType::Bool, random.below(2) as i64);
            twins.check(&[], &[loads[0], loads[1], loads[2], condition]);
        }
    }
}

/// Axes of these extents, and a checker of the text of an expression over them.
struct Axes {
    exprs: RefCell<Exprs>,
}

impl Axes {
    fn new<D: Into<Dim>>(extents: impl IntoIterator<Item = D>) -> Axes {
        Axes { exprs: RefCell::new(Exprs::with_axes(extents.into_iter().map(Into::into).collect())) }
    }

    fn axis(&self, i: u32) -> S<'_> {
        S::of(&self.exprs, self.exprs.borrow_mut().raw(ScalarOp::Axis(i), &[], DType::I64))
    }

    fn int(&self, value: i64) -> S<'_> {
        S::int(&self.exprs, DType::I64, value)
    }

    fn dim(&self, d: Dim) -> S<'_> {
        S::extent(&self.exprs, d)
    }
}

#[track_caller]
fn check(x: S, expected: &str) {
    assert_eq!(text(&x.exprs.borrow(), x.id), expected);
}

#[test]
fn quotient_and_remainder_of_a_position_are_the_axes() {
    let a = Axes::new([5, 7]);
    let (i, j) = (a.axis(0), a.axis(1));
    let position = i * a.int(7) + j;
    check(position / a.int(7), "i");
    check(position % a.int(7), "j");
    check((position + a.int(14)) / a.int(7), "(i + 2)");
    check(position / a.int(35), "0");
    check((i * a.int(6) + j) / a.int(6), "(i + (j / 6))");
    let a = Axes::new([64, 28, 28]);
    let (i, j, k) = (a.axis(0), a.axis(1), a.axis(2));
    let position = (i * a.int(28) + j) * a.int(28) + k;
    check(position / a.int(28), "((i * 28) + j)");
    check(position / a.int(784), "i");
    check(position % a.int(784), "((j * 28) + k)");
    check(k / a.int(5), "(k / 5)");
}

#[test]
fn positions_taken_apart_are_put_together() {
    let a = Axes::new([24, 3]);
    let (i, j) = (a.axis(0), a.axis(1));
    let position = i * a.int(3) + j;
    let [x, y, z] = [position / a.int(12), position / a.int(4) % a.int(3), position % a.int(4)];
    check(x * a.int(12) + y * a.int(4) + z, "((i * 3) + j)");
    check((x * a.int(3) + y) * a.int(4) + z - j, "(i * 3)");
}

#[test]
fn symbolic_extents_take_part() {
    let (b, t) = (Dim::symbol("B", 1, 4096), Dim::symbol("T", 1, 512));
    let a = Axes::new([b, t, Dim::constant(8)]);
    let (i, j, k) = (a.axis(0), a.axis(1), a.axis(2));
    let position = (i * a.dim(t) + j) * a.int(8) + k;
    check(position / a.dim(t * 8), "i");
    check(position / a.int(8) % a.dim(t), "j");
    check(position % a.int(8), "k");
    check(i.lt(a.dim(b)), "true");
    check(i.min(a.dim(b - 1)).max(a.int(0)), "i");
    check(position.lt(a.dim(b * t * 8)), "true");
}

#[test]
fn clamps_and_bounds_that_hold_disappear() {
    let a = Axes::new([10, 3]);
    let (i, j) = (a.axis(0), a.axis(1));
    let place = i + j - a.int(1);
    check((i + j).min(a.int(11)).max(a.int(0)), "(i + j)");
    check(place.ge(a.int(-1)), "true");
    check(place.ge(a.int(12)), "false");
    check(place.ge(a.int(0)), "Compare(Ge)(((i + j) - 1), 0)");
    check(i.equals(a.int(10)), "false");
}

#[test]
fn equal_sums_are_one_expression() {
    let a = Axes::new([10, 3]);
    let (i, j) = (a.axis(0), a.axis(1));
    assert_eq!((i * a.int(2) + j + a.int(1)).id, (a.int(1) + j + i + i).id);
    check(i - j - i, "Neg(j)");
    check((i - j) * a.int(0), "0");
}

#[test]
fn data_that_may_wrap_is_not_divided_out() {
    let a = Axes::new([Dim::ONE; 0]);
    let x = S::of(&a.exprs, a.exprs.borrow_mut().raw(ScalarOp::Load(0), &[], DType::I64));
    check(x * a.int(2) / a.int(2), "((Load(0)() * 2) / 2)");
    check((x + a.int(1)).gt(x), "Compare(Gt)((Load(0)() + 1), Load(0)())");
    check(x + a.int(1) - x, "1");
}

#[test]
fn floats_are_simplified_only_where_that_is_exact() {
    let exprs = RefCell::new(Exprs::default());
    let x = S::of(&exprs, exprs.borrow_mut().raw(ScalarOp::Load(0), &[], DType::F32));
    check(x + 0.0, "(Load(0)() + 0.0)");
    check(x + -0.0, "Load(0)()");
    check(x * 0.0, "(Load(0)() * 0.0)");
    check(1.0 * x, "Load(0)()");
    check(x / 8.0, "(Load(0)() * 0.125)");
    check(x / 10.0, "(Load(0)() / 10.0)");
    check(x.cast(DType::F64).cast(DType::BF16), "Cast(Load(0)())");
    assert_eq!(x.cast(DType::F16).cast(DType::F32).id, x.cast(DType::F16).cast(DType::F32).id);
    check(x.cast(DType::F16).cast(DType::F32), "Cast(Cast(Load(0)()))");
}
